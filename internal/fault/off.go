//go:build !navefault

package fault

// On reports whether a fault is planted: never in this build.
func On(Name) bool { return false }

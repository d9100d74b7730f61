//go:build navefault

package fault

import "os"

var on = Name(os.Getenv("NAVE_FAULT"))

// On reports whether a fault is planted.
func On(n Name) bool { return n == on }

// Package fault plants faults, so that the tests which must catch them can be tried. In programs as they are released
// [On] is a constant false and the compiler leaves the faults out. With the build tag navefault the environment variable
// NAVE_FAULT names the one that is on.
//
// It imports nothing of ours.
package fault

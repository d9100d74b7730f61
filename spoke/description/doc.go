// Package description says what a harness is to know of a session and its revision.
//
// The way of a description: a runtime that starts a workload calls [Of], adds where things lie on its platform (home,
// workspace, temporary files, the spoke's door), and hands it over: in a file, or by the door.
//
// Invariants:
//
//  1. What the harness does not need is not in it.
//  2. The same specification gives the same description.
//
// The package does no I/O and starts no goroutine.
package description

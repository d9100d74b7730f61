// Package archivetest is the conformance suite of the archives: what hub.Archive and hub.Reader promise, as tests.
//
// A test opens an empty archive, appends to it, and looks at what readers see; random histories are compared with a model
// in memory, reopened now and then.
//
// Invariants:
//
//  1. The suite knows the ports only; every archive and every fake must pass it.
//  2. A refused append must leave nothing behind; the tests look.
//
// The package must not import an archive. Its goroutines belong to groups of internal/run that the tests wait for.
package archivetest

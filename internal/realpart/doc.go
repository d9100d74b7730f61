// Package realpart finds the real programs that tests run against: the overlay, PostgreSQL, an agent, terraform, a browser, git, helm.
//
// The way of a datum: a test calls [Need] with a part; the part's row in the table says how it is looked for; when it is
// there the test goes on and [Path] tells where; when it is not, a line is appended to the file that NAVE_NOT_RUN names
// and the test is skipped, or fails where CI=true. `make test` makes that file, and at its end cmd/parts prints what did
// not run and the command that gets the missing part.
//
// Invariants:
//
//  1. No test of Nave is skipped anywhere else: internal/arch refuses it.
//  2. A skip is never silent: what did not run is in the file, one line per test and part, and in the test's own output.
//  3. With CI=true a missing part is a failure.
//  4. A variable that names a part's program is believed: when the program is not there, no other place is searched.
//  5. What was found exists and may be executed; nothing is downloaded, started or written beside the file of rule 2.
//
// The package imports the standard library only. It starts no goroutine.
package realpart

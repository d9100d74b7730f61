// Package arch holds the rules of the house as tests.
//
// The way of a datum: [Load] reads every Go file of the repository, nested modules included, into a [Tree]; each [Rule]
// is a function from a Tree to its [Violation] list; the package's tests run the rules over the repository, and over
// small trees in which the rule is broken on purpose. Which folder may import which is data, in rooms.go.
//
// Invariants:
//
//  1. A rule is a pure function of its Tree and gives its violations in the order of path and line.
//  2. Every rule has a planted tree in its test that it refuses: a rule that cannot fail is a defect.
//  3. A folder that is in no table is refused, so that a new room is a decision and not an accident.
//  4. A room that does not exist yet is no violation.
//  5. An exemption is a line in a table with its reason, and is refused when nothing needs it any more.
//
// The package imports the standard library only. It starts no goroutine.
package arch

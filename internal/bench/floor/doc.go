// Package floor is the floors that need a process of their own: small programs that do what a path of Nave cannot do without,
// and nothing else.
//
// bench starts itself as "bench floor NAME ARGUMENTS"; [Main] finds the program. A floor prints one line when it serves, and
// ends when its standard input does, so that none outlives the run.
//
// It must not import anything of Nave but internal/run and internal/bench/measure: a floor that used Nave's code would sink and
// rise with it. Its goroutines belong to [Main].
package floor

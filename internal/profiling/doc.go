// Package profiling serves a program's profiles to whoever sits on its machine: processor time, allocations, goroutines, locks.
//
// [Listen] opens the address, loopback only, because a profile shows what the program has in memory; [Serve] answers below
// /debug/pprof/ until its context ends, in the form that `go tool pprof` reads.
//
// It must not import anything of Nave but api and internal/run. Its goroutines belong to [Serve].
package profiling

// Package postgrestest runs a PostgreSQL server of its own as a child process, for tests and for programs that show what a lost
// database means.
//
// The way of a datum: [Start] makes a data directory with initdb and runs postgres on it, which listens on a socket in that
// folder and nowhere else; [Server.Kill] ends every process of it as a power failure does; [Server.Start] brings it back;
// [Server.Close] ends it and removes the folder.
//
// Invariants:
//
//  1. The server has no network: only who can enter the folder reaches it.
//  2. It refuses root: where root starts it, it runs as another user, who owns the folder.
//  3. It does not outlive the process that started it, nor [Server.Close].
//  4. Every wait is bounded by the caller's context and by startTimeout.
//
// Its goroutine waits for the child process and ends with [Server.Close].
package postgrestest

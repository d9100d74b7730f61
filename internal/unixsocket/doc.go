// Package unixsocket serves unix sockets whose callers the kernel names.
//
// The way of a connection: [Listen] takes the path over and gives it mode 0600; who accepts a connection asks [Peer] which
// process made it, and under which user.
//
// Invariants:
//
//  1. A socket that somebody serves is not taken away from them.
//  2. What [Peer] says was read when the connection was made: it does not follow a socket that is handed on.
//
// The package imports api alone. It starts no goroutine.
package unixsocket

// Package local is the API that a harness offers to the agent's programs: HTTP/1.1 with JSON on a unix socket.
//
// The way of a signal: a program inside the workload dials the socket; the kernel says under which user it runs; the body is
// decoded and checked; the [Backend], which is the harness, sends it on and answers when the hub has accepted it.
//
// Invariants:
//
//  1. Only the harness's own user, and root, get an answer.
//  2. A body has at most 2 MiB, and every field its bound. A field that is not known, or comes twice, is refused by its name.
//  3. At most 16 calls are served at once, on at most 64 connections; the others are refused at once. Every call and every
//     wait for a peer ends by a clock.
//  4. Every answer is JSON, errors too: {"error":{"code","field","message"}}.
//
// The package never imports the harness. Its goroutines belong to [Server.Run] and to the HTTP server inside it.
package local

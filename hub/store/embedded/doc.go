// Package embedded runs one etcd server inside this process, for installations with one hub replica and no etcd of their
// own.
//
// The way of a write: the client that [Server.Client] returns calls the server without a network; the server appends to
// its log, syncs it, applies, and answers.
//
// Invariants:
//
//  1. Every acknowledged write is synced to the disk.
//  2. [Start] returns when the server serves, or with the reason why it does not.
//  3. The server listens nowhere unless [Config.Listen] says so, and then on loopback or a unix socket only.
//
// Only cmd/nave-hub may link this package: it is the etcd server. Its goroutines belong to etcd and end with
// [Server.Close].
package embedded

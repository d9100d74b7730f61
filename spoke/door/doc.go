// Package door is where harnesses connect to the spoke: gRPC on a unix socket of this machine, over TLS from other machines.
//
// The way of an event: a harness dials the socket; the kernel says which process it is and under which user; its hello names
// a workload, and Verify confirms that the process is that workload's harness. Or it dials the address, believes the
// certificate of the spoke's own [Authority], and each of its calls bears a token, which [Remote] verifies; it has asked before
// what it is to run (Describe). The handler is asked, and the welcome says
// which events are durable already. Each batch goes to the handler, and only when it is durable there the harness is told
// that it may forget it. Orders go the other way: the last ones count, whether the harness is connected or not.
//
// Invariants:
//
//  1. Only processes of the spoke's own user get beyond the handshake of the socket. Nothing of a call over TLS is read before
//     its token was verified. Only the harness of a workload speaks for it, and a connection is of one workload.
//  2. One harness is attached for a workload at a time. Calls of the handler for one workload come one after another, and
//     Attached and Detached come in pairs.
//  3. An event is acknowledged only after the handler has returned nil for it.
//  4. Events reach the handler densely: a batch with a gap ends the connection, what is known already is left out.
//  5. Tell, Lease and Forget never wait for a harness.
//  6. A request for a lease is answered with what is left of the spoke's last word at that instant, before anything else. Before
//     the first word it waits: a spoke that was just started says nothing that would end what an earlier one allowed.
//  7. Deltas are dropped where they are too many, too large or not wanted; they never hold up events, leases or orders.
//  8. A signal that a session sends passes only while its own harness is attached, sixteen at a time.
//  9. Checkpoints pass through in bounded pieces, four at a time, and only between a session and its own harness while that is
//     attached.
//  10. Connections that have proved nothing are few, live shortly, and keep nobody out: the oldest makes room for a new one.
//  11. A token is in no log and no error. Who is refused learns what concerns its own token alone.
//  12. An authority that is kept is never replaced: harnesses that run believe it.
//
// The package never imports a runtime or the journal. Its goroutines belong to [Door.Run] and to the gRPC server inside it.
package door

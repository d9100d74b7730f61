// Package accept measures how fast signals are accepted: from the call at the hub's gRPC listener to the answer that it is
// durable.
//
// The way of a call: a generator of package measure in this process makes it, a connection with TLS and a bearer token carries
// it (nave.go), a hub in a process of its own makes the signal durable in etcd and answers. The floor (floor.go) gets the same
// bytes by the same generator over the same kind of connection: a gRPC server that puts them into etcd with the head that an
// owner must compare, and does nothing else.
//
// Rounds of Nave and of the floor take turns, so that both see the same machine. What both share:
//
//   - Signals have 600 bytes and an idempotency key each, and are spread over 1,000 sessions of one agent.
//   - No cluster has joined: each session asks once for a place, gets none, and waits. Nothing is delivered, so that nothing but
//     accepting is measured; limits are raised so that nothing is refused.
//   - Clients share eight connections, as those of a few machines would.
//   - On a slow disk (floor slowdisk) the kernel holds every sync of hub and floor for 2 ms more: unmodified programs, with
//     etcd in them.
//   - With three members, hub and floor use the same etcd, one after the other.
//
// It must not be imported by anything but bench. Its goroutines belong to the generators, and the programs end with the run.
package accept

// Package spoke is the spoke's brain: it makes its cluster hold what the hub wants, and carries back what happened.
//
// The way of a signal: a [api.ShardUpdate] arrives on the link; the loop admits or refuses each session, journals what it
// admitted, and lets the pure [plan] compare desired with observed; the runtime starts a workload; its harness connects
// at the door, gets the signals and reports events; the loop journals them, answers the harness, sends them up, and forgets
// them when the hub has settled them.
//
// Invariants:
//
//  1. Persist before send: what the spoke promised (admission, attempts, events taken from a harness) is in the journal
//     before anybody is told.
//  2. An attempt's number is journaled before its workload is created, so that a number is never used twice.
//  3. At most one workload of a session exists: the next is created only when the former is confirmed gone.
//  4. An update with a lower position than one already seen for its shard is ignored.
//  5. plan does no I/O, reads no clock and starts nothing.
//
// The package sees runtime, journal, link and harnesses only through ports.go. Its goroutines belong to [Spoke.Run].
package spoke

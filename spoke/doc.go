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
//  3. At most one workload of a session exists: the next is created only when the former is confirmed gone, or
//     when what it ran on does not answer and the lease of its harness, which is cut off, is over.
//  4. An update with a lower position than one already seen for its shard is ignored.
//  5. plan does no I/O, reads no clock and starts nothing.
//  6. Nothing of a session acts here once its right has run out without an answer of the hub: see [right]. That is in the
//     journal before the stop begins, and a lapsed epoch is never started again.
//  7. What the hub says of cancellations and answers goes on as it was said last, and is not kept over a restart: the hub says
//     it again. Deltas pass by the loop and the journal.
//  8. An attempt begins only for an epoch that the hub named to this process, while its answers are fresh.
//  9. A signal that a turn consumed is kept until a durable checkpoint covers the turn: a state from before it makes the
//     signal deliverable again, without the hub. See [progress].
//
// [Core] is the same loop without goroutines, for a simulator. The package sees runtime, journal, link and harnesses only through ports.go. Its goroutines belong to [Spoke.Run].
package spoke

// Package hub is the hub's brain: definitions, clusters, and the sessions of the shards that this replica owns.
//
// The way of a signal: an API handler calls [Hub.Signal]; the shard's loop takes the call as an event; the pure [step]
// turns it into mutations and effects; the committer makes the mutations durable, merged with those of other shards; only
// then are the effects performed: the caller is answered, a placement is asked for, desired state is sent on a link.
// [Hub.SignalMany] brings a list: one event to each shard, which its loop takes apart again.
// Events that come back from a spoke pass the same loop, are numbered by their session's owner and appended to the archive:
// the record of a turn that is done consumes its signals, a checkpoint in the bucket that covers the turn settles them.
//
// What an agent asks people for is an approval, kept under its session's shard: it follows the archived events of the session,
// and an answer goes to the workload as a level, or becomes a signal when the turn has ended without it.
//
// All that a shard's loop reaches is in [CorePorts]; a [Core] is such a loop without goroutines, for simulators.
//
// Invariants:
//
//  1. Persist before send: no effect of a batch is performed before the batch is durable.
//  2. One goroutine owns a shard's memory; it is changed only by step.
//  3. Every commit compares and advances the shard's head; every append to the archive compares the shard's generation.
//     An owner whose generation was passed drops its memory.
//  4. step does no I/O, reads no clock, makes no ids and starts nothing.
//  5. A session's log is numbered by its owner alone, densely from 1, in the order in which events settle.
//  6. A spoke is believed only about sessions that are assigned to its cluster in the epoch that it names. What else it sends is
//     kept beside the log, and settles nothing.
//  7. No signal is settled as done before a checkpoint that covers its turn is in the bucket, or its session has ended.
//  8. An epoch ends when its spoke says that nothing is left and the archive has all its events, or, for a session that was
//     terminated, when its right to act has ended for sure.
//  9. What follows from one event fits one transaction of the store.
//  10. An approval is answered once. Its answer goes to the epoch alone that asked last, and is either taken by the turn that is
//     consumed or becomes one signal, unless nobody needs it any more.
//  11. Text while it is written changes nothing and waits for nobody: all of it may be lost.
//  12. That a signal was accepted is an event that follows from the signal's record: who loads a shard makes it again when the
//     archive lacks it. The record leaves the store with the signal's row, which goes to the archive behind the event.
//
// The package sees storage, overlay and links only through ports.go. Its goroutines belong to [Hub.Run].
package hub

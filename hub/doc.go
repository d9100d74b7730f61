// Package hub is the hub's brain: definitions, clusters, and the sessions of the shards that this replica owns.
//
// The way of a signal: an API handler calls [Hub.Signal]; the shard's loop takes the call as an event; the pure [step]
// turns it into mutations and effects; the committer makes the mutations durable, merged with those of other shards; only
// then are the effects performed: the caller is answered, a placement is asked for, desired state is sent on a link.
// Events that come back from a spoke pass the same loop, are numbered by their session's owner, appended to the archive,
// and settle signals.
//
// Invariants:
//
//  1. Persist before send: no effect of a batch is performed before the batch is durable.
//  2. One goroutine owns a shard's memory; it is changed only by step.
//  3. Every commit compares and advances the shard's head; every append to the archive compares the shard's generation.
//     An owner whose generation was passed drops its memory.
//  4. step does no I/O, reads no clock, makes no ids and starts nothing.
//  5. A session's log is numbered by its owner alone, densely from 1, in the order in which events settle.
//  6. A spoke is believed only about sessions that are assigned to its cluster in the epoch that it names.
//
// The package sees storage, overlay and links only through ports.go. Its goroutines belong to [Hub.Run].
package hub

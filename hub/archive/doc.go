// Package archive keeps history in SQL: the events of sessions, how far each log reaches, settled signals with their
// idempotency keys, dead letters, explanations of placements, side branches, and the records of sessions that ended. It
// implements [hub.Archive], [hub.Reader] and [hub.Pruner] on SQLite and PostgreSQL.
//
// The way of an event: the owner of its shard numbers it and hands it to [Archive.Append] with whatever else is to be
// recorded; one transaction compares the generation of every shard with shard_owner, checks that numbers continue what
// memory, or logs and positions, say, inserts with prepared statements of many rows, moves logs and positions from where they
// were taken to be, and commits; readers see it then.
//
// Invariants:
//
//  1. A session's log is dense from 1, and so is each of its sources. The key (session, number) refuses a second event of a
//     number; positions, compared and moved under the shard's fence with every event, refuse one of a source's number.
//  2. Every append compares the generations in shard_owner in its own transaction; a call writes all or nothing.
//  3. What is there is never overwritten: the same content again is skipped, another content is CodeInternal.
//  4. logs and positions equal the maxima of events; they move in the transaction of the events. What memory says of them
//     is a guess: the move compares it, and a wrong one costs a second transaction that asks, never an event.
//  5. An append that was acknowledged is synced.
//  6. Migrations only go forward, and leave what the version before it needs; a database of a newer version is refused.
//  7. A side branch continues what the log has of its source, has each event once, and is no part of any log.
//  8. A dead letter is there for as long as its replay is known: it cannot be replayed twice.
//  9. A server that was away needs nobody: connections are made anew, and calls answer CodeUnavailable meanwhile.
//
// The package imports hub, api, internal/run, the two drivers and the migration library. It starts no goroutines and does not log.
package archive

// Package api holds the nouns of Nave and their rules: ids, definitions, sessions, signals, events, clusters, what travels
// on a link, and the one error type that crosses process boundaries.
//
// A definition enters through the public API, is validated here ([Spec.Validate]), becomes an immutable revision in the
// store, is closed over everything that it refers to ([ResolvedRevision]) when a session is placed, and reaches a spoke
// inside a [Desired]. A signal becomes a [Signal] of a [Session], an [Assignment] says where the session runs, and what
// happens comes back as [Event]s.
//
// Invariants:
//
//  1. The package imports the standard library only. It does not log, read a clock, or use randomness.
//  2. An id never changes and is never used twice; a name may be changed, an id may not.
//  3. [Epoch] and [Generation] are pairs that begin with the incarnation and are compared in that order.
//  4. Every noun belongs to exactly one organization.
//  5. Codes, phases, event types and reasons are append-only: their text is in records and on the wire.
package api

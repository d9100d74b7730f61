// Package history judges what happened in a federation by three records that do not come from the part under judgement: what
// clients were told when they sent signals, what agents wrote down while they worked (with fsync, under an exclusive lock
// per session), and what the archive says afterwards.
//
// The way of a fact: a client keeps every answer as an [Accepted]; an agent appends a [Witness] at the beginning and at the
// end of each turn; a test reads the log of every session through the API; [Judge] compares the three and returns every
// contradiction as a [Finding] that names a promise.
//
// Invariants:
//
//  1. Judge is a function of its input: it reads nothing, and equal inputs give equal findings in equal order.
//  2. It takes nothing for granted that a promise says: numbers, order and sources are checked, not used.
//  3. What it cannot decide (an agent that was killed wrote no end) it decides in nobody's favour: the next beginning is
//     checked against the lock, which the system frees when the process is gone.
//
// It imports api and the standard library.
package history

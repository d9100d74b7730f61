// Package simnet is a network in memory for tests: streams between named hosts that are delayed, cut, healed and broken, by
// a seed.
//
// The way of a byte: a write puts it, with the time of its arrival, into the queue of its direction; a read takes it when
// that time has come and the path is not cut. As over TCP nothing is lost or reordered within a connection: a cut holds
// bytes back, the end of a connection included, so that the other side does not hear of it; a break ends a connection on
// both sides with an error. Chance decides delays and breaks, see [Path].
//
// Invariants:
//
//  1. Bytes of one direction arrive in the order in which they were written, each once.
//  2. A queue holds at most [window] bytes: who writes more waits.
//  3. Each direction of each connection draws from a generator of its own, made from the seed, the two names and the number
//     of the connection between them. What one connection meets does not depend on how goroutines of others are scheduled.
//  4. Time is package time's: in a bubble of testing/synctest it is the bubble's.
//
// The package is for tests and must not be imported by anything else. It starts no goroutines.
package simnet

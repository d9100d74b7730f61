// Package buckettest is the conformance suite of [hub.Bucket] and [hub.Vault]: every adapter and every fake runs it.
//
// The way of a datum: a test of the adapter hands [Run] a place that can be opened more than once; each test of the suite
// opens it as two users, writes through one and looks through the other.
//
// Invariants:
//
//  1. The suite sees an adapter only through the ports: what it asserts is what a reader gets.
//  2. Each test begins with an empty place.
//
// It must not import an adapter. Its goroutines belong to groups that it waits for.
package buckettest

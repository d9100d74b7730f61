// Package storetest is the conformance suite of the stores: what the ports of package hub promise, as tests.
//
// A test opens two users of one empty store, changes it through one or both of them, and looks at what is there through
// the ports. The history of a shard is also compared with a model in memory over random batches.
//
// Invariants:
//
//  1. The suite knows the ports only; every store and every fake must pass it.
//  2. A test asserts what the store holds afterwards, not which calls were made.
//
// The package must not import a store. Its goroutines belong to groups of internal/run that the tests wait for.
package storetest

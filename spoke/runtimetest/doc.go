// Package runtimetest is the conformance suite of [spoke.Runtime]: every runtime passes it.
//
// The way of a test: the adapter's test makes a fresh runtime with a door; the suite serves the door with a handler that
// takes everything, starts workloads whose agents are small shell scripts, gives them signals, and looks at what the
// runtime lists, what the harnesses report, and what still runs.
//
// Invariants:
//
//  1. The suite knows a runtime through the spoke's ports and the few questions of [Config] alone.
//  2. It waits for conditions, each with a deadline, and asserts the state of the world.
//  3. When a test ends, nothing that it started runs.
//
// The package never imports a runtime. Its goroutines belong to each test, which waits for them.
package runtimetest

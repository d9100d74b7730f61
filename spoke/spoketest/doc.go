// Package spoketest holds fakes of a spoke's ports, in memory, for tests: a runtime whose workloads exist as long as the
// test lets them, a door whose harnesses are the test, and a link whose hub is the test.
//
// The way of a message: [Link.Deliver] hands it to the spoke as a hub would, [Link.Sent] returns what the spoke sent. A
// workload that the spoke starts appears in [Runtime.List]; the test attaches to it with [Door.Attach] and reports with
// [Door.Report].
//
// Invariants:
//
//  1. The fakes keep the contracts of the ports: Stop of a running workload ends it, Stop of an ended one removes it, a
//     list that fails says nothing.
//  2. The runtime remembers the largest number of workloads of one session that ran at a time.
//
// It starts no goroutines.
package spoketest

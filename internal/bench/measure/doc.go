// Package measure is what benchmarks of Nave are made of: figures beside their floors, generators of load, and looks at
// processes and at the machine.
//
// The way of a figure: a [Scenario] measures a path and, in the same run and close by in time, the floor: the least that the
// path could cost on this machine, by a small program that does only that. It reports both as a [Figure]. Times of two runs
// differ with the machine; the ratio of a figure to its floor differs little, and is what is compared between runs.
//
// Invariants:
//
//  1. A latency counts from the moment when the call was due, not from when it was sent: a generator that falls behind
//     shows it in its latencies (coordinated omission is avoided). How late calls were made is part of the result, and a
//     [Pacer] keeps that far below a millisecond.
//  2. Percentiles are of all samples, not of buckets or of averages.
//  3. A figure without a floor has no ratio and is never compared.
//
// It must not import anything of Nave but internal/run. Its goroutines belong to the call that starts them.
package measure

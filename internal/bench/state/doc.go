// Package state measures what depends on how much a hub and a spoke keep: how soon they are ready again after kill -9, and how
// large etcd becomes.
//
// The way of a figure: a [rig] starts a hub with the limits of a load test and a synthetic spoke (loopspoke), and brings it to
// a number of dormant sessions by signals through the API, as users would; then the scenario kills, starts again and counts, or
// looks at the sizes that the hub tells in its metrics. Sessions of a spoke are made up in its journal, or run agents. Their floors are programs in internal/bench/floor on the same amount of
// data.
//
// Invariants:
//
//  1. A session counts as dormant when the hub says so.
//  2. Nothing is read from the hub's folders while it runs.
//  3. Sessions are adopted when the hub has what their agents said after that, and their processes are the same.
//
// Its goroutines belong to the scenario that runs, which waits for them.
package state

// Package sim runs a whole federation in one goroutine from one seed: the owner of a shard, two spokes, their harnesses and
// agents, store, archive, bucket and network, with every crash, cut, delay and freeze that the seed says.
//
// What it judges is the code that programs run: [hub.Core] is the loop of a hub's shard and [spoke.Core] the loop of a spoke, both
// driven synchronously; a harness's decisions are those of its own core ([harness.Next], [harness.Asks]), its body is a model. In a
// part of the seeds agents ask for permissions, and people answer and cancel. Store, archive and
// bucket are in memory; the first two pass the suites of the real ones in what is used of them.
//
// The way of a run: a [World] keeps a queue of what happens when; what happens takes the next step of an actor and schedules
// more. Calls of a core into its ports are points where it may be suspended (another owner may act meanwhile), crash, or get
// an answer that is lost. After every step [World.check] looks at the promises; at the end everything is mended, the world runs
// until it is quiet, and internal/history judges what clients were told and what agents did.
//
// Invariants:
//
//  1. Equal seeds give equal runs: nothing is read but the seed, no goroutine runs beside another, no map order is used.
//  2. The judge uses only what is durable: the store, the archive, the bucket, and the notes of clients and agents.
//
// It is for tests alone.
package sim

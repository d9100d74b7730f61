// Package clusters measures sessions that are pods, on the clusters that package testcluster makes.
//
// The way of a figure: a scenario brings up a world: a hub outside, a real cluster, and a spoke beside it whose kubeconfig is
// the administrator's, with a door that pods reach. It signals sessions and, in turns with them, makes bare pods: pods of the same
// shape in which nothing of Nave's runs, the floor. When something happened is when an informer showed it (observer.go), what
// the spoke's log says, or what an event of the session says; everything runs on one machine and by one clock.
//
//	pod-start   from a signal to the first call of the harness, and the stages of that (stages.go)
//	pod-writes  what a spoke asks of the API server for one life of a session (proxy.go)
//	pod-many    what a spoke with many workloads holds and asks, on a fleet of fake nodes (many.go)
//
// Invariants:
//
//  1. A start and its floor are measured in turns, each when nothing of the one before is left in the cluster.
//  2. Where requests are counted, times are not: the counting proxy is between.
//  3. What is measured of a spoke's memory runs in a process that links nothing of this package.
//
// It must not be imported by Nave's programs. Its goroutines belong to the world of a scenario, which waits for them.
package clusters

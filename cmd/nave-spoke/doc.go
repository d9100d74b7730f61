// Command nave-spoke runs the sessions of one cluster and carries back what happened.
//
// The way of a start: flags and environment become [options] (options.go), and what they say of where sessions run a [platform]
// (platform.go, tenant.go); wire makes the parts of them (wire.go); run opens the journal and runs spoke and metrics server until a
// signal ends both (run.go, serve.go). What is asked of a cluster without running anything is in check.go.
//
// Invariants:
//
//  1. What is wrong with the flags is said before anything is written.
//  2. The journal's lock comes before everything else in the data directory.
//  3. A cluster is known by the UID of its eldest namespace, which is asked for at each start; processes of a machine by a random
//     name in the data directory.
//
// It must never link the etcd server, the OpenFGA server or the Ziti controller. Its goroutines belong to [serve]'s group
// and to [github.com/nave-dev/nave/spoke.Spoke.Run].
package main

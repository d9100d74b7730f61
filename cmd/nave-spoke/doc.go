// Command nave-spoke runs the sessions of one cluster and carries back what happened.
//
// The way of a start: flags and environment become [options] (options.go), wire makes the parts of them (wire.go), run
// opens the journal and runs spoke and metrics server until a signal ends both (run.go, serve.go).
//
// It must never link the etcd server, the OpenFGA server or the Ziti controller. Its goroutines belong to [serve]'s group
// and to [github.com/nave-dev/nave/spoke.Spoke.Run].
package main

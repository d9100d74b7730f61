// Package etcdtest runs an etcd cluster whose members are child processes, for tests and for programs that show what a lost
// member means.
//
// The way of a datum: [Start] picks free ports on loopback, starts a program per member with its [Member] in the environment,
// and waits until each of them answers a read; [Cluster.Kill] ends one as a crash does, [Cluster.Start] brings it back on its
// data; [Cluster.Close] ends all of them.
//
// Invariants:
//
//  1. Members listen on loopback only.
//  2. A member does not outlive the process that started it, nor [Cluster.Close].
//  3. Every wait is bounded by the caller's context and by startTimeout.
//
// The package must not import the etcd server: package member does, and cmd/member is the program. Its goroutines wait for the
// child processes and end with [Cluster.Close].
package etcdtest

// Package harnessv1 is what a harness and its spoke say to each other, and how a harness that cannot read a file of the
// runtime's is told where its spoke is.
//
// The way of a description: a runtime on the same machine writes a [Workload] into a file and starts the harness with its path.
// In a pod there is no such file: the harness finds the variables of environment.go, dials the spoke over TLS, proves by a
// token which pod it is, and asks for its description with Describe. So nothing of an agent is in a pod's specification. Each of
// its calls has the headers of environment.go.
//
// Invariants:
//
//  1. Fields are append-only: harness and spoke may be one minor version apart.
//  2. What is generated is not edited.
//
// The package imports nothing of ours and starts no goroutine.
package harnessv1

// Package zititest gives tests a real OpenZiti network: a controller and two routers on loopback, in a directory of the
// test, ended with it.
//
// The way of a test: [Start] runs the program nave-overlay, which `make build` makes, and enters Nave's service and
// policies; [Network.Node] enrolls an identity and opens it.
//
// Invariants:
//
//  1. What a test started is gone when it has ended: nodes, processes, the directory.
//  2. Without the program the test is skipped through internal/realpart, and in no other way.
//
// The package is for tests only and must not be imported by anything else. Its goroutines belong to a group that the end
// of the test waits for.
package zititest

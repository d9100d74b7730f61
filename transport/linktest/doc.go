// Package linktest is the conformance suite of the link: what transport.Server and transport.Link promise, over whatever
// carries their connections.
//
// A test starts a server whose attachments it plays itself, lets a link dial it, and looks at what arrives on both sides.
//
// Invariants:
//
//  1. The suite knows a network only by [Network]; every carrier of links must pass it.
//  2. Every wait has a deadline.
//
// The package must not import a carrier. Its goroutines belong to groups of internal/run that end with the test.
package linktest

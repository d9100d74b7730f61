// Package client is what the command line, the Terraform provider and other programs use to talk to a hub.
//
// The way of a call: a typed client of [Client] hands its request to one interceptor, which fills in the organization,
// adds the bearer token, bounds the time, repeats the call while the hub is unavailable if repeating is safe, and turns
// what went wrong back into an [*github.com/nave-dev/nave/api.Error]. Event logs are read through [Client.Follow], which
// resumes after a cut by number.
//
// Invariants:
//
//  1. Every error that a call returns is an *api.Error, or the caller's own cancellation.
//  2. A call is repeated only when repeating it cannot do it twice.
//  3. The token travels over TLS to the configured authority only; redirects are not followed.
//  4. [Client.Follow] hands over events densely and in order, or ends with an error.
//  5. [Enroll] sends the secret of a join token only to a hub whose certificate leads to the pinned authority.
//  6. A contexts file that others can read is not used.
//
// The package imports the public API and nothing else of Nave; it never links the hub, its store or the overlay. It starts
// no goroutines of its own; those of connections belong to net/http and end with [Client.Close].
package client

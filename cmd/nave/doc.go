// Nave is the command line of the hub: it applies definitions, registers clusters, sends signals, and shows sessions with
// their events and the reasons of their placement.
//
// The way of a command: main hands arguments, streams and environment to run, cobra finds the command, the command reads
// the context, calls the hub through hub/client and prints. Definitions in YAML are read by document.go straight into wire
// messages, field by field along their descriptors, and are written by documentWrite in the same form.
//
// Invariants:
//
//  1. What programs read goes to standard output alone; explanations and errors go to standard error.
//  2. The exit code says what kind of failure it was (exit.go); there is one table of them.
//  3. Nothing is sent before every document was read and checked; after a failure nothing further is applied.
//  4. No control character of an agent, a user or a hub reaches a terminal unescaped.
//  5. What "get -o yaml" prints, "apply" takes and finds unchanged.
//  6. A signal always has an idempotency key, so that sending it again is safe.
//
// The program sees the hub only through hub/client and never links the hub, its store, or the overlay. It starts no
// goroutines.
package main

// Nave is the command line of the hub: it applies definitions and shows how they changed, registers clusters, sends signals,
// answers what agents ask, and shows sessions with their events and the reasons of their placement.
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
//  7. Every error says what to do about it (remedy.go), and every wait ends: by what it waits for, --timeout, or Ctrl-C.
//  8. What -o json prints only grows: testdata/shapes.json lists what was promised.
//  9. A text that is shown while it is written is shown once, and whole in the end (live.go).
//
// A list is made by its command as a [listing]; whether it is printed once, redrawn on a terminal, or printed change by change
// is decided in one place (listing.go, watch.go). Words for a shell come from complete.go: a Tab costs at most 2 s, and brings
// no errors.
//
// The program sees the hub only through hub/client and never links the hub, its store, or the overlay. It starts no
// goroutines.
package main

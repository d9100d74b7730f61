// Package memory measures what is there when nothing happens: of a hub with idle links (links), and of a spoke with idle
// sessions (spoke).
//
// The way of a figure of links: a real hub runs with a real overlay; clusters are registered and enrolled as spokes do it; this
// program opens a link for each, by [transport.Link] over an OpenZiti context of its own; at each number of links the hub gets
// some seconds of quiet, then /proc says what it has of the machine's memory and the runtime what of it is in use. The figure is
// the slope. Bytes are counted between TLS and the overlay, in both directions. The floor is a gRPC server over TLS on loopback
// with as many connections, each with one stream that is open and one call per heartbeat.
//
// The way of a figure of spoke: a real nave-spoke, looked at with no session, ten and a hundred whose agents are idle. The floor
// is a program of grpc-go and the OpenZiti SDK alone, with one connection to the same hub.
//
// What is left out: a link of links is the transport's, not a whole spoke: there is no session, so nothing but heartbeats is said,
// and the second connection of a link, which is dialed when a checkpoint or a signal of a session wants it, is not open. What the
// overlay's routers keep for a link, and what they and the SDK say to each other of it, is not counted.
//
// It must not import the programs' own packages but the API's client and the transport. Its goroutines belong to the scenario.
package memory

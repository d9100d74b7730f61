// Package transport is the link between a hub replica and a spoke: messages, conversation, reconnecting.
//
// The way of a message: the nouns of api are turned into protobuf (convert.go), travel on one gRPC bidirectional stream, and
// become nouns again; heartbeats are unary calls beside it. [Server] is the hub's side, [Link] the spoke's. What carries the
// connections is somebody else's: the server is given a listener and credentials, the link a dial function and credentials.
// Signals that sessions send are unary calls too. They and the bytes of checkpoints travel on a second connection of the same identity, which is dialed when there are some
// (save.go, fetch.go, signal.go); on a path of their own they do not queue in front of control messages.
//
// Invariants:
//
//  1. The first message of each direction is hello or welcome, alone; nothing precedes it.
//  2. Messages of one direction arrive in the order in which they were sent.
//  3. Who the peer is comes from the credentials of the connection, never from a message.
//  4. A message that does not parse ends the link; the next one begins with everything.
//  5. Every wait is bounded by our own clock. A heartbeat without an answer is given up after a second and the next one is
//     sent; three in a row end the link.
//  6. A handler hears of an answered heartbeat the boot-time clock at which it was sent, read before the sending. An answer that
//     the hub could not give is an error, never an empty answer.
//  7. Deltas join the messages that wait only while these are few; they are never sent twice.
//  8. A signal of a session is answered when it is durable, and ends with its link, its caller and after 20 s: then nobody
//     knows whether it was accepted.
//  9. A transfer of a checkpoint ends with its link, with its caller, and when nothing moves for two minutes. Its size is what
//     its header says.
//  10. What one identity can make the hub hold is bounded before it is read: connections, calls, streams without a hello
//     (callers.go), and what decoding a message allocates (weight.go).
//
// The package imports api and the generated messages, never hub or spoke. Goroutines belong to [Server.Serve] and [Link.Run].
package transport

// Package transport is the link between a hub replica and a spoke: messages, conversation, reconnecting.
//
// The way of a message: the nouns of api are turned into protobuf (convert.go), travel on one gRPC bidirectional stream, and
// become nouns again; heartbeats are unary calls beside it. [Server] is the hub's side, [Link] the spoke's. What carries the
// connections is somebody else's: the server is given a listener and credentials, the link a dial function and credentials.
//
// Invariants:
//
//  1. The first message of each direction is hello or welcome, alone; nothing precedes it.
//  2. Messages of one direction arrive in the order in which they were sent.
//  3. Who the peer is comes from the credentials of the connection, never from a message.
//  4. A message that does not parse ends the link; the next one begins with everything.
//  5. Every wait is bounded by our own clock.
//
// The package imports api and the generated messages, never hub or spoke. Goroutines belong to [Server.Serve] and [Link.Run].
package transport

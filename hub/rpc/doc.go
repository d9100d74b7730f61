// Package rpc serves the public API: one implementation behind connect-go on net/http and behind a grpc-go server.
//
// The way of a request: the listener's adapter (connect.go, grpc.go) hands method, Authorization header and peer to
// [Server.admit], which looks the method up in the table (access.go), authenticates, compares roles and takes from the
// caller's rate. [Server.unary] or [Server.stream] then calls the handler under its deadline, turns panics into errors and
// counts. The handler (definition.go, cluster.go, enroll.go, session.go, system.go) turns messages into nouns, calls the hub
// and turns nouns into messages. An error leaves through the one table in errors.go.
//
// Invariants:
//
//  1. A method without a row in the table cannot be served: [New] fails.
//  2. No handler runs before admit has said yes; on the HTTP side not even the message is decoded before.
//  3. A credential is read from the Authorization header only and reaches no log.
//  4. Both listeners share handlers, admission and errors: they differ in framing alone. An HTTP caller that sends JSON is
//     told about unknown fields.
//  5. What is wrong inside the hub is logged under a reference; the caller gets the reference and nothing else.
//  6. An organization other than the caller's does not exist for it.
//
// The package must not import storage, archive or overlay. It starts no goroutines: those of requests belong to the HTTP
// and gRPC servers, which the program owns.
package rpc

// Package ziti carries the link over OpenZiti: it manages the network ([Manager]), enrolls identities ([Enroll]), listens
// and dials ([Node]), and proves who is at the other end ([ServerCredentials], [ClientCredentials], [PeerIdentity]).
//
// The way of a spoke: the hub's Manager creates an identity with the role [RoleSpoke] and hands its one-time token to the
// spoke, which enrolls with a key that it made and stored before, keeps the identity as JSON, opens a Node with it, and
// dials [HubService]. The hub has a Node of role [RoleHub] that listens on it. Inside each connection both sides shake
// hands by TLS 1.3 with the certificates that the overlay enrolled.
//
// Invariants:
//
//  1. Who a peer is comes only from its certificate: the common name of a leaf that the controller's authority signed.
//     What routers, dialers or terminators say of themselves is never used.
//  2. The certificate is checked at every handshake. There are no session tickets, so no handshake is spared.
//  3. Every call into the SDK ends for the caller when its context does, at the latest after the bound of the call. A session
//     of a Node has at most one call inside the SDK, one that its caller gave up waiting for included; a Node has at most
//     five sessions, of which one is used for what begins (session.go).
//  4. A spoke may dial HubService and nothing else; a hub may host it and nothing else.
//  5. Everything that Manager creates is tagged as Nave's, and it changes and deletes nothing else.
//
// The package must not import the overlay's server. Its own goroutines end with the calls that they belong to; those of
// the SDK end with [Node.Close].
package ziti

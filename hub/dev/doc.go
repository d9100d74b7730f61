// Package dev keeps the data directory of a hub that runs everything by itself: who holds it, what was chosen at the first
// start, and the authority that its API is trusted by.
//
// The way of a start: [Open] makes or recognizes the directory and takes its lock; [Directory.Ports] returns the ports that
// were chosen once; [Directory.ServerTLS] issues a certificate of the local authority; [Directory.AdminToken] returns the
// bearer token of the first administrator. Beside a hub that runs, [Kept] reads the same files.
//
// Files, all readable by their owner only:
//
//	nave.json     what the directory is: kind and format
//	hub.lock      flock: a hub runs here
//	ports.json    addresses of the API, chosen once
//	ca.pem ca.key the local authority
//	admin-token   bearer token of the first administrator
//	hub.json      the hub's overlay identity
//	etcd/ archive/ bucket/ overlay/
//
// Invariants:
//
//  1. A directory belongs to one hub process at a time: whoever holds its lock has proved that its predecessor is dead.
//  2. A directory that is not empty and not Nave's is refused and not touched, and so is one of a newer format.
//  3. What was chosen at the first start stays, but for the administrator's token where the operator chooses another.
//  4. Who does not hold the lock writes nothing.
//
// The package must not import storage or overlay. It has no goroutines.
package dev

// Package bucket keeps large payloads as objects, by gocloud.dev/blob: in a directory now, in object storage where one is
// named.
//
// The way of a payload: the hub puts a payload that is too large for a record under a key made of its hash; the record keeps
// the key; when the signal is handed to a spoke the object is read and checked against the hash in its key.
//
// Invariants:
//
//  1. An object is written completely before its key is in any record.
//  2. An object never changes: its key names its content.
//  3. What is read back is what was put, or an error.
//
// Nothing removes objects yet. The package has no goroutines of its own and must not import storage or overlay.
package bucket

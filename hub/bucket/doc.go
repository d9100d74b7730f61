// Package bucket keeps large payloads and checkpoints as objects, by gocloud.dev/blob: in a directory, or in whatever bucket of
// that library [New] is given. It implements [hub.Bucket] and [hub.Vault].
//
// The way of a payload: the hub puts a payload that is too large for a record under a key made of its hash; the record keeps
// the key; when the signal is handed to a spoke the object is read and checked against the hash in its key.
//
// The way of a checkpoint: [Bucket.SaveCheckpoint] makes sure that the packs of others that it needs are there, copies the
// manifest and the pack from the stream, each to an object that appears only when its hash was right, and writes refs; with
// refs it is complete, and the hub names it in the session's record; later the hub says which checkpoints to keep, and
// [Bucket.CollectCheckpoints] removes what is older than all of them and needed by none.
//
// The keys are a format:
//
//	payloads/<org>/<SHA-256>                      a payload
//	checkpoints/<org>/<session>/<id>/manifest     SHA-256 is the id
//	checkpoints/<org>/<session>/<id>/pack         chunks; missing when there are no new ones
//	checkpoints/<org>/<session>/<id>/refs         JSON: sequence, sizes, hash of the pack, ids whose packs are needed
//
// Invariants:
//
//  1. An object is written completely, and synced in a directory, before its key is in any record and before the refs that
//     say that it is there.
//  2. A manifest, a pack and a payload never change. refs changes only in its sequence.
//  3. What is read back of a payload is what was put, or an error. A chunk is verified by who restores it.
//  4. The sequence of a checkpoint is higher than that of every checkpoint of its session that was complete before it, also
//     when it was saved before and comes back. No clock decides what is older.
//  5. Nothing is collected that one of the kept needs, that is not older than the oldest kept, or that a save of this
//     process is about to need. Another process may collect at the same time, when what it keeps is what the session's
//     record says. When in doubt nothing is removed.
//  6. No pack is held in memory.
//
// Nothing removes payloads yet. The package has no goroutines of its own and must not import storage or overlay.
package bucket

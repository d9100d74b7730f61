// Package checkpoint saves the state directory of a session and brings it back: incremental, compressed, verified.
//
// The way of a file: [Store.Take] finds it in a walk of the tree in the order of names. If it looks as it did in the checkpoint
// before (size, times, inode), its chunks are known; else it is read and cut into chunks where its content says so, and each
// chunk that the store lacks is compressed and appended to a local pack. When the walk ends, every chunk gets its place in the
// bucket: in a pack that the base refers to, or in the checkpoint's own. Entries and places are the manifest, whose SHA-256 is
// the checkpoint's id. [Store.Upload] reads the checkpoint's own pack out of the local ones; [Store.Restore] fetches what the
// store lacks in ranges of packs, puts it into the store and writes the tree from there.
//
// Files of a store:
//
//	lock               held with flock while it is open
//	packs/<n>.pack     local packs: chunks as they are stored, with an index at the end
//	manifests/<id>     manifests, as they are uploaded
//	cache              what the files of the last checkpoint looked like, to know them again
//	marker             that the state directory is as in a checkpoint; see [Marker]
//
// Kept of a tree are regular files, directories and symbolic links with names, permission bits, times of change and holes. Not
// kept: owners (there is one user), set-uid, set-gid and sticky bits, extended attributes, times of links or beyond the years
// 1678 to 2262, and that two names are one file: each gets its own. Sockets, pipes and devices are left out and named in [Taken].
//
// Invariants:
//
//  1. What Take or Restore returned nil for survives a crash at any later point; a crash before that leaves former checkpoints
//     whole.
//  2. A manifest in the store was written after its chunks were durable.
//  3. Content leaves the package only after its SHA-256 was compared: into a file of a restore and into an upload.
//  4. A checkpoint refers only to its own pack and to packs that its base refers to, and the base was in the bucket before.
//  5. Restore writes only below the given directories, whatever a manifest says, and a directory has its name only when it is
//     whole.
//  6. The same tree, base and store give the same manifest, byte by byte.
//
// Memory: the index (about 100 bytes a chunk), two or three manifests while a checkpoint is taken, and a few buffers of one
// chunk (1 MiB).
//
// The package knows nothing of sessions, links or turns and never imports the harness. Fetching runs on a [run.Group] that
// Restore waits for; it starts no other goroutines.
package checkpoint

// Package journal is an append-only log on disk: what a spoke must not forget.
//
// The way of a record: [Journal.Append] puts the records of one call into one frame, writes it behind the last one in the
// present segment, syncs the file and returns. [Open] finds the segments, checks every frame and cuts off a torn tail;
// [Journal.Replay] hands the records back. [Journal.Compact] writes a new generation of segments beside the old one and
// switches by renaming one small file, the head.
//
// Files of a directory:
//
//	lock                     held with flock while the journal is open
//	head                     id, present generation, and how much of it existed at the switch
//	<generation>-<n>.seg     segments of a generation, n from 0
//	spare-<n>                old segments that wait to be used again: unlinking large files stalls, allocating costs
//
// A segment is a header of 64 bytes and frames: mark, length, CRC-32C, payload. The mark is random for each use of a file
// and the checksum is seeded with the header, so that what a recycled file held before is never taken for a record. Each
// header says where the segment before it ends, so that nothing at the end of a full segment is lost unnoticed.
//
// Invariants:
//
//  1. What Append returned nil for is read back, in order, until Compact replaces it.
//  2. One Append is one frame: after a crash all of its records are there or none.
//  3. Only the last frame may be torn. Damage with a whole frame behind it, or in an earlier segment, is an error that names
//     file and offset; nothing is repaired by leaving it out.
//  4. After a failed write or sync the journal takes no more: what the disk holds is unknown until it is opened again.
//  5. A directory has at most one open journal.
//
// A flipped bit in the very last frame cannot be told from a torn write and is cut off like one.
//
// The package knows nothing of what is in the records. It starts no goroutines.
package journal

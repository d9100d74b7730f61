package checkpoint

import (
	"crypto/sha256"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/checkpoint/manifestv1"
)

// The cache says what the files of one checkpoint looked like beyond what its manifest has. It belongs to this store and this
// machine and is no part of the checkpoint.
//
//	mark 8 | checkpoint 64 | stamp 28 for each file, in the order of the manifest | SHA-256 of all before it 32
//	stamp: device 8 | inode 8 | changed, seconds 8 | nanoseconds 4
//
// A stamp of zeros is never trusted.
const (
	cacheMark  = "navecc01"
	cacheHead  = len(cacheMark) + 64
	stampBytes = 8 + 8 + 8 + 4
)

// settled is how long before the take a file must have changed last for its stamp to be trusted: a later change could leave
// the same times behind, on a file system that counts them coarsely.
const settled = 2 * time.Second

// appendStamp appends what a file looked like at a take.
func appendStamp(b []byte, info fs.FileInfo, now time.Time) []byte {
	var stamp [stampBytes]byte
	device, inode, changed, ok := lookOf(info)
	if ok && now.Sub(changed) > settled && now.Sub(info.ModTime()) > settled {
		binary.BigEndian.PutUint64(stamp[0:], device)
		binary.BigEndian.PutUint64(stamp[8:], inode)
		binary.BigEndian.PutUint64(stamp[16:], uint64(changed.Unix()))
		binary.BigEndian.PutUint32(stamp[24:], uint32(changed.Nanosecond()))
	}
	return append(b, stamp[:]...)
}

// sameLook tells whether a file looks the same twice.
func sameLook(a, b fs.FileInfo) bool {
	_, _, changedA, _ := lookOf(a)
	_, _, changedB, _ := lookOf(b)
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && changedA.Equal(changedB)
}

// writeCache does not sync: a cache that a crash left torn, or an older one, is found out by its checksum or its stamps.
func (s *Store) writeCache(id api.CheckpointID, stamps []byte) error {
	b := append([]byte(cacheMark), id...)
	b = append(b, stamps...)
	all := sha256.Sum256(b)
	return s.replace(filepath.Join(s.dir, "cache"), append(b, all[:]...), func(file) error { return nil })
}

// former is the checkpoint that the cache belongs to, walked beside the tree: both are in the same order.
type former struct {
	m      *Manifest // nil: there is none
	w      *walker
	ok     bool // w is at an entry
	stamps []byte
	found  []sum // scratch
}

// readCache returns the former checkpoint; an empty one when there is no cache, or nothing to trust.
func (s *Store) readCache() *former {
	b, err := os.ReadFile(filepath.Join(s.dir, "cache"))
	if err != nil || len(b) < cacheHead+sha256.Size {
		return &former{}
	}
	body := b[:len(b)-sha256.Size]
	if string(body[:len(cacheMark)]) != cacheMark || sha256.Sum256(body) != sum(b[len(body):]) {
		return &former{}
	}
	m, err := s.Load(api.CheckpointID(body[len(cacheMark):cacheHead]))
	if err != nil || len(body)-cacheHead != m.Files*stampBytes {
		return &former{}
	}
	f := &former{m: m, w: m.walk(), stamps: body[cacheHead:]}
	f.ok = f.w.next()
	return f
}

// seek moves to an entry of the present directory and tells whether it is there. Names are asked for in ascending order.
func (f *former) seek(depth int, name string) bool {
	for ; f.ok; f.ok = f.w.next() {
		switch e := &f.w.entry; {
		case int(e.Depth) < depth: // behind the directory
			return false
		case int(e.Depth) > depth: // below an entry that was passed
		case string(e.Name) == name:
			return true
		case string(e.Name) > name:
			return false
		}
	}
	return false
}

// enter moves into the directory that was sought.
func (f *former) enter() { f.ok = f.w.next() }

// is tells whether this is the checkpoint of the id. It is in the store, then.
func (f *former) is(id api.CheckpointID) bool { return f.m != nil && f.m.id == id }

func (f *former) kind(kind manifestv1.Kind) bool { return f.w.entry.Kind == kind }

// unchanged tells whether the file that was sought looks as it does now.
func (f *former) unchanged(info fs.FileInfo) bool {
	e := &f.w.entry
	if e.Kind != manifestv1.Kind_KIND_FILE || int64(e.Size) != info.Size() || !time.Unix(e.ModifiedSeconds, int64(e.ModifiedNanos)).Equal(info.ModTime()) {
		return false
	}
	stamp := f.stamps[f.w.file*stampBytes:][:stampBytes]
	device, inode, changed, ok := lookOf(info)
	return ok && binary.BigEndian.Uint64(stamp[8:]) == inode && inode != 0 && binary.BigEndian.Uint64(stamp) == device &&
		int64(binary.BigEndian.Uint64(stamp[16:])) == changed.Unix() && binary.BigEndian.Uint32(stamp[24:]) == uint32(changed.Nanosecond())
}

// ids returns the chunks of the file that was sought, valid until the next call.
func (f *former) ids() []sum {
	f.found = f.found[:0]
	for _, c := range f.w.entry.Chunks {
		if c != 0 {
			f.found = append(f.found, f.m.chunks.id(int(c-1)))
		}
	}
	return f.found
}

// parts calls add with each part of the file that was sought.
func (f *former) parts(add func(sum, uint32, uint64)) {
	holes := f.w.entry.Holes
	for _, c := range f.w.entry.Chunks {
		if c == 0 {
			add(sum{}, 0, holes[0])
			holes = holes[1:]
			continue
		}
		add(f.m.chunks.id(int(c-1)), f.m.chunks.plain[c-1], 0)
	}
}

package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/checkpoint/manifestv1"
)

// check verifies what the parts of a manifest say about each other. After it a restore needs no further trust in the manifest:
// no name leaves its directory, no file lies below a file or link, no name is there twice, and every size is bounded.
func (m *Manifest) check() error {
	if err := m.checkPacks(); err != nil {
		return err
	}
	if err := m.checkChunks(); err != nil {
		return err
	}
	var tree treeCheck
	w := m.walk()
	for w.next() {
		if err := tree.add(&w.entry); err != nil {
			return err
		}
		if m.Entries++; m.Entries > MaxEntries {
			return fmt.Errorf("more than %d entries", MaxEntries)
		}
		if w.entry.Kind != manifestv1.Kind_KIND_FILE {
			continue
		}
		m.Files++
		content, err := m.checkContent(&w.entry)
		if err != nil {
			return fmt.Errorf("%s: %w", tree.path(), err)
		}
		if m.Content += content; m.Content > MaxContent {
			return fmt.Errorf("%s: with it the files have more than %d bytes", tree.path(), int64(MaxContent))
		}
	}
	return w.err
}

func (m *Manifest) checkPacks() error {
	if len(m.packs) == 0 || m.packs[0].checkpoint != "" {
		return errors.New("its first pack is not its own")
	}
	seen := make(map[api.CheckpointID]bool)
	for i, p := range m.packs[1:] {
		if !p.checkpoint.Valid() || seen[p.checkpoint] || p.checkpoint == m.id {
			return fmt.Errorf("pack %d: %q is no other checkpoint, or there twice", i+1, p.checkpoint)
		}
		seen[p.checkpoint] = true
	}
	return nil
}

func (m *Manifest) checkChunks() error {
	t := &m.chunks
	n := t.len()
	if len(t.ids) != n*sha256.Size || len(t.stored) != n || len(t.pack) != n || len(t.offset) != n {
		return errors.New("the columns of its chunk table are not equally long")
	}
	own := uint64(0)
	for i := range n {
		plain, stored, offset := t.plain[i], t.stored[i], t.offset[i]
		if plain == 0 || plain > maxChunk || stored == 0 || stored > plain {
			return fmt.Errorf("chunk %s: %d bytes stored as %d", t.id(i), plain, stored)
		}
		if int64(t.pack[i]) >= int64(len(m.packs)) {
			return fmt.Errorf("chunk %s: there is no pack %d", t.id(i), t.pack[i])
		}
		size := uint64(m.packs[t.pack[i]].bytes)
		if offset > size || uint64(stored) > size-offset {
			return fmt.Errorf("chunk %s: it ends behind its pack", t.id(i))
		}
		if t.pack[i] == 0 {
			if offset != own {
				return fmt.Errorf("chunk %s: it is not behind the one before it", t.id(i))
			}
			own += uint64(stored)
		}
	}
	if own != uint64(m.packs[0].bytes) {
		return errors.New("its own pack is longer than its chunks")
	}
	return nil
}

// checkContent returns how many bytes of chunks a file has.
func (m *Manifest) checkContent(e *manifestv1.Entry) (int64, error) {
	size, content, holes := uint64(0), int64(0), e.Holes
	for _, c := range e.Chunks {
		switch {
		case c > 0 && int64(c) <= int64(m.chunks.len()):
			size += uint64(m.chunks.plain[c-1])
			content += int64(m.chunks.plain[c-1])
		case c == 0 && len(holes) > 0 && holes[0] > 0 && holes[0] <= math.MaxInt64:
			size += holes[0]
			holes = holes[1:]
		default:
			return 0, errors.New("it refers to a chunk or hole that is not there")
		}
		if size > math.MaxInt64 {
			return 0, errors.New("it is larger than a file can be")
		}
	}
	if len(holes) > 0 || size != e.Size {
		return 0, fmt.Errorf("its parts have %d bytes, not %d", size, e.Size)
	}
	return content, nil
}

// treeCheck verifies that entries form a tree.
type treeCheck struct {
	names [][]byte // of the last entry at each depth, down to the present one
	open  int      // the highest depth that the next entry may have
}

func (t *treeCheck) add(e *manifestv1.Entry) error {
	depth := int(e.Depth)
	switch {
	case e.Depth > maxDepth || depth > t.open:
		return fmt.Errorf("%s: the entry behind it is %d levels deep, below no directory", t.path(), e.Depth)
	case !validName(e.Name):
		return fmt.Errorf("%s: %q in or behind it is no name", t.path(), e.Name)
	case depth < len(t.names) && bytes.Compare(t.names[depth], e.Name) >= 0:
		return fmt.Errorf("%s: %q behind it is there twice or out of order", t.path(), e.Name)
	}
	t.names = append(t.names[:depth], e.Name)
	t.open = depth
	if e.Mode&^0o777 != 0 || e.ModifiedNanos > 999_999_999 {
		return fmt.Errorf("%s: mode %o, %d ns", t.path(), e.Mode, e.ModifiedNanos)
	}
	content, link := e.Size != 0 || len(e.Chunks) != 0 || len(e.Holes) != 0, len(e.Target) != 0
	switch e.Kind {
	case manifestv1.Kind_KIND_DIRECTORY:
		t.open = depth + 1
		if !content && !link {
			return nil
		}
	case manifestv1.Kind_KIND_FILE:
		if !link && depth > 0 {
			return nil
		}
	case manifestv1.Kind_KIND_SYMLINK:
		if !content && link && depth > 0 && len(e.Target) <= maxTarget && bytes.IndexByte(e.Target, 0) < 0 {
			return nil
		}
	}
	return fmt.Errorf("%s: it is not a right entry of kind %d", t.path(), e.Kind)
}

func (t *treeCheck) path() string {
	return fmt.Sprintf("%q", bytes.Join(t.names, []byte("/")))
}

// validName tells whether a name is one element of a path.
func validName(name []byte) bool {
	return len(name) > 0 && len(name) <= maxName && bytes.IndexByte(name, '/') < 0 && bytes.IndexByte(name, 0) < 0 &&
		string(name) != "." && string(name) != ".."
}

// walker decodes the entries of a manifest one by one.
type walker struct {
	rest  []byte
	entry manifestv1.Entry
	file  int // how many regular files came before the entry
	err   error
	began bool
}

func (m *Manifest) walk() *walker { return &walker{rest: m.raw[m.from:m.to]} }

// next moves to the next entry. It returns false at the end and at an error, which only [Parse] can meet.
func (w *walker) next() bool {
	if w.began && w.entry.Kind == manifestv1.Kind_KIND_FILE {
		w.file++
	}
	w.began = true
	if len(w.rest) == 0 || w.err != nil {
		return false
	}
	_, _, n := protowire.ConsumeTag(w.rest)
	value, size := protowire.ConsumeBytes(w.rest[n:])
	w.rest = w.rest[n+size:]
	proto.Reset(&w.entry)
	if w.err = proto.Unmarshal(value, &w.entry); w.err != nil {
		w.err = fmt.Errorf("entry: %w", w.err)
		return false
	}
	return true
}

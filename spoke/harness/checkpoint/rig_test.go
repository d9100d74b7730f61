package checkpoint

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
)

const session = api.SessionID("01J00000000000000000000001")

// node is what is compared of a file.
type node struct {
	Path     string
	Mode     fs.FileMode
	Modified int64 // nanoseconds; 0 for links
	Content  string
	Target   string
}

// tree reads a directory with the means of the standard library.
func tree(t interface {
	Helper()
	Fatal(...any)
}, dir string) []node {
	t.Helper()
	var all []node
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		n := node{Path: rel, Mode: info.Mode() &^ (fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky), Modified: info.ModTime().UnixNano()}
		switch info.Mode().Type() {
		case 0:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			n.Content = fmt.Sprintf("%d bytes, %x", len(b), sha256.Sum256(b))
		case fs.ModeSymlink:
			n.Modified = 0
			if n.Target, err = os.Readlink(path); err != nil {
				return err
			}
		case fs.ModeDir:
		default:
			return nil // not kept
		}
		all = append(all, n)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// bucket is a vault in memory. It refuses what a vault refuses.
type bucket struct {
	mu      sync.Mutex
	objects map[api.CheckpointID]map[api.CheckpointPart][]byte
	refs    map[api.CheckpointID][]api.CheckpointID
	saved   []api.CheckpointID
	ranges  int
	bytes   int64 // fetched of packs
}

func newBucket() *bucket {
	return &bucket{objects: make(map[api.CheckpointID]map[api.CheckpointPart][]byte), refs: make(map[api.CheckpointID][]api.CheckpointID)}
}

func (b *bucket) save(h api.CheckpointHeader, content io.Reader) error {
	manifest, pack := make([]byte, h.Manifest), make([]byte, h.Pack)
	if _, err := io.ReadFull(content, manifest); err != nil {
		return err
	}
	if _, err := io.ReadFull(content, pack); err != nil {
		return err
	}
	if n, err := content.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return fmt.Errorf("%d bytes behind the end, %v", n, err)
	}
	if idOf(manifest) != h.ID || sha256.Sum256(pack) != h.PackHash {
		return fmt.Errorf("the content of %s is not what the header says", h.ID)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range h.Packs {
		if b.objects[id][api.PartPack] == nil {
			return api.Errorf(api.CodeFailed, "the pack of %s is gone", id)
		}
	}
	b.objects[h.ID] = map[api.CheckpointPart][]byte{api.PartManifest: manifest, api.PartPack: pack}
	b.refs[h.ID] = h.Packs
	if !slices.Contains(b.saved, h.ID) {
		b.saved = append(b.saved, h.ID)
	}
	return nil
}

// collect does what a vault does when the last three are kept.
func (b *bucket) collect() {
	b.mu.Lock()
	defer b.mu.Unlock()
	keep := b.saved[max(0, len(b.saved)-api.KeepCheckpoints):]
	needed := make(map[api.CheckpointID]bool)
	for _, id := range keep {
		needed[id] = true
		for _, p := range b.refs[id] {
			needed[p] = true
		}
	}
	for id := range b.objects {
		if !needed[id] {
			delete(b.objects, id)
		}
	}
}

func (b *bucket) size() (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, parts := range b.objects {
		n += int64(len(parts[api.PartPack]))
	}
	return n
}

func (b *bucket) fetch(_ context.Context, id api.CheckpointID, part api.CheckpointPart, offset, length int64, w io.Writer) error {
	b.mu.Lock()
	content := b.objects[id][part]
	if part == api.PartPack {
		b.ranges++
		b.bytes += length
	}
	b.mu.Unlock()
	if content == nil {
		return api.Errorf(api.CodeNotFound, "there is no %s of %s", part, id)
	}
	if length == 0 {
		length = int64(len(content)) - offset
	}
	for content = content[offset:][:length]; len(content) > 0; {
		n := min(len(content), 100_000)
		if _, err := w.Write(content[:n]); err != nil {
			return err
		}
		content = content[n:]
	}
	return nil
}

func open1(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func takeNow(t testing.TB, s *Store, roots map[string]string, base *Manifest) (*Manifest, Taken) {
	t.Helper()
	m, found, err := s.Take(t.Context(), roots, base)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(m.Bytes()); err != nil {
		t.Fatalf("a manifest that Take made: %v", err)
	}
	return m, found
}

func upload(t testing.TB, s *Store, m *Manifest, b *bucket) api.CheckpointHeader {
	t.Helper()
	h, content, err := s.Upload(t.Context(), m, session, api.Source{Epoch: api.Epoch{Incarnation: 1, N: 1}, Attempt: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.save(h, content); err != nil {
		t.Fatal(err)
	}
	return h
}

// write makes a file with all directories above it, changed long ago.
func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// noise is content that does not compress, the same for the same seed.
func noise(seed, n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		s := sha256.Sum256(fmt.Appendf(nil, "%d/%d", seed, i))
		b.Write(s[:])
	}
	return b.Bytes()[:n]
}

var old = time.Date(2020, 2, 3, 4, 5, 6, 789, time.UTC)

package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	mv1 "github.com/nave-dev/nave/spoke/harness/checkpoint/manifestv1"
)

var evil = []byte("written by a hostile manifest")

func evilChunk() *mv1.Chunks {
	id := sha256.Sum256(evil)
	n := uint32(len(evil))
	return &mv1.Chunks{Ids: id[:], Plain: []uint32{n}, Stored: []uint32{n}, Pack: []uint32{0}, Offset: []uint64{0}}
}

func manifest(entries ...*mv1.Entry) *mv1.Manifest {
	return &mv1.Manifest{Format: 1, Entries: entries, Chunks: evilChunk(), Packs: []*mv1.Pack{{Bytes: uint64(len(evil))}}}
}

func dirEntry(depth uint32, name string) *mv1.Entry {
	return &mv1.Entry{Depth: depth, Name: []byte(name), Kind: mv1.Kind_KIND_DIRECTORY, Mode: 0o755}
}

func fileEntry(depth uint32, name string) *mv1.Entry {
	return &mv1.Entry{Depth: depth, Name: []byte(name), Kind: mv1.Kind_KIND_FILE, Mode: 0o644, Size: uint64(len(evil)), Chunks: []uint32{1}}
}

func linkEntry(depth uint32, name, target string) *mv1.Entry {
	return &mv1.Entry{Depth: depth, Name: []byte(name), Kind: mv1.Kind_KIND_SYMLINK, Target: []byte(target)}
}

func encode(t testing.TB, m *mv1.Manifest) []byte {
	t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestParseRefuses(t *testing.T) {
	home := dirEntry(0, "home")
	other := strings.Repeat("ab", 32)
	otherBytes, _ := hex.DecodeString(other)
	changed := func(change func(*mv1.Manifest)) *mv1.Manifest {
		m := manifest(home, fileEntry(1, "f"))
		change(m)
		return m
	}
	entry := func(change func(*mv1.Entry)) *mv1.Manifest {
		e := fileEntry(1, "f")
		change(e)
		return manifest(home, e)
	}
	if _, err := Parse(encode(t, changed(func(*mv1.Manifest) {}))); err != nil {
		t.Fatalf("what the cases below change: %v", err)
	}
	for name, m := range map[string]*mv1.Manifest{
		"no root":                      manifest(),
		"file as root":                 manifest(fileEntry(0, "home")),
		"link as root":                 manifest(linkEntry(0, "home", "/etc")),
		"first entry deep":             manifest(dirEntry(1, "home")),
		"empty name":                   manifest(home, fileEntry(1, "")),
		"dot":                          manifest(home, dirEntry(1, ".")),
		"dot dot":                      manifest(home, dirEntry(1, ".."), fileEntry(2, "x")),
		"slash":                        manifest(home, fileEntry(1, "a/b")),
		"absolute":                     manifest(home, fileEntry(1, "/etc/passwd")),
		"zero byte":                    manifest(home, fileEntry(1, "a\x00b")),
		"long name":                    manifest(home, fileEntry(1, strings.Repeat("x", 256))),
		"root that leaves":             manifest(dirEntry(0, "../home")),
		"twice":                        manifest(home, fileEntry(1, "a"), fileEntry(1, "a")),
		"directory and link":           manifest(home, linkEntry(1, "a", "/etc"), dirEntry(1, "a"), fileEntry(2, "x")),
		"root twice":                   manifest(home, home),
		"not in order":                 manifest(home, fileEntry(1, "b"), fileEntry(1, "a")),
		"not in order after a subtree": manifest(home, dirEntry(1, "b"), fileEntry(2, "x"), fileEntry(1, "a")),
		"below a link":                 manifest(home, linkEntry(1, "a", "/etc"), fileEntry(2, "passwd")),
		"below a file":                 manifest(home, fileEntry(1, "a"), fileEntry(2, "b")),
		"two levels at once":           manifest(home, fileEntry(2, "b")),
		"link without target":          manifest(home, linkEntry(1, "a", "")),
		"target with a zero byte":      manifest(home, linkEntry(1, "a", "x\x00")),
		"long target":                  manifest(home, linkEntry(1, "a", strings.Repeat("x", maxTarget+1))),
		"set-uid":                      entry(func(e *mv1.Entry) { e.Mode = 0o4755 }),
		"nanoseconds":                  entry(func(e *mv1.Entry) { e.ModifiedNanos = 1e9 }),
		"no kind":                      entry(func(e *mv1.Entry) { e.Kind = 0 }),
		"unknown kind":                 entry(func(e *mv1.Entry) { e.Kind = 9 }),
		"file with a target":           entry(func(e *mv1.Entry) { e.Target = []byte("x") }),
		"directory with content":       entry(func(e *mv1.Entry) { e.Kind = mv1.Kind_KIND_DIRECTORY }),
		"wrong size":                   entry(func(e *mv1.Entry) { e.Size++ }),
		"no such chunk":                entry(func(e *mv1.Entry) { e.Chunks[0] = 2 }),
		"chunk number overflow":        entry(func(e *mv1.Entry) { e.Chunks[0] = math.MaxUint32 }),
		"hole without length":          entry(func(e *mv1.Entry) { e.Chunks = []uint32{0, 1} }),
		"empty hole":                   entry(func(e *mv1.Entry) { e.Chunks, e.Holes = []uint32{0, 1}, []uint64{0} }),
		"hole too many":                entry(func(e *mv1.Entry) { e.Holes = []uint64{1} }),
		"size overflow": entry(func(e *mv1.Entry) {
			e.Chunks, e.Holes, e.Size = []uint32{0, 0, 1}, []uint64{math.MaxInt64, math.MaxInt64}, math.MaxUint64
		}),
		"content too large": changed(func(m *mv1.Manifest) { // one chunk many times
			e := m.Entries[1]
			m.Chunks.Plain[0], e.Chunks = maxChunk, make([]uint32, MaxContent/maxChunk+1)
			e.Size = uint64(len(e.Chunks)) * maxChunk
			for i := range e.Chunks {
				e.Chunks[i] = 1
			}
		}),
		"no format":         changed(func(m *mv1.Manifest) { m.Format = 0 }),
		"no own pack":       changed(func(m *mv1.Manifest) { m.Packs = nil }),
		"own pack named":    changed(func(m *mv1.Manifest) { m.Packs[0].Checkpoint = otherBytes }),
		"pack twice":        changed(func(m *mv1.Manifest) { p := &mv1.Pack{Checkpoint: otherBytes}; m.Packs = append(m.Packs, p, p) }),
		"pack without name": changed(func(m *mv1.Manifest) { m.Packs = append(m.Packs, &mv1.Pack{}) }),
		"pack too large":    changed(func(m *mv1.Manifest) { m.Packs[0].Bytes = api.MaxCheckpointBytes + 1 }),
		"many packs": changed(func(m *mv1.Manifest) {
			for i := range maxPacks {
				id := sha256.Sum256([]byte{byte(i)})
				m.Packs = append(m.Packs, &mv1.Pack{Checkpoint: id[:]})
			}
		}),
		"pack longer than its chunks": changed(func(m *mv1.Manifest) { m.Packs[0].Bytes++ }),
		"chunk behind its pack":       changed(func(m *mv1.Manifest) { m.Packs[0].Bytes-- }),
		"chunk behind another's pack": changed(func(m *mv1.Manifest) {
			m.Packs[0].Bytes, m.Chunks.Pack[0], m.Chunks.Offset[0] = 0, 1, 5
			m.Packs = append(m.Packs, &mv1.Pack{Checkpoint: otherBytes, Bytes: uint64(len(evil)) + 4})
		}),
		"offset overflow in another's pack": changed(func(m *mv1.Manifest) {
			m.Packs[0].Bytes, m.Chunks.Pack[0], m.Chunks.Offset[0] = 0, 1, math.MaxUint64-2
			m.Packs = append(m.Packs, &mv1.Pack{Checkpoint: otherBytes, Bytes: 1 << 20})
		}),
		"offset overflow":          changed(func(m *mv1.Manifest) { m.Chunks.Offset[0] = math.MaxUint64 }),
		"no such pack":             changed(func(m *mv1.Manifest) { m.Chunks.Pack[0] = 1 }),
		"empty chunk":              changed(func(m *mv1.Manifest) { m.Chunks.Plain[0] = 0 }),
		"chunk too large":          changed(func(m *mv1.Manifest) { m.Chunks.Plain[0] = maxChunk + 1 }),
		"stored longer than plain": changed(func(m *mv1.Manifest) { m.Chunks.Plain[0]-- }),
		"short column":             changed(func(m *mv1.Manifest) { m.Chunks.Offset = nil }),
		"half an id":               changed(func(m *mv1.Manifest) { m.Chunks.Ids = m.Chunks.Ids[:16] }),
	} {
		if got, err := Parse(encode(t, m)); api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	deep := manifest(home)
	for depth := range maxDepth + 1 {
		deep.Entries = append(deep.Entries, dirEntry(uint32(depth+1), "d"))
	}
	if _, err := Parse(encode(t, deep)); err == nil {
		t.Error("a tree that is too deep was taken")
	}
	if _, err := Parse(encode(t, changed(func(m *mv1.Manifest) { m.Format = 2 }))); api.CodeOf(err) != api.CodeUnsupported {
		t.Errorf("a newer format: %v", err)
	}
	for _, raw := range [][]byte{nil, {0xff}, []byte("not a manifest"), append(encode(t, manifest(home)), encode(t, manifest(home))...)} {
		if _, err := Parse(raw); err == nil {
			t.Errorf("%q was taken", raw)
		}
	}
	if _, err := Parse(append(encode(t, manifest(home)), 0xfa, 0x3f, 1, 'x')); err != nil {
		t.Errorf("a field of a later version: %v", err)
	}
}

// TestNothingEscapes writes trees that Parse refuses: the second guard, that everything is below an os.Root, holds by itself.
func TestNothingEscapes(t *testing.T) {
	for name, entries := range map[string][]*mv1.Entry{
		"dot dot":             {dirEntry(0, "home"), fileEntry(1, "../outside/x")},
		"dot dot directory":   {dirEntry(0, "home"), dirEntry(1, "..")},
		"absolute":            {dirEntry(0, "home"), fileEntry(1, "ABSOLUTE/x")},
		"through a link":      {dirEntry(0, "home"), linkEntry(1, "a", "../outside"), fileEntry(1, "a/x")},
		"absolute link":       {dirEntry(0, "home"), linkEntry(1, "a", "ABSOLUTE"), fileEntry(1, "a/x")},
		"into a link":         {dirEntry(0, "home"), linkEntry(1, "a", "../outside/there"), fileEntry(1, "a")},
		"directory on a link": {dirEntry(0, "home"), linkEntry(1, "a", "../outside"), dirEntry(1, "a"), fileEntry(2, "x")},
		"two hops":            {dirEntry(0, "home"), linkEntry(1, "a", ".."), linkEntry(1, "b", "a/outside"), fileEntry(1, "b/x")},
		"link in a link":      {dirEntry(0, "home"), linkEntry(1, "a", "../outside"), linkEntry(1, "a/x", "y")},
		"onto a link inside":  {dirEntry(0, "home"), fileEntry(1, "b"), linkEntry(1, "a", "b"), fileEntry(1, "a")},
		"twice":               {dirEntry(0, "home"), fileEntry(1, "a"), fileEntry(1, "a")},
		"mode of a link":      {dirEntry(0, "home"), linkEntry(1, "a", "../outside/there"), {Depth: 1, Name: []byte("a"), Kind: mv1.Kind_KIND_FILE, Mode: 0o777}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			outside := filepath.Join(dir, "outside")
			write(t, filepath.Join(outside, "there"), []byte("mine"))
			for _, e := range entries {
				e.Name = []byte(strings.ReplaceAll(string(e.Name), "ABSOLUTE", outside))
				e.Target = []byte(strings.ReplaceAll(string(e.Target), "ABSOLUTE", outside))
			}
			before := tree(t, outside)
			raw := encode(t, manifest(entries...))
			if _, err := Parse(raw); err == nil {
				t.Error("it was parsed")
			}
			m := &Manifest{id: idOf(raw), raw: raw, from: -1}
			if err := m.fields(); err != nil {
				t.Fatal(err)
			}
			s := open1(t, filepath.Join(dir, "state"))
			p := s.newPack()
			if err := p.add(sha256.Sum256(evil), len(evil), evil); err != nil {
				t.Fatal(err)
			}
			if err := p.seal(); err != nil {
				t.Fatal(err)
			}
			w, err := newWriter(t.Context(), s, m, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer w.close()
			if err := w.tree(map[string]string{"home": filepath.Join(dir, "home")}); err == nil {
				t.Error("it was written")
			}
			if diff := cmp.Diff(before, tree(t, outside)); diff != "" {
				t.Errorf("something outside was changed:\n%s", diff)
			}
		})
	}
}

// FuzzParse: whatever is taken as a manifest can be walked and restored without leaving the directory.
func FuzzParse(f *testing.F) {
	f.Add([]byte{})
	for _, m := range []*mv1.Manifest{
		manifest(dirEntry(0, "home")),
		manifest(dirEntry(0, "home"), fileEntry(1, "f"), linkEntry(1, "l", "../../etc")),
		manifest(dirEntry(0, "home"), dirEntry(1, "d"), fileEntry(2, "f"), fileEntry(1, "g")),
		manifest(dirEntry(0, "home"), dirEntry(1, ".."), fileEntry(2, "f")),
		manifest(dirEntry(0, "home"), linkEntry(1, "a", "/tmp"), fileEntry(1, "a")),
		manifest(dirEntry(0, "home"), &mv1.Entry{Depth: 1, Name: []byte("h"), Kind: mv1.Kind_KIND_FILE, Size: 4096 + uint64(len(evil)), Chunks: []uint32{0, 1}, Holes: []uint64{4096}}),
	} {
		f.Add(encode(f, m))
	}
	top := f.TempDir()
	write(f, filepath.Join(top, "outside"), []byte("mine"))
	want := tree(f, top)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := Parse(raw)
		if err != nil {
			return
		}
		if m.ID() != idOf(raw) {
			t.Fatal("wrong id")
		}
		roots := make(map[string]string)
		for w := m.walk(); w.next(); {
			if w.entry.Depth == 0 {
				roots[string(w.entry.Name)] = filepath.Join(top, "r", string(w.entry.Name))
			}
			if w.entry.Size > 1<<20 {
				return
			}
		}
		if len(roots) > 50 || m.Entries > 200 {
			return
		}
		if err := os.Mkdir(filepath.Join(top, "r"), 0o700); err != nil {
			t.Fatal(err)
		}
		s := open1(t, t.TempDir())
		if err := s.keep(m); err != nil {
			t.Fatal(err)
		}
		p := s.newPack()
		if err := p.add(sha256.Sum256(evil), len(evil), evil); err != nil {
			t.Fatal(err)
		}
		if err := p.seal(); err != nil {
			t.Fatal(err)
		}
		_, err = s.Restore(t.Context(), m.ID(), roots, nil)
		left, _ := os.ReadDir(filepath.Join(top, "r"))
		if err == nil && len(left) != len(roots) || err != nil && len(left) != 0 {
			t.Fatalf("%d roots, %v; there are %v", len(roots), err, left)
		}
		if err := Remove(filepath.Join(top, "r")); err != nil {
			t.Fatal(err)
		}
		now := tree(t, top)
		now[0].Modified = want[0].Modified // the top itself
		if diff := cmp.Diff(want, now); diff != "" {
			t.Fatal(diff)
		}
	})
}

// FuzzDecode: a damaged or hostile chunk is an error, and never more than its length.
func FuzzDecode(f *testing.F) {
	e, err := newEncoder()
	if err != nil {
		f.Fatal(err)
	}
	content := []byte(strings.Repeat("content", 1000))
	f.Add(append([]byte(nil), e.encode(content)...), uint32(len(content)))
	f.Add(evil, uint32(len(evil)))
	d, err := newDecoder()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, stored []byte, plain uint32) {
		plain = plain%maxChunk + 1
		got, err := d.decode(sha256.Sum256(content), int(plain), stored)
		if err == nil && string(got) != string(content) {
			t.Fatal("it was taken for something else")
		}
	})
}

package checkpoint

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
)

// editor changes a tree at random. Every change gives the file a time of its own, so that no change is hidden from the cache.
type editor struct {
	t    *rapid.T
	root string
	tick int64
}

var sizes = []int{0, 1, 4000, minChunk - 1, minChunk, minChunk + 1, 300_000, maxChunk, 2_500_000}

func (e *editor) try(err error) {
	if err != nil {
		e.t.Fatal(err)
	}
}

// paths lists what is there, the root left out, in order.
func (e *editor) paths(kind func(os.FileInfo) bool) []string {
	var all []string
	e.try(filepath.Walk(e.root, func(path string, info os.FileInfo, err error) error {
		if err == nil && path != e.root && kind(info) {
			all = append(all, path)
		}
		return err
	}))
	return all
}

func (e *editor) pick(kind func(os.FileInfo) bool) (string, bool) {
	all := e.paths(kind)
	if len(all) == 0 {
		return "", false
	}
	return rapid.SampledFrom(all).Draw(e.t, "path"), true
}

func regular(i os.FileInfo) bool   { return i.Mode().IsRegular() }
func directory(i os.FileInfo) bool { return i.IsDir() }
func any1(os.FileInfo) bool        { return true }

func (e *editor) fresh() string {
	dirs := append(e.paths(directory), e.root)
	name := rapid.SampledFrom([]string{"a", "b", "c", "a.b", "a b", "Z", "\xff", "ö", "-", "a\n"}).Draw(e.t, "name")
	return filepath.Join(rapid.SampledFrom(dirs).Draw(e.t, "dir"), name)
}

func (e *editor) stamp(path string) {
	e.tick++
	at := old.Add(time.Duration(e.tick) * time.Second)
	e.try(os.Chtimes(path, at, at))
}

func (e *editor) content() []byte {
	return noise(rapid.IntRange(0, 5).Draw(e.t, "seed"), rapid.SampledFrom(sizes).Draw(e.t, "size"))
}

func (e *editor) step() {
	switch rapid.IntRange(0, 8).Draw(e.t, "what") {
	case 0, 1: // make or replace a file
		path := e.fresh()
		if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
			return
		}
		e.try(os.WriteFile(path, e.content(), 0o644))
		e.stamp(path)
	case 2:
		path := e.fresh()
		if os.Mkdir(path, 0o755) == nil {
			e.stamp(path)
		}
	case 3:
		os.Symlink(rapid.SampledFrom([]string{"a", "..", "/etc/passwd", "../../x", "\xfe"}).Draw(e.t, "target"), e.fresh())
	case 4:
		if path, ok := e.pick(any1); ok {
			e.try(os.RemoveAll(path))
		}
	case 5: // write somewhere into a file, perhaps behind its end, which leaves a hole
		if path, ok := e.pick(regular); ok {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			e.try(err)
			_, err = f.WriteAt(noise(9, 100), rapid.Int64Range(0, 3<<20).Draw(e.t, "offset"))
			e.try(err)
			e.try(f.Close())
			e.stamp(path)
		}
	case 6:
		if path, ok := e.pick(regular); ok {
			e.try(os.Truncate(path, int64(rapid.SampledFrom(sizes).Draw(e.t, "length"))))
			e.stamp(path)
		}
	case 7:
		if path, ok := e.pick(func(i os.FileInfo) bool { return i.IsDir() || i.Mode().IsRegular() }); ok {
			e.try(os.Chmod(path, os.FileMode(rapid.SampledFrom([]int{0o644, 0o755, 0o700, 0o555, 0o000, 0o111}).Draw(e.t, "mode"))))
		}
	case 8:
		if path, ok := e.pick(any1); ok {
			os.Rename(path, e.fresh()) // may be refused
		}
	}
}

// TestAnyTreeComesBack edits a tree at random, takes checkpoints, saves some of them, forgets what nobody keeps, loses the store
// now and then, and restores: whatever was taken and is still kept somewhere comes back as it was.
func TestAnyTreeComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "checkpoint")
		if err != nil {
			t.Fatal(err)
		}
		defer Remove(dir)
		roots := map[string]string{"home": filepath.Join(dir, "home"), "workspace": filepath.Join(dir, "workspace")}
		editors := make([]*editor, 0, 2)
		for _, name := range slices.Sorted(maps.Keys(roots)) {
			if err := os.Mkdir(roots[name], 0o755); err != nil {
				t.Fatal(err)
			}
			editors = append(editors, &editor{t: t, root: roots[name]})
		}
		later := func() time.Time { return time.Now().Add(time.Hour) } // all stamps are trusted
		open := func(path string) *Store {
			s, err := Open(Config{Dir: path, now: later})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s, b := open(filepath.Join(dir, "state")), newBucket()
		defer func() { s.Close() }()
		var saved *Manifest
		for turn := range rapid.IntRange(1, 8).Draw(t, "turns") {
			for range rapid.IntRange(0, 6).Draw(t, "edits") {
				rapid.SampledFrom(editors).Draw(t, "root").step()
			}
			m, _, err := s.Take(t.Context(), roots, saved)
			if err != nil {
				t.Fatal(err)
			}
			if twice, found, err := s.Take(t.Context(), roots, saved); err != nil || twice.ID() != m.ID() || found.Read != 0 && noneClosed(t, roots) {
				t.Fatalf("a second take of the same tree: %v, %+v", err, found)
			}
			if rapid.Bool().Draw(t, "save") {
				h, content, err := s.Upload(t.Context(), m, session, api.Source{})
				if err != nil {
					t.Fatal(err)
				}
				if err := b.save(h, content); err != nil {
					t.Fatal(err)
				}
				b.collect()
				saved = m
			}
			keep := []api.CheckpointID{m.ID()}
			if saved != nil {
				keep = append(keep, saved.ID())
			}
			if err := s.Collect(t.Context(), keep...); err != nil {
				t.Fatal(err)
			}
			if rapid.IntRange(0, 3).Draw(t, "restart") == 0 {
				s.Close()
				s = open(s.dir)
			}
			want := trees(t, roots)
			to := filepath.Join(dir, fmt.Sprintf("to%d", turn))
			restored := map[string]string{"home": filepath.Join(to, "home"), "workspace": filepath.Join(to, "workspace")}
			if err := os.Mkdir(to, 0o755); err != nil {
				t.Fatal(err)
			}
			from, fetch := s, Fetch(nil)
			if saved == m && rapid.Bool().Draw(t, "bucket") {
				from, fetch = open(filepath.Join(to, "state")), b.fetch
			}
			if _, err := from.Restore(t.Context(), m.ID(), restored, fetch); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, trees(t, restored)); diff != "" {
				t.Fatalf("-taken +restored:\n%s", diff)
			}
			if from != s { // the session goes on there
				s.Close()
				s, roots = from, restored
				for i, name := range slices.Sorted(maps.Keys(roots)) {
					editors[i].root = roots[name]
				}
			}
		}
	})
}

func trees(t rapid.TB, roots map[string]string) map[string][]node {
	all := make(map[string][]node)
	for name, path := range roots {
		all[name] = tree(t, path)
	}
	return all
}

// noneClosed tells whether every file can be read by its mode: reading one that cannot changes its look.
func noneClosed(t rapid.TB, roots map[string]string) bool {
	for _, nodes := range trees(t, roots) {
		if slices.ContainsFunc(nodes, func(n node) bool { return n.Mode.Perm()&0o400 == 0 && n.Mode.IsRegular() }) {
			return false
		}
	}
	return true
}

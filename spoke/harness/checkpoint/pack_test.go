package checkpoint

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
)

// flip changes one byte of a file.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func localPacks(t *testing.T, s *Store) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(s.packs, "*.pack"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// rig is a session with one directory.
type rig struct {
	t     *testing.T
	dir   string
	home  string
	roots map[string]string
	s     *Store
	b     *bucket
}

func newRig(t *testing.T) *rig {
	dir := t.TempDir()
	r := &rig{t: t, dir: dir, home: filepath.Join(dir, "home"), b: newBucket(), s: open1(t, filepath.Join(dir, "state"))}
	r.roots = map[string]string{"home": r.home}
	if err := os.Mkdir(r.home, 0o755); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) file(name string, content []byte) { write(r.t, filepath.Join(r.home, name), content) }

func (r *rig) reopen() {
	r.t.Helper()
	r.s.Close()
	r.s = open1(r.t, r.s.dir)
}

// restore restores into a new directory and returns what is in it.
func (r *rig) restore(s *Store, m *Manifest, fetch Fetch) ([]node, Restored, error) {
	to := filepath.Join(r.t.TempDir(), "home")
	done, err := s.Restore(r.t.Context(), m.ID(), map[string]string{"home": to}, fetch)
	if err != nil {
		if left, _ := filepath.Glob(to + "*"); len(left) > 0 {
			r.t.Errorf("after an error there is %v", left)
		}
		return nil, done, err
	}
	return tree(r.t, to), done, nil
}

func TestDamageIsFoundAndNamed(t *testing.T) {
	r := newRig(t)
	r.s.now = func() time.Time { return time.Now().Add(time.Hour) } // the cache is trusted
	r.file("a", noise(1, 5000))
	r.file("sub/b", noise(2, 5000))
	m, _ := takeNow(t, r.s, r.roots, nil)
	upload(t, r.s, m, r.b)
	want := tree(t, r.home)
	pack := localPacks(t, r.s)[0]
	flip(t, pack, int64(len(packMark))+5000+17) // in b

	if _, _, err := r.restore(r.s, m, nil); api.CodeOf(err) != api.CodeFailed || !strings.Contains(err.Error(), `"home/sub/b"`) || !strings.Contains(err.Error(), "chunk "+m.chunks.id(1).String()) {
		t.Errorf("a damaged local chunk: %v", err)
	}
	if _, _, err := r.s.Upload(t.Context(), m, session, api.Source{}); api.CodeOf(err) != api.CodeFailed {
		t.Errorf("a damaged chunk was sent: %v", err)
	}
	// The next take reads the file again, so that the checkpoint is whole.
	again, _ := takeNow(t, r.s, r.roots, nil)
	if got, _, err := r.restore(r.s, again, nil); err != nil || !cmp.Equal(got, want) {
		t.Errorf("after it was taken again: %v", err)
	}
	upload(t, r.s, again, r.b)

	// With a bucket at hand the chunk is fetched.
	flip(t, localPacks(t, r.s)[1], int64(len(packMark))+17)
	got, done, err := r.restore(r.s, m, r.b.fetch)
	if err != nil || !cmp.Equal(got, want) || done.Local || done.Fetched != 5000 {
		t.Errorf("with a bucket: %+v, %v", done, err)
	}

	// What is damaged in the bucket never gets into the store.
	for _, part := range []api.CheckpointPart{api.PartManifest, api.PartPack} {
		content := r.b.objects[m.ID()][part]
		content[len(content)-3] ^= 1
		other := open1(t, t.TempDir())
		if _, _, err := r.restore(other, m, r.b.fetch); err == nil || other.Usage().Chunks > 1 {
			t.Errorf("a damaged %s: %v, %+v", part, err, other.Usage())
		}
		content[len(content)-3] ^= 1
	}
	// A name that is another one makes a manifest that is right but for its hash.
	name := bytes.Index(r.b.objects[m.ID()][api.PartManifest], []byte("sub"))
	r.b.objects[m.ID()][api.PartManifest][name] ^= 1
	if _, _, err := r.restore(open1(t, t.TempDir()), m, r.b.fetch); api.CodeOf(err) != api.CodeFailed {
		t.Errorf("another name in the bucket's manifest: %v", err)
	}
	r.b.objects[m.ID()][api.PartManifest][name] ^= 1
	flip(t, filepath.Join(r.s.manifests, string(m.ID())), int64(name))
	if _, err := r.s.Load(m.ID()); api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("another name in the store's manifest: %v", err)
	}
	short := func(ctx context.Context, id api.CheckpointID, part api.CheckpointPart, offset, length int64, w io.Writer) error {
		return r.b.fetch(ctx, id, part, offset, max(length-1, 0), w)
	}
	if _, _, err := r.restore(open1(t, t.TempDir()), m, short); api.CodeOf(err) != api.CodeFailed || !strings.Contains(err.Error(), "ends at") {
		t.Errorf("a pack that is too short: %v", err)
	}
	long := func(ctx context.Context, id api.CheckpointID, part api.CheckpointPart, offset, length int64, w io.Writer) error {
		if err := r.b.fetch(ctx, id, part, offset, length, w); err != nil || part == api.PartManifest {
			return err
		}
		_, err := w.Write([]byte{1})
		return err
	}
	if _, _, err := r.restore(open1(t, t.TempDir()), m, long); err == nil || !strings.Contains(err.Error(), "more came") {
		t.Errorf("a pack with more bytes than asked for: %v", err)
	}
	if _, _, err := r.restore(open1(t, t.TempDir()), m, nil); api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("an empty store: %v", err)
	}
}

// TestDamagedStoreOpens damages each file of a store at several places: it opens, and gives right content or an error.
func TestDamagedStoreOpens(t *testing.T) {
	for _, file := range []string{"packs/*", "manifests/*", "cache", "marker"} {
		for _, part := range []float64{0, 0.3, 0.6, 0.9, 0.99999} {
			for _, cut := range []bool{false, true} {
				r := newRig(t)
				for i := range 20 {
					r.file(fmt.Sprint(i), noise(i, 100))
				}
				m, _ := takeNow(t, r.s, r.roots, nil)
				if err := r.s.SetMarker(session, m.ID()); err != nil {
					t.Fatal(err)
				}
				want := tree(t, r.home)
				r.s.Close()
				paths, _ := filepath.Glob(filepath.Join(r.s.dir, file))
				info, err := os.Stat(paths[0])
				if err != nil {
					t.Fatal(err)
				}
				at := int64(float64(info.Size()) * part)
				if cut {
					if err := os.Truncate(paths[0], at); err != nil {
						t.Fatal(err)
					}
				} else {
					flip(t, paths[0], at)
				}
				r.reopen()
				if got, _, err := r.restore(r.s, m, nil); err == nil && !cmp.Equal(got, want) {
					t.Errorf("%s damaged at %d: it was restored wrongly", file, at)
				}
				if mark, ok := r.s.Marker(); ok && (mark.Checkpoint != m.ID() && file != "marker") {
					t.Errorf("%s damaged at %d: the marker names %q", file, at, mark.Checkpoint)
				}
				again, _ := takeNow(t, r.s, r.roots, nil)
				if got, _, err := r.restore(r.s, again, nil); file != "packs/*" && (err != nil || !cmp.Equal(got, want)) {
					t.Errorf("%s damaged at %d: taken again: %v", file, at, err)
				}
			}
		}
	}
}

// TestDamagedIndexOfAPackIsNotUsed flips a bit in a row: nothing of the pack is believed, and the next take stores it anew.
func TestDamagedIndexOfAPackIsNotUsed(t *testing.T) {
	r := newRig(t)
	r.file("f", noise(1, 1000))
	takeNow(t, r.s, r.roots, nil)
	pack := localPacks(t, r.s)[0]
	info, err := os.Stat(pack)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, pack, info.Size()-endBytes-rowBytes) // in the chunk's name
	r.reopen()
	if u := r.s.Usage(); u.Chunks != 0 {
		t.Errorf("%+v", u)
	}
	m, _ := takeNow(t, r.s, r.roots, nil)
	if got, _, err := r.restore(r.s, m, nil); err != nil || !cmp.Equal(got, tree(t, r.home)) {
		t.Error(err)
	}
}

func TestOnlyWhatChangedIsReadAndSent(t *testing.T) {
	r := newRig(t)
	r.s.now = func() time.Time { return time.Now().Add(time.Hour) }
	for i := range 50 {
		r.file(fmt.Sprint(i), noise(i, 10_000))
	}
	large := noise(1000, 10<<20)
	r.file("large", large)
	first, found := takeNow(t, r.s, r.roots, nil)
	if found.Read != 51 || found.Files != 51 {
		t.Errorf("the first take: %+v", found)
	}
	upload(t, r.s, first, r.b)
	if same, found := takeNow(t, r.s, r.roots, first); same != first || found.Read != 0 || found.Added != 0 {
		t.Errorf("nothing changed: %+v, %s instead of %s", found, same.ID(), first.ID())
	}
	large = append(append(append([]byte(nil), large[:5<<20]...), []byte("a line in the middle")...), large[5<<20:]...)
	r.file("large", large)
	r.file("7", noise(2000, 10_000))
	second, found := takeNow(t, r.s, r.roots, first)
	if found.Read != 2 || found.Added < 10_000 || found.Added > 10_000+2*maxChunk {
		t.Errorf("one file and a line changed: %+v", found)
	}
	h := upload(t, r.s, second, r.b)
	if diff := cmp.Diff([]api.CheckpointID{first.ID()}, h.Packs); diff != "" {
		t.Error(diff)
	}
	other := open1(t, t.TempDir())
	got, _, err := r.restore(other, second, r.b.fetch)
	if err != nil || !cmp.Equal(got, tree(t, r.home)) {
		t.Errorf("restored from two packs: %v", err)
	}
	if r.b.ranges > 6 { // 10 MiB in ranges of 8, and the second pack
		t.Errorf("it took %d ranges", r.b.ranges)
	}
}

// TestCacheIsNotFooled changes a file so that size, time and inode stay.
func TestCacheIsNotFooled(t *testing.T) {
	r := newRig(t)
	path := filepath.Join(r.home, "f")
	for _, test := range []struct {
		name   string
		now    time.Duration // by which the clock of the store is ahead
		change func()
	}{
		{"time of change set back", time.Hour, func() { // only ctime tells
			r.file("f", []byte("two"))
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
		}},
		{"replaced by another inode", time.Hour, func() {
			write(t, path+".x", []byte("two"))
			if err := os.Chtimes(path+".x", old, old); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".x", path); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r.s.now = func() time.Time { return time.Now().Add(test.now) }
			r.file("f", []byte("one"))
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
			takeNow(t, r.s, r.roots, nil)
			before, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(5 * time.Second); ; { // until the clock of the file system has moved
				test.change()
				after, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if !sameLook(before, after) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the times of files do not move")
				}
			}
			m, found := takeNow(t, r.s, r.roots, nil)
			got, _, err := r.restore(r.s, m, nil)
			if err != nil || !cmp.Equal(got, tree(t, r.home)) || found.Read != 1 {
				t.Errorf("the change was not noticed: %+v %v", found, err)
			}
		})
	}
	// A file that changed just before the take may change again within the same tick: it is read again next time.
	r.s.now = time.Now
	r.file("f", []byte("three"))
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	takeNow(t, r.s, r.roots, nil)
	if _, found := takeNow(t, r.s, r.roots, nil); found.Read != 1 {
		t.Errorf("a file that changed just now was not read again: %+v", found)
	}
}

// TestTornCacheIsNotUsed makes a cache that is right for the changed file but for its checksum.
func TestTornCacheIsNotUsed(t *testing.T) {
	r := newRig(t)
	r.s.now = func() time.Time { return time.Now().Add(time.Hour) }
	r.file("f", []byte("one"))
	if err := os.Chtimes(filepath.Join(r.home, "f"), old, old); err != nil {
		t.Fatal(err)
	}
	takeNow(t, r.s, r.roots, nil)
	r.file("f", []byte("two"))
	if err := os.Chtimes(filepath.Join(r.home, "f"), old, old); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(r.home, "f"))
	if err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(r.s.dir, "cache")
	b, err := os.ReadFile(cache)
	if err != nil {
		t.Fatal(err)
	}
	copy(b[cacheHead:], appendStamp(nil, info, r.s.now()))
	if err := os.WriteFile(cache, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, found := takeNow(t, r.s, r.roots, nil); found.Read != 1 {
		t.Errorf("a torn cache was used: %+v", found)
	}
}

func TestFileThatChangesWhileItIsRead(t *testing.T) {
	r := newRig(t)
	r.file("f", noise(1, 100))
	tk, err := r.s.newTake(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(r.home)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	info, err := root.Lstat("f")
	if err != nil {
		t.Fatal(err)
	}
	changes, most := 0, 2
	tk.changing = func() {
		if changes++; changes <= most {
			r.file("f", noise(1+changes, 100+changes))
		}
	}
	got, err := tk.read(root, info, "f")
	if err != nil || got.Size() != 102 || len(tk.parts) != 1 || tk.parts[0].plain != 102 {
		t.Errorf("a file that came to rest: %v, %v, %v", got, tk.parts, err)
	}
	most = 1000
	if _, err := tk.read(root, info, "f"); api.CodeOf(err) != api.CodeFailed {
		t.Errorf("a file that goes on changing: %v", err)
	}
}

func TestLimitsAreNamed(t *testing.T) {
	for _, test := range []struct {
		limits Limits
		want   string
	}{
		{Limits{Entries: 5}, "more than 5 files"},
		{Limits{Manifest: 300}, "manifest of the state has"},
		{Limits{Pack: 10_000}, "at most 10000"},
		{Limits{Content: 50_000}, "more than 50000 bytes"},
	} {
		r := newRig(t)
		r.s.limits = test.limits.withDefaults()
		for i := range 10 {
			r.file(fmt.Sprint(i), noise(i, 10_000))
		}
		_, _, err := r.s.Take(t.Context(), r.roots, nil)
		if api.CodeOf(err) != api.CodeLimit || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test.limits, err)
		}
	}
	for _, limits := range []Limits{{Entries: MaxEntries + 1}, {Manifest: -1}, {Pack: api.MaxCheckpointBytes + 1}, {Content: MaxContent + 1}} {
		if _, err := Open(Config{Dir: t.TempDir(), Limits: limits}); api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("%+v: %v", limits, err)
		}
	}
}

// TestPacksStayFewAndUseful lives through many turns and looks at what lies in the bucket and in the store.
func TestPacksStayFewAndUseful(t *testing.T) {
	for _, test := range []struct {
		name     string
		replaced int64 // bytes that each turn replaces
	}{{"most is replaced", 60_000}, {"a little is replaced", 1500}, {"nothing is replaced", 0}} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			var saved *Manifest
			for turn := range 80 {
				for i := range 3 {
					r.file(fmt.Sprintf("now %d", i), noise(turn*10+i, int(test.replaced/3)))
				}
				r.file(fmt.Sprintf("kept/%d", turn), noise(100_000+turn, 5_000))
				m, _ := takeNow(t, r.s, r.roots, saved)
				upload(t, r.s, m, r.b)
				r.b.collect()
				saved = m
				if err := r.s.Collect(t.Context(), m.ID()); err != nil {
					t.Fatal(err)
				}
				live := test.replaced + int64(turn+1)*5_000
				referred := int64(0)
				for _, p := range m.packs {
					referred += p.bytes
				}
				if len(m.packs) > mostPacks+1 || referred > 2*live+test.replaced+5_000 {
					t.Fatalf("turn %d: %d packs with %d bytes for %d live ones", turn, len(m.packs), referred, live)
				}
				if u := r.s.Usage(); u.Packs > mostLocal+1 || u.Bytes > 3*live+10_000 {
					t.Fatalf("turn %d: the store has %+v for %d live bytes", turn, u, live)
				}
			}
			// Three checkpoints are kept, so that the bucket holds little more than one needs.
			if size := r.b.size(); size > 3*(test.replaced+80*5_000) {
				t.Errorf("the bucket has %d bytes", size)
			}
			got, _, err := r.restore(open1(t, t.TempDir()), saved, r.b.fetch)
			if err != nil || !cmp.Equal(got, tree(t, r.home)) {
				t.Errorf("the last one: %v", err)
			}
		})
	}
}

// TestBaseMayFallBehind: a checkpoint whose base was the last saved one when it was taken can be saved after one more was.
func TestBaseMayFallBehind(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(t)
		var saved, waiting *Manifest
		for turn := range rapid.IntRange(1, 20).Draw(rt, "turns") {
			r.file(fmt.Sprint(rapid.IntRange(0, 3).Draw(rt, "file")), noise(turn, 1000))
			m, _ := takeNow(t, r.s, r.roots, saved)
			// One upload at a time; the answer of one may come after the next checkpoint was taken.
			if waiting != nil {
				upload(t, r.s, waiting, r.b)
				r.b.collect()
				saved, waiting = waiting, nil
			}
			if rapid.Bool().Draw(rt, "late") {
				waiting = m
			} else {
				upload(t, r.s, m, r.b)
				r.b.collect()
				saved = m
			}
		}
		if saved != nil {
			if _, _, err := r.restore(open1(t, t.TempDir()), saved, r.b.fetch); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

func TestLayoutIsPure(t *testing.T) {
	r := newRig(t)
	for i := range 10 {
		r.file(fmt.Sprint(i), noise(i, 100_000+i))
	}
	base, _ := takeNow(t, r.s, r.roots, nil)
	r.file("5", noise(77, 1000))
	m, _ := takeNow(t, r.s, r.roots, base)
	other := open1(t, t.TempDir())
	again, _ := takeNow(t, other, r.roots, base)
	if m.ID() != again.ID() || !bytes.Equal(m.Bytes(), again.Bytes()) {
		t.Error("another store makes another checkpoint of the same tree and base")
	}
	if full, _ := takeNow(t, other, r.roots, nil); full.ID() == m.ID() || !sameState(full, m) {
		t.Error("without a base the layout must differ and the state must not")
	}
}

func TestMarker(t *testing.T) {
	r := newRig(t)
	m, _ := takeNow(t, r.s, r.roots, nil)
	if _, ok := r.s.Marker(); ok {
		t.Error("there is a marker before one was set")
	}
	if err := r.s.SetMarker(session, m.ID()); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	if got, ok := r.s.Marker(); !ok || got.Checkpoint != m.ID() || got.Session != session {
		t.Errorf("%+v, %v", got, ok)
	}
	b, err := os.ReadFile(r.s.markerPath())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.s.markerPath(), bytes.Replace(b, []byte(bootID()), []byte("another start"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, ok := r.s.Marker(); ok {
		t.Errorf("a marker of another start of the machine is believed: %+v", got)
	}
	for range 2 {
		if err := r.s.ClearMarker(); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := r.s.Marker(); ok {
		t.Error("there is a marker after it was cleared")
	}
}

func TestOneProcessAtATime(t *testing.T) {
	r := newRig(t)
	if _, err := Open(Config{Dir: r.s.dir}); api.CodeOf(err) != api.CodeInUse {
		t.Errorf("a second open: %v", err)
	}
	r.reopen()
}

func TestRestoreRefuses(t *testing.T) {
	r := newRig(t)
	r.file("f", []byte("x"))
	m, _ := takeNow(t, r.s, r.roots, nil)
	before := tree(t, r.home)
	if _, err := r.s.Restore(t.Context(), m.ID(), r.roots, nil); api.CodeOf(err) != api.CodeFailed {
		t.Errorf("a directory that is not empty: %v", err)
	}
	if diff := cmp.Diff(before, tree(t, r.home)); diff != "" {
		t.Error(diff)
	}
	for _, roots := range []map[string]string{{}, {"workspace": t.TempDir()}, {"home": filepath.Join(t.TempDir(), "a"), "workspace": filepath.Join(t.TempDir(), "b")}} {
		if _, err := r.s.Restore(t.Context(), m.ID(), roots, nil); api.CodeOf(err) != api.CodeFailed {
			t.Errorf("%v: %v", roots, err)
		}
	}
	if _, err := r.s.Restore(t.Context(), "x/../y", r.roots, nil); err == nil {
		t.Error("a wrong id was taken")
	}
	to := filepath.Join(t.TempDir(), "home")
	write(t, to+".restoring/old/x", []byte("of a restore that crashed"))
	if err := os.Mkdir(to, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := r.s.Restore(t.Context(), m.ID(), map[string]string{"home": to}, nil); err != nil {
		t.Errorf("into an empty directory, beside what a crash left: %v", err)
	}
	if diff := cmp.Diff(before, tree(t, to)); diff != "" {
		t.Error(diff)
	}
}

package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
)

var errCrash = errors.New("the machine stopped")

// loss is what a crash takes away.
type loss string

const (
	lossNone    loss = "nothing"               // the process was killed
	lossAll     loss = "all that was unsynced" // the power failed
	lossContent loss = "unsynced content"      // the power failed, and names reached the disk before content
	lossError   loss = "one operation"         // that failed; the process goes on
)

// faultyDisk is a disk of the machine that stops at one operation and knows what was not synced by then.
type faultyDisk struct {
	at       int // operation that fails, from 1; 0: none
	loss     loss
	spare    string // directory for what was replaced or removed
	n        int
	unsynced map[string]int64 // file -> bytes that are durable
	pending  []rename
	stopped  bool
}

// rename is a change of names that was not synced.
type rename struct{ from, to, backup string }

func newFaultyDisk(spare string, at int, loss loss) *faultyDisk {
	return &faultyDisk{at: at, loss: loss, spare: spare, unsynced: make(map[string]int64)}
}

func (d *faultyDisk) step() error {
	d.n++
	if d.stopped || d.n == d.at {
		d.stopped = d.loss != lossError
		return errCrash
	}
	return nil
}

func (d *faultyDisk) Create(path string) (file, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	f, err := osDisk{}.Create(path)
	d.unsynced[path] = 0
	return &faultyFile{d: d, f: f, path: path}, err
}

func (d *faultyDisk) Rename(from, to string) error {
	if err := d.step(); err != nil {
		return err
	}
	r := rename{from: from, to: to, backup: filepath.Join(d.spare, fmt.Sprint(d.n))}
	if os.Link(to, r.backup) != nil {
		r.backup = ""
	}
	d.pending = append(d.pending, r)
	if size, ok := d.unsynced[from]; ok {
		delete(d.unsynced, from)
		d.unsynced[to] = size
	}
	return os.Rename(from, to)
}

func (d *faultyDisk) Remove(path string) error {
	if err := d.step(); err != nil {
		return err
	}
	r := rename{from: path, backup: filepath.Join(d.spare, fmt.Sprint(d.n))}
	if os.Link(path, r.backup) != nil {
		r.backup = ""
	}
	d.pending = append(d.pending, r)
	return os.Remove(path)
}

func (d *faultyDisk) SyncDir(path string) error {
	if err := d.step(); err != nil {
		return err
	}
	var left []rename
	for _, r := range d.pending {
		if filepath.Dir(r.from) != path {
			left = append(left, r)
		}
	}
	d.pending = left
	return nil
}

// crash leaves on the disk what a crash would.
func (d *faultyDisk) crash() {
	if d.loss == lossNone || d.loss == lossError {
		return
	}
	for path, size := range d.unsynced {
		if info, err := os.Stat(path); err == nil && info.Size() > size {
			os.Truncate(path, size+(info.Size()-size)/2)
		}
	}
	if d.loss == lossContent {
		return
	}
	for i := len(d.pending) - 1; i >= 0; i-- {
		r := d.pending[i]
		if r.to != "" {
			os.Rename(r.to, r.from)
			if r.backup != "" {
				os.Link(r.backup, r.to)
			}
		} else if r.backup != "" {
			os.Link(r.backup, r.from)
		}
	}
}

type faultyFile struct {
	d    *faultyDisk
	f    file
	path string
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if err := f.d.step(); err != nil {
		n, _ := f.f.Write(p[:len(p)/2])
		return n, err
	}
	return f.f.Write(p)
}

func (f *faultyFile) Sync() error {
	if err := f.d.step(); err != nil {
		return err
	}
	if info, err := os.Stat(f.path); err == nil {
		f.d.unsynced[f.path] = info.Size()
	}
	return nil
}

func (f *faultyFile) Close() error { return f.f.Close() }

// life is a session's life on one store, and what it may rely on at each moment.
type life struct {
	t      *testing.T
	dir    string
	roots  map[string]string
	bucket *bucket

	kept    map[api.CheckpointID][]node // taken, and not collected since
	marker  api.CheckpointID            // that a marker must name; empty: no marker
	between bool                        // the marker is being set or cleared: before or after
	pending api.CheckpointID            // that it is being set to
	power   bool                        // the power may fail: then nobody needs a marker
}

// run returns at the first error that is a crash.
func (l *life) run(disk *faultyDisk) error {
	s, err := Open(Config{Dir: filepath.Join(l.dir, "state"), disk: disk})
	if err != nil {
		return err
	}
	defer s.Close()
	var base *Manifest
	for turn := range 3 {
		l.between, l.pending = true, ""
		if err := l.again(disk, s.ClearMarker); err != nil {
			return err
		}
		l.marker, l.between = "", false
		home := l.roots["home"]
		write(l.t, filepath.Join(home, fmt.Sprintf("new %d", turn)), noise(turn, 70_000))
		write(l.t, filepath.Join(home, "same name"), noise(100+turn, 200_000)) // so that its local pack is written anew
		var m *Manifest
		if err := l.again(disk, func() (err error) {
			m, _, err = s.Take(l.t.Context(), l.roots, base)
			return err
		}); err != nil {
			return err
		}
		l.kept[m.ID()] = tree(l.t, home)
		l.between, l.pending = true, m.ID()
		if err := l.again(disk, func() error { return s.SetMarker(session, m.ID()) }); err != nil {
			return err
		}
		l.marker, l.between = m.ID(), false
		if turn == 1 {
			upload(l.t, s, m, l.bucket)
			base = m
		}
		l.kept = map[api.CheckpointID][]node{m.ID(): l.kept[m.ID()]}
		if err := l.again(disk, func() error { return s.Collect(l.t.Context(), m.ID()) }); err != nil {
			return err
		}
	}
	return nil
}

// again repeats what failed once, where the process goes on.
func (l *life) again(disk *faultyDisk, do func() error) error {
	err := do()
	if errors.Is(err, errCrash) && !disk.stopped {
		err = do()
	}
	return err
}

// check verifies a store after a crash.
func (l *life) check() {
	c := Config{Dir: filepath.Join(l.dir, "state")}
	if l.power {
		c.boot = "the next start of the machine"
	}
	s, err := Open(c)
	if err != nil {
		l.t.Fatalf("open after the crash: %v", err)
	}
	defer s.Close()
	for id, want := range l.kept {
		to := filepath.Join(l.dir, string(id))
		if _, err := s.Restore(l.t.Context(), id, map[string]string{"home": to}, nil); err != nil {
			l.t.Fatalf("a checkpoint that was taken: %v", err)
		}
		if diff := cmp.Diff(want, tree(l.t, to)); diff != "" {
			l.t.Fatalf("-taken +restored:\n%s", diff)
		}
	}
	switch m, ok := s.Marker(); {
	case ok && l.power:
		l.t.Fatalf("the marker that names %q is of before the power failed, and is believed", m.Checkpoint)
	case ok && m.Checkpoint == l.marker, !ok && (l.marker == "" || l.power):
	case l.between && (!ok || m.Checkpoint == l.pending):
	default:
		l.t.Fatalf("the marker names %q (%v), it must name %q", m.Checkpoint, ok, l.marker)
	}
	if _, err := os.Stat(filepath.Join(l.dir, "state", "cache.new")); err == nil {
		l.t.Error("an unfinished file is left")
	}
	m, _, err := s.Take(l.t.Context(), l.roots, nil)
	if err != nil {
		l.t.Fatalf("take after the crash: %v", err)
	}
	upload(l.t, s, m, l.bucket)
}

// TestCrashAtEveryOperation stops a session's life at each operation of its store in turn.
func TestCrashAtEveryOperation(t *testing.T) {
	for _, loss := range []loss{lossNone, lossAll, lossContent, lossError} {
		t.Run(string(loss), func(t *testing.T) {
			for at := 1; ; at++ {
				dir := t.TempDir()
				l := &life{t: t, dir: dir, roots: map[string]string{"home": filepath.Join(dir, "home")}, bucket: newBucket(), kept: make(map[api.CheckpointID][]node),
					power: loss == lossAll || loss == lossContent}
				write(t, filepath.Join(l.roots["home"], "sub/first"), noise(50, 10))
				disk := newFaultyDisk(t.TempDir(), at, loss)
				err := l.run(disk)
				if err != nil && !errors.Is(err, errCrash) {
					t.Fatalf("operation %d: %v", at, err)
				}
				disk.crash()
				l.check()
				if t.Failed() {
					t.Fatalf("operation %d", at)
				}
				if disk.n < at {
					if at < 60 {
						t.Errorf("the life has %d operations only", at)
					}
					return
				}
			}
		})
	}
}

// TestCrashDuringRestore stops a restore from the bucket at each operation of the store: the directory is not there, or is
// whole, and the next restore works.
func TestCrashDuringRestore(t *testing.T) {
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	for i := range 4 {
		write(t, filepath.Join(home, fmt.Sprint(i)), noise(i, 200_000))
	}
	b := newBucket()
	s := open1(t, filepath.Join(dir, "state"))
	m, _ := takeNow(t, s, map[string]string{"home": home}, nil)
	upload(t, s, m, b)
	want := tree(t, home)
	for at := 1; ; at++ {
		store, to := t.TempDir(), filepath.Join(t.TempDir(), "home")
		disk := newFaultyDisk(t.TempDir(), at, lossAll)
		other, err := Open(Config{Dir: store, disk: disk})
		if err == nil {
			_, err = other.Restore(t.Context(), m.ID(), map[string]string{"home": to}, b.fetch)
			other.Close()
		}
		if err != nil && !errors.Is(err, errCrash) {
			t.Fatalf("operation %d: %v", at, err)
		}
		disk.crash()
		if err != nil {
			if _, err := os.Stat(to); err == nil {
				t.Fatalf("operation %d: the directory is there after a restore that failed", at)
			}
			other = open1(t, store)
			if _, err := other.Restore(t.Context(), m.ID(), map[string]string{"home": to}, b.fetch); err != nil {
				t.Fatalf("operation %d: the next restore: %v", at, err)
			}
			other.Close()
		}
		if diff := cmp.Diff(want, tree(t, to)); diff != "" {
			t.Fatalf("operation %d: -taken +restored:\n%s", at, diff)
		}
		if disk.n < at {
			return
		}
	}
}

// TestInterruptedFetchGoesOn breaks the connection at odd places; what came before is not fetched again.
func TestInterruptedFetchGoesOn(t *testing.T) {
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	write(t, filepath.Join(home, "x"), noise(1, 20<<20))
	b, s := newBucket(), open1(t, filepath.Join(dir, "state"))
	m, _ := takeNow(t, s, map[string]string{"home": home}, nil)
	upload(t, s, m, b)
	other := open1(t, filepath.Join(dir, "other"))
	broken := errors.New("broken")
	to := map[string]string{"home": filepath.Join(dir, "to")}
	for range 3 {
		before := other.Usage().Chunks
		_, err := other.Restore(t.Context(), m.ID(), to, func(ctx context.Context, id api.CheckpointID, part api.CheckpointPart, offset, length int64, w io.Writer) error {
			if part == api.PartManifest {
				return b.fetch(ctx, id, part, offset, length, w)
			}
			if err := b.fetch(ctx, id, part, offset, length/2+offset*7919%(length/2), w); err != nil {
				return err
			}
			return broken
		})
		if !errors.Is(err, broken) {
			t.Fatal(err)
		}
		if after := other.Usage().Chunks; after <= before {
			t.Fatalf("%d chunks became %d", before, after)
		}
		other.Close()
		other = open1(t, other.dir)
	}
	if _, err := other.Restore(t.Context(), m.ID(), to, b.fetch); err != nil {
		t.Fatal(err)
	}
	if b.bytes > m.PackBytes()*3 || other.Usage().Chunks != s.Usage().Chunks {
		t.Errorf("fetched %d bytes of %d, %d chunks of %d", b.bytes, m.PackBytes(), other.Usage().Chunks, s.Usage().Chunks)
	}
	if diff := cmp.Diff(tree(t, home), tree(t, to["home"])); diff != "" {
		t.Error(diff)
	}
}

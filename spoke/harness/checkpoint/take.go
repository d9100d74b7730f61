package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/restic/chunker"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/checkpoint/manifestv1"
)

// Taken says what a take found and did.
type Taken struct {
	Entries int   // files, directories and links
	Files   int   // regular files
	Content int64 // bytes of all files, holes not counted
	Read    int   // files that were read; the others looked as they did in the checkpoint before
	Added   int64 // bytes of the checkpoint's own pack
	// Skipped names up to 100 sockets, pipes and devices. They are left out of a checkpoint. SkippedCount counts all.
	Skipped      []string
	SkippedCount int
}

const (
	maxSkipped = 100
	readTries  = 4 // readings of a file that changes meanwhile
)

// Take makes a checkpoint of the directories and puts all of it into the store, durable. The keys of roots name them in the
// checkpoint, the values are paths.
//
// base is the last checkpoint that is known to be in the bucket, nil when there is none: chunks that its packs have are referred
// to there. When the tree is as in base, base is returned and nothing is written. The same tree, base and history of the store
// give the same checkpoint.
//
// Nothing may change the directories meanwhile. A file that changes all the same while it is read is read again, and is an error
// of CodeFailed when it goes on changing. CodeLimit when the state is larger than a checkpoint may be.
func (s *Store) Take(ctx context.Context, roots map[string]string, base *Manifest) (*Manifest, Taken, error) {
	s.op.Lock()
	defer s.op.Unlock()
	t, err := s.newTake(ctx)
	if err != nil {
		return nil, Taken{}, err
	}
	defer t.pack.abort()
	if len(roots) == 0 {
		return nil, Taken{}, api.Invalid("roots", "there is none; name the directories that are the state")
	}
	for _, name := range slices.Sorted(maps.Keys(roots)) {
		if err := t.root(name, roots[name]); err != nil {
			return nil, Taken{}, fmt.Errorf("take checkpoint: %w", err)
		}
	}
	m, err := t.build.finish(base, func(id sum) (uint32, bool) {
		p, ok := s.find(id)
		return p.stored, ok
	})
	if err != nil {
		return nil, Taken{}, fmt.Errorf("take checkpoint: %w", err)
	}
	if base != nil && sameState(m, base) {
		m = base
	} else {
		t.found.Added = m.PackBytes()
	}
	if err := t.pack.seal(); err != nil {
		return nil, Taken{}, fmt.Errorf("take checkpoint: %w", err)
	}
	// A cache was written after its manifest was durable: what a turn left as it was is not written again.
	if !t.before.is(m.id) {
		if err := s.keep(m); err != nil {
			return nil, Taken{}, fmt.Errorf("take checkpoint: %w", err)
		}
	}
	if !t.before.is(m.id) || !bytes.Equal(t.before.stamps, t.stamps) {
		if err := s.writeCache(m.id, t.stamps); err != nil {
			return nil, Taken{}, fmt.Errorf("take checkpoint: %w", err)
		}
	}
	t.found.Entries, t.found.Files, t.found.Content = m.Entries, m.Files, m.Content
	return m, t.found, nil
}

// take walks the tree once.
type take struct {
	ctx    context.Context
	s      *Store
	build  *builder
	pack   *packWriter
	enc    *encoder
	cut    *chunker.Chunker
	buf    []byte // of room
	now    time.Time
	before *former
	stamps []byte   // of the cache: one for each file
	path   []string // of the entry at hand, for errors
	entry  manifestv1.Entry
	parts  []part
	found  Taken

	changing func() // nil; a test changes a file here, while it is read
}

func (s *Store) newTake(ctx context.Context) (*take, error) {
	enc, err := newEncoder()
	if err != nil {
		return nil, err
	}
	return &take{ctx: ctx, s: s, build: newBuilder(s.limits), pack: s.newPack(), enc: enc, now: s.now(), before: s.readCache()}, nil
}

// room is a buffer of so many bytes at least, the same one each time. A take that reads nothing has none: of a state that hardly
// changes it would be most of what a turn costs.
func (t *take) room(bytes int) []byte {
	if len(t.buf) < bytes {
		t.buf = make([]byte, bytes)
	}
	return t.buf
}

func (t *take) root(name, path string) error {
	t.path = append(t.path[:0], name)
	if !validName([]byte(name)) {
		return api.Invalid("roots", "%q is no name", name)
	}
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no directory", path)
	}
	if err != nil {
		return t.at(err)
	}
	return t.lend(info, dirRights, func(mode fs.FileMode) error { return os.Chmod(path, mode) }, func() error {
		r, err := os.OpenRoot(path)
		if err != nil {
			return t.at(err)
		}
		defer r.Close()
		return t.directory(r, info, 0, name, t.before.seek(0, name))
	})
}

// Rights without which an owner cannot read.
const (
	dirRights  fs.FileMode = 0o500
	fileRights fs.FileMode = 0o400
)

// lend gives the owner the right to read a file or directory that lacks it, for as long as read takes. After a crash meanwhile
// the marker is not set, so that the tree is not used as it is.
func (t *take) lend(info fs.FileInfo, rights fs.FileMode, chmod func(fs.FileMode) error, read func() error) error {
	mode := info.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
	if mode&rights == rights {
		return read()
	}
	if err := chmod(mode | rights); err != nil {
		return t.at(err)
	}
	err := read()
	if back := chmod(mode); back != nil && !errors.Is(back, fs.ErrNotExist) {
		err = errors.Join(err, t.at(back))
	}
	return err
}

// at names the entry at hand.
func (t *take) at(err error) error { return fmt.Errorf("%q: %w", strings.Join(t.path, "/"), err) }

// directory adds a directory and what it holds. old tells whether the checkpoint before has it.
func (t *take) directory(r *os.Root, info fs.FileInfo, depth int, name string, old bool) error {
	if depth > maxDepth {
		return t.at(api.Errorf(api.CodeLimit, "it is more than %d directories deep", maxDepth))
	}
	if old {
		t.before.enter()
	}
	t.begin(depth, name, manifestv1.Kind_KIND_DIRECTORY, info)
	if err := t.build.add(&t.entry); err != nil {
		return t.at(err)
	}
	names, err := list(r)
	if err != nil {
		return t.at(err)
	}
	for _, child := range names {
		if err := t.ctx.Err(); err != nil {
			return context.Cause(t.ctx)
		}
		t.path = append(t.path, child)
		if err := t.child(r, depth+1, child, old); err != nil {
			return err
		}
		t.path = t.path[:len(t.path)-1]
	}
	return nil
}

func list(r *os.Root) ([]string, error) {
	d, err := r.Open(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

func (t *take) child(r *os.Root, depth int, name string, parentOld bool) error {
	info, err := r.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it went away since the directory was listed
	}
	if err != nil {
		return t.at(err)
	}
	old := parentOld && t.before.seek(depth, name)
	switch info.Mode().Type() {
	case 0:
		return t.file(r, info, depth, name, old)
	case fs.ModeDir:
		old = old && t.before.kind(manifestv1.Kind_KIND_DIRECTORY)
		return t.lend(info, dirRights, func(mode fs.FileMode) error { return r.Chmod(name, mode) }, func() error {
			sub, err := r.OpenRoot(name)
			if err != nil {
				return t.at(err)
			}
			defer sub.Close()
			return t.directory(sub, info, depth, name, old)
		})
	case fs.ModeSymlink:
		target, err := r.Readlink(name)
		if err != nil {
			return t.at(err)
		}
		t.begin(depth, name, manifestv1.Kind_KIND_SYMLINK, info)
		t.entry.Target = []byte(target)
		return t.done()
	}
	if t.found.SkippedCount++; t.found.SkippedCount <= maxSkipped {
		t.found.Skipped = append(t.found.Skipped, filepath.Join(t.path...))
	}
	return nil
}

// begin fills in what all kinds of entries have.
func (t *take) begin(depth int, name string, kind manifestv1.Kind, info fs.FileInfo) {
	e := &t.entry
	e.Depth, e.Name, e.Kind = uint32(depth), []byte(name), kind
	e.Mode, e.ModifiedSeconds, e.ModifiedNanos = 0, 0, 0
	e.Size, e.Chunks, e.Holes, e.Target = 0, e.Chunks[:0], e.Holes[:0], nil
	if kind != manifestv1.Kind_KIND_SYMLINK {
		e.Mode = uint32(info.Mode().Perm())
		e.ModifiedSeconds, e.ModifiedNanos = info.ModTime().Unix(), uint32(info.ModTime().Nanosecond())
	}
}

func (t *take) done() error {
	if err := t.build.add(&t.entry); err != nil {
		return t.at(err)
	}
	return nil
}

// file adds a regular file. Its parts are those of the checkpoint before if it looks as it did then.
func (t *take) file(r *os.Root, info fs.FileInfo, depth int, name string, old bool) error {
	if !old || !t.before.unchanged(info) || !t.s.has(t.before.ids()) {
		read, err := t.read(r, info, name)
		if err != nil || read == nil {
			return err
		}
		t.found.Read++
		t.begin(depth, name, manifestv1.Kind_KIND_FILE, read)
		t.entry.Mode = uint32(info.Mode().Perm()) // without what was lent
		info = read
		for _, p := range t.parts {
			t.part(p.id, p.plain, p.hole)
		}
	} else {
		t.begin(depth, name, manifestv1.Kind_KIND_FILE, info)
		t.before.parts(t.part)
	}
	t.stamps = appendStamp(t.stamps, info, t.now)
	return t.done()
}

// part appends a part of a file to the entry: a chunk, or a hole when plain is 0.
func (t *take) part(id sum, plain uint32, hole uint64) {
	if plain == 0 {
		t.entry.Chunks = append(t.entry.Chunks, 0)
		t.entry.Holes = append(t.entry.Holes, hole)
		t.entry.Size += hole
		return
	}
	t.entry.Chunks = append(t.entry.Chunks, t.build.chunk(id, plain))
	t.entry.Size += uint64(plain)
}

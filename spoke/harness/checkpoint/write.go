package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/checkpoint/manifestv1"
)

// writer makes the tree of a manifest. Every name is used below an [os.Root] of the directory that holds it, and every file and
// directory is made new, so that nothing outside can be reached whatever the manifest says.
type writer struct {
	ctx     context.Context
	s       *Store
	m       *Manifest
	fetch   Fetch
	d       *decoder
	buf     []byte
	levels  []level // directories that are not finished, outermost first
	fetched int64
}

// level is a directory that is being filled.
type level struct {
	in       *os.Root // that holds it; not owned by the first level
	root     *os.Root
	name     string
	mode     fs.FileMode
	modified time.Time
}

func newWriter(ctx context.Context, s *Store, m *Manifest, fetch Fetch) (*writer, error) {
	d, err := newDecoder()
	if err != nil {
		return nil, err
	}
	return &writer{ctx: ctx, s: s, m: m, fetch: fetch, d: d, buf: make([]byte, maxChunk)}, nil
}

// close lets go of what an error left open.
func (w *writer) close() {
	for _, l := range w.levels {
		l.root.Close()
	}
	w.d.close()
}

// tree makes all roots. Their parents must exist, they must not.
func (w *writer) tree(roots map[string]string) error {
	for e := w.m.walk(); e.next(); {
		if err := w.ctx.Err(); err != nil {
			return context.Cause(w.ctx)
		}
		if err := w.finish(int(e.entry.Depth)); err != nil {
			return err
		}
		if err := w.add(&e.entry, roots); err != nil {
			return fmt.Errorf("%q: %w", w.path(string(e.entry.Name)), err)
		}
	}
	return w.finish(0)
}

func (w *writer) path(name string) string {
	var b strings.Builder
	for _, l := range w.levels {
		b.WriteString(l.name + "/")
	}
	return b.String() + name
}

func (w *writer) add(e *manifestv1.Entry, roots map[string]string) error {
	name, modified := string(e.Name), time.Unix(e.ModifiedSeconds, int64(e.ModifiedNanos))
	l := level{name: name, mode: fs.FileMode(e.Mode), modified: modified}
	if e.Depth == 0 {
		path := roots[name]
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		var err error
		if l.root, err = os.OpenRoot(path); err != nil {
			return err
		}
		w.levels = append(w.levels, l)
		return nil
	}
	l.in = w.levels[len(w.levels)-1].root
	switch e.Kind {
	case manifestv1.Kind_KIND_DIRECTORY:
		if err := l.in.Mkdir(name, 0o700); err != nil {
			return err
		}
		var err error
		if l.root, err = l.in.OpenRoot(name); err != nil {
			return err
		}
		w.levels = append(w.levels, l)
		return nil
	case manifestv1.Kind_KIND_SYMLINK:
		return l.in.Symlink(string(e.Target), name)
	}
	return w.file(l, e)
}

// finish ends the directories that are at a depth or deeper: their modes and times are set when nothing is added any more.
func (w *writer) finish(depth int) error {
	for len(w.levels) > depth {
		l := w.levels[len(w.levels)-1]
		in, name := l.in, l.name
		if in == nil {
			in, name = l.root, "."
		}
		err := in.Chmod(name, l.mode)
		if err == nil {
			err = in.Chtimes(name, time.Time{}, l.modified)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", w.path(""), err)
		}
		w.levels = w.levels[:len(w.levels)-1]
		l.root.Close()
	}
	return nil
}

func (w *writer) file(l level, e *manifestv1.Entry) error {
	f, err := l.in.OpenFile(l.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	at, holes := int64(0), e.Holes
	for _, c := range e.Chunks {
		if c == 0 {
			at += int64(holes[0])
			holes = holes[1:]
			continue
		}
		content, err := w.chunk(int(c - 1))
		if err != nil {
			return fmt.Errorf("chunk %s: %w", w.m.chunks.id(int(c-1)), err)
		}
		if _, err := f.WriteAt(content, at); err != nil {
			return err
		}
		at += int64(len(content))
	}
	if len(e.Holes) > 0 {
		if err := f.Truncate(at); err != nil {
			return err
		}
	}
	if err := errors.Join(f.Chmod(l.mode), f.Close()); err != nil {
		return err
	}
	return l.in.Chtimes(l.name, time.Time{}, l.modified)
}

// chunk reads a chunk from the store. One that is damaged there is fetched anew.
func (w *writer) chunk(row int) ([]byte, error) {
	id, plain := w.m.chunks.id(row), int(w.m.chunks.plain[row])
	for again := false; ; again = true {
		stored, _, err := w.s.stored(id, w.buf)
		var content []byte
		if err == nil {
			content, err = w.d.decode(id, plain, stored)
		}
		if err == nil {
			return content, nil
		}
		if err := w.ctx.Err(); err != nil {
			return nil, context.Cause(w.ctx)
		}
		if again || w.fetch == nil {
			return nil, api.Errorf(api.CodeFailed, "in the store: %w", err)
		}
		w.s.log.Warn("local chunk is damaged and is fetched", "chunk", id.String(), "error", err)
		w.s.drop(id)
		n, err := w.s.fill(w.ctx, w.m, w.fetch)
		w.fetched += n
		if err != nil {
			return nil, err
		}
	}
}

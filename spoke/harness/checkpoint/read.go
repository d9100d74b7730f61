package checkpoint

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/restic/chunker"

	"github.com/nave-dev/nave/api"
)

// part of a file: a chunk, or a hole when plain is 0.
type part struct {
	id    sum
	plain uint32
	hole  uint64
}

// read puts a file's chunks into the store and their names into t.parts. It returns what the file looked like, or nil when
// it is gone.
func (t *take) read(r *os.Root, listed fs.FileInfo, name string) (info fs.FileInfo, err error) {
	for range readTries {
		err := t.lend(listed, fileRights, func(mode fs.FileMode) error { return r.Chmod(name, mode) }, func() (err error) {
			info, err = t.readOnce(r, name)
			return err
		})
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil
		case errors.Is(err, errChanged):
			continue
		case err != nil:
			return nil, t.at(err)
		}
		return info, nil
	}
	return nil, t.at(api.Errorf(api.CodeFailed, "it changes while it is read: some process of the agent still runs"))
}

// errChanged: a file was not the same before and after it was read.
var errChanged = errors.New("it changed while it was read")

func (t *take) readOnce(r *os.Root, name string) (fs.FileInfo, error) {
	// A pipe that came in the place of the file must not block, and a link must not be followed.
	f, err := r.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, errChanged
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, errChanged
	}
	t.parts = t.parts[:0]
	size, err := t.extents(f, before)
	if err != nil {
		return nil, err
	}
	if t.changing != nil {
		t.changing()
	}
	after, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if size != before.Size() || !sameLook(before, after) {
		return nil, errChanged
	}
	return before, nil
}

// extents reads the data of a file, and leaves out its holes if it has some. It returns the length of all.
func (t *take) extents(f *os.File, info fs.FileInfo) (int64, error) {
	size := info.Size()
	if !sparse(info) {
		return t.extent(f, 0, size)
	}
	at := int64(0)
	for at < size {
		data, err := f.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) {
			data, err = size, nil // nothing but a hole to the end
		}
		if err != nil {
			return 0, fmt.Errorf("find data: %w", err)
		}
		if data = min(data, size); data > at {
			t.parts = append(t.parts, part{hole: uint64(data - at)})
		}
		if data == size {
			return size, nil
		}
		hole, err := f.Seek(data, seekHole)
		if err != nil {
			return 0, fmt.Errorf("find hole: %w", err)
		}
		hole = min(hole, size)
		n, err := t.extent(f, data, hole)
		if err != nil || n < hole-data {
			return data + n, err
		}
		at = hole
	}
	return at, nil
}

// extent cuts what lies between two offsets into chunks and returns how much there was.
func (t *take) extent(f *os.File, from, to int64) (int64, error) {
	if to-from <= minChunk {
		buf := t.room(minChunk)
		n, err := f.ReadAt(buf[:to-from], from)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		return int64(n), t.chunk(buf[:n])
	}
	r := io.NewSectionReader(f, from, to-from)
	if t.cut == nil {
		t.cut = chunker.NewWithBoundaries(r, polynomial, minChunk, maxChunk)
	} else {
		t.cut.ResetWithBoundaries(r, polynomial, minChunk, maxChunk)
	}
	t.cut.SetAverageBits(averageBits)
	total := int64(0)
	for {
		if t.ctx.Err() != nil {
			return 0, t.ctx.Err()
		}
		c, err := t.cut.Next(t.room(maxChunk))
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return 0, err
		}
		total += int64(len(c.Data))
		if err := t.chunk(c.Data); err != nil {
			return 0, err
		}
	}
}

// chunk puts a chunk into the store if it is not there.
func (t *take) chunk(content []byte) error {
	if len(content) == 0 {
		return nil
	}
	id := sum(sha256.Sum256(content))
	t.parts = append(t.parts, part{id: id, plain: uint32(len(content))})
	if _, ok := t.s.find(id); ok {
		return nil
	}
	return t.pack.add(id, len(content), t.enc.encode(content))
}

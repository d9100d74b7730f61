package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

// Fetch reads a part of a checkpoint from the bucket and writes length bytes from offset on to w; length 0 means to the end. It
// is called from several goroutines.
type Fetch func(ctx context.Context, id api.CheckpointID, part api.CheckpointPart, offset, length int64, w io.Writer) error

// Bounds of what is fetched at one go.
const (
	fetchers = 3
	spanMax  = 8 << 20   // bytes of one range
	spanGap  = 256 << 10 // bytes between two wanted chunks that are fetched along rather than asked around
)

// fetchManifest reads a manifest from the bucket and verifies it.
func fetchManifest(ctx context.Context, id api.CheckpointID, fetch Fetch) (*Manifest, error) {
	w := &capped{left: api.MaxManifestBytes}
	if err := fetch(ctx, id, api.PartManifest, 0, 0, w); err != nil {
		return nil, fmt.Errorf("fetch manifest: %w", err)
	}
	if idOf(w.b) != id {
		return nil, api.Errorf(api.CodeFailed, "the manifest in the bucket is damaged: its content is not what the checkpoint's name says")
	}
	return Parse(w.b)
}

// capped collects up to a number of bytes.
type capped struct {
	b    []byte
	left int
}

// Write implements [io.Writer].
func (c *capped) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		return 0, errors.New("it is longer than it may be")
	}
	c.b = append(c.b, p...)
	return len(p), nil
}

// span is a range of a pack with wanted chunks.
type span struct {
	pack     api.CheckpointID
	from, to int64
	rows     []int // of the chunk table, ascending by offset
}

// spans puts the wanted rows together to ranges, in the order of packs and offsets.
func (m *Manifest) spans(rows []int) []span {
	t := &m.chunks
	slices.SortFunc(rows, func(a, b int) int {
		return cmp.Or(cmp.Compare(t.pack[a], t.pack[b]), cmp.Compare(t.offset[a], t.offset[b]), cmp.Compare(a, b))
	})
	var all []span
	for _, i := range rows {
		from, to := int64(t.offset[i]), int64(t.offset[i])+int64(t.stored[i])
		if n := len(all) - 1; n >= 0 && all[n].pack == m.packOf(i) && from >= all[n].to && from-all[n].to <= spanGap && to-all[n].from <= spanMax {
			all[n].to = to
			all[n].rows = append(all[n].rows, i)
			continue
		}
		all = append(all, span{pack: m.packOf(i), from: from, to: to, rows: []int{i}})
	}
	return all
}

// missing returns the rows whose chunks are not in the store, each chunk once.
func (s *Store) missing(m *Manifest) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows []int
	asked := make(map[sum]bool)
	for i := range m.chunks.len() {
		id := m.chunks.id(i)
		if _, ok := s.index[id]; !ok && !asked[id] {
			asked[id] = true
			rows = append(rows, i)
		}
	}
	return rows
}

// fill fetches the chunks of a manifest that are not in the store and puts them there, verified and durable. It returns how
// many bytes it fetched.
func (s *Store) fill(ctx context.Context, m *Manifest, fetch Fetch) (int64, error) {
	rows := s.missing(m)
	if len(rows) == 0 {
		return 0, nil
	}
	if fetch == nil {
		return 0, api.Errorf(api.CodeNotFound, "chunk %s and %d others are not in this store", m.chunks.id(rows[0]), len(rows)-1)
	}
	f := &filling{s: s, m: m, fetch: fetch, spans: m.spans(rows), pack: s.newPack()}
	defer f.pack.abort()
	g := run.NewGroup(ctx)
	for n := range min(fetchers, len(f.spans)) {
		g.Go(fmt.Sprintf("fetch %d", n), f.run)
	}
	if err := g.Wait(); err != nil {
		// What came is kept, so that the next try goes on from there.
		return f.fetched, errors.Join(err, f.pack.seal())
	}
	if err := ctx.Err(); err != nil {
		return f.fetched, errors.Join(context.Cause(ctx), f.pack.seal())
	}
	return f.fetched, f.pack.seal()
}

// filling is one fill, shared by its fetchers.
type filling struct {
	s     *Store
	m     *Manifest
	fetch Fetch

	mu      sync.Mutex
	spans   []span
	pack    *packWriter
	fetched int64
}

func (f *filling) take() (span, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.spans) == 0 {
		return span{}, false
	}
	next := f.spans[0]
	f.spans = f.spans[1:]
	return next, true
}

func (f *filling) run(ctx context.Context) error {
	d, err := newDecoder()
	if err != nil {
		return err
	}
	defer d.close()
	w := &splitter{f: f, d: d, buf: make([]byte, 0, maxChunk)}
	for {
		next, ok := f.take()
		if !ok {
			return nil
		}
		w.span, w.at, w.row, w.buf = next, next.from, 0, w.buf[:0]
		if err := f.fetch(ctx, next.pack, api.PartPack, next.from, next.to-next.from, w); err != nil {
			return fmt.Errorf("fetch from the pack of checkpoint %.16s: %w", next.pack, err)
		}
		if w.at != next.to {
			return api.Errorf(api.CodeFailed, "the pack of checkpoint %.16s ends at %d, before chunk %s", next.pack, w.at, f.m.chunks.id(next.rows[w.row]))
		}
	}
}

// splitter takes the wanted chunks out of the bytes of a span.
type splitter struct {
	f    *filling
	d    *decoder
	span span
	at   int64 // offset in the pack of the next byte
	row  int   // index in span.rows of the chunk at hand
	buf  []byte
}

// Write implements [io.Writer].
func (w *splitter) Write(p []byte) (int, error) {
	n := len(p)
	if int64(n) > w.span.to-w.at {
		return 0, errors.New("more came than was asked for")
	}
	t := &w.f.m.chunks
	for len(p) > 0 {
		i := w.span.rows[w.row]
		if gap := int64(t.offset[i]) - w.at; gap > 0 {
			skip := min(gap, int64(len(p)))
			p, w.at = p[skip:], w.at+skip
			continue
		}
		part := min(int(t.stored[i])-len(w.buf), len(p))
		w.buf = append(w.buf, p[:part]...)
		p, w.at = p[part:], w.at+int64(part)
		if len(w.buf) < int(t.stored[i]) {
			continue
		}
		id, plain := t.id(i), int(t.plain[i])
		if _, err := w.d.decode(id, plain, w.buf); err != nil {
			return 0, api.Errorf(api.CodeFailed, "chunk %s: %w", id, err)
		}
		if err := w.f.add(id, plain, w.buf); err != nil {
			return 0, err
		}
		w.row++
		w.buf = w.buf[:0]
	}
	return n, nil
}

func (f *filling) add(id sum, plain int, stored []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fetched += int64(len(stored))
	return f.pack.add(id, plain, stored)
}

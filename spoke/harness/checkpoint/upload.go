package checkpoint

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/nave-dev/nave/api"
)

// Upload returns what is to be sent for a checkpoint that was taken here: the header, and a reader of the manifest and then the
// pack. Every chunk of the pack is read and verified before Upload returns, and its place in the pack is the one that the
// manifest names. The reader needs the checkpoint in the store until it is read to its end; it is not for concurrent use.
//
// CodeFailed when a chunk is damaged or missing: take the checkpoint again, which reads the files again.
func (s *Store) Upload(ctx context.Context, m *Manifest, session api.SessionID, source api.Source) (api.CheckpointHeader, io.Reader, error) {
	h := api.CheckpointHeader{Session: session, Source: source, ID: m.id, Manifest: int64(len(m.raw)), Pack: m.PackBytes(), Packs: m.Packs()}
	digest := sha256.New()
	d, err := newDecoder()
	if err != nil {
		return h, nil, err
	}
	defer d.close()
	buf := make([]byte, maxChunk)
	for i := range m.chunks.len() {
		if m.chunks.pack[i] != 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return h, nil, context.Cause(ctx)
		}
		stored, err := s.packed(m, i, buf)
		if err == nil {
			_, err = d.decode(m.chunks.id(i), int(m.chunks.plain[i]), stored)
		}
		if err != nil {
			s.drop(m.chunks.id(i)) // so that the next take reads the file again
			return h, nil, api.Errorf(api.CodeFailed, "upload checkpoint %.16s: chunk %s: %w", m.id, m.chunks.id(i), err)
		}
		digest.Write(stored)
	}
	digest.Sum(h.PackHash[:0])
	return h, io.MultiReader(bytes.NewReader(m.raw), &packReader{s: s, m: m, buf: buf}), nil
}

// packed reads the stored form of chunk i and checks that it is as long as the manifest says.
func (s *Store) packed(m *Manifest, i int, buf []byte) ([]byte, error) {
	stored, _, err := s.stored(m.chunks.id(i), buf)
	if err == nil && len(stored) != int(m.chunks.stored[i]) {
		err = fmt.Errorf("it is stored in %d bytes here, %d in the pack", len(stored), m.chunks.stored[i])
	}
	return stored, err
}

// packReader reads the checkpoint's own pack from the local ones.
type packReader struct {
	s    *Store
	m    *Manifest
	next int // row
	rest []byte
	buf  []byte
}

// Read implements [io.Reader].
func (r *packReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		for r.next < r.m.chunks.len() && r.m.chunks.pack[r.next] != 0 {
			r.next++
		}
		if r.next == r.m.chunks.len() {
			return 0, io.EOF
		}
		stored, err := r.s.packed(r.m, r.next, r.buf)
		if err != nil {
			return 0, api.Errorf(api.CodeFailed, "upload checkpoint %.16s: chunk %s: %w", r.m.id, r.m.chunks.id(r.next), err)
		}
		r.rest = stored
		r.next++
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

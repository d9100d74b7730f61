package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/nave-dev/nave/api"
)

// Bounds of the local packs.
const (
	mostLocal  = 48      // with more local packs the small ones are put together
	smallLocal = 8 << 20 // bytes
)

// Collect removes what none of the named checkpoints needs: keep the latest one, and the last saved one, which is the next base.
// A name that the store does not have is no error. A local pack that is
// less than half in use is written anew, and so are the small ones when there are many.
func (s *Store) Collect(ctx context.Context, keep ...api.CheckpointID) error {
	s.op.Lock()
	defer s.op.Unlock()
	live := make(map[sum]bool)
	for _, id := range keep {
		m, err := s.Load(id)
		if api.CodeOf(err) == api.CodeNotFound {
			continue
		}
		if err != nil {
			return fmt.Errorf("collect chunks: %w", err)
		}
		for i := range m.chunks.len() {
			live[m.chunks.id(i)] = true
		}
	}
	// Manifests first: one that is there has had its chunks removed by nobody.
	if err := s.collectManifests(keep); err != nil {
		return fmt.Errorf("collect chunks: %w", err)
	}
	if err := s.collectPacks(ctx, live); err != nil {
		return fmt.Errorf("collect chunks: %w", err)
	}
	return nil
}

func (s *Store) collectManifests(keep []api.CheckpointID) error {
	entries, err := os.ReadDir(s.manifests)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if slices.Contains(keep, api.CheckpointID(e.Name())) {
			continue
		}
		if err := s.disk.Remove(filepath.Join(s.manifests, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// localUse is a local pack and what of it is needed.
type localUse struct {
	seq   uint32
	size  int64
	bytes int64 // stored bytes of live chunks
	live  []sum
}

func (s *Store) collectPacks(ctx context.Context, live map[sum]bool) error {
	packs := s.localUses(live)
	small := len(packs) > mostLocal
	w := s.newPack()
	w.late = true
	defer w.abort()
	var (
		buf []byte
		old []localUse
	)
	for _, p := range packs {
		if p.bytes*2 >= p.size && !(small && p.size < smallLocal) && len(p.live) > 0 {
			continue
		}
		if old = append(old, p); buf == nil && len(p.live) > 0 {
			buf = make([]byte, maxChunk)
		}
		for _, id := range p.live {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			stored, at, err := s.stored(id, buf)
			if err != nil {
				return fmt.Errorf("chunk %s: %w", id, err)
			}
			if err := w.add(id, int(at.plain), stored); err != nil {
				return err
			}
		}
	}
	if len(old) == 0 {
		return nil // a manifest whose removal is not durable comes back with its chunks, and is removed later
	}
	if err := w.seal(); err != nil { // before anything that it replaces goes
		return err
	}
	if err := s.disk.SyncDir(s.manifests); err != nil {
		return err
	}
	for _, p := range old {
		s.forgetPack(p.seq)
		if err := s.disk.Remove(filepath.Join(s.packs, packName(p.seq))); err != nil {
			return err
		}
	}
	return s.disk.SyncDir(s.packs)
}

// localUses lists the local packs, oldest first, each with its live chunks in the order of their offsets.
func (s *Store) localUses(live map[sum]bool) []localUse {
	s.mu.Lock()
	defer s.mu.Unlock()
	uses := make(map[uint32]*localUse, len(s.sizes))
	for seq, size := range s.sizes {
		uses[seq] = &localUse{seq: seq, size: size - int64(len(packMark)) - endBytes}
	}
	for id, p := range s.index {
		if !live[id] {
			delete(s.index, id)
			continue
		}
		u := uses[p.pack]
		u.bytes += int64(p.stored) + rowBytes
		u.live = append(u.live, id)
	}
	packs := make([]localUse, 0, len(uses))
	for _, u := range uses {
		slices.SortFunc(u.live, func(a, b sum) int { return int(s.index[a].offset - s.index[b].offset) })
		packs = append(packs, *u)
	}
	slices.SortFunc(packs, func(a, b localUse) int { return int(int64(a.seq) - int64(b.seq)) })
	return packs
}

// forgetPack takes out what the index still has of a pack.
func (s *Store) forgetPack(seq uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sizes, seq)
	if s.open != nil && s.seq == seq {
		s.open.Close()
		s.open = nil
	}
}

// Usage is what the store holds.
type Usage struct {
	Packs  int
	Chunks int
	Bytes  int64 // of local packs
}

// Usage returns what the store holds now.
func (s *Store) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := Usage{Packs: len(s.sizes), Chunks: len(s.index)}
	for _, size := range s.sizes {
		u.Bytes += size
	}
	return u
}

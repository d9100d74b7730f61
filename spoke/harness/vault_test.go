package harness_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"
	"sync"

	"github.com/nave-dev/nave/api"
)

// vault keeps checkpoints in memory and verifies them as a bucket's does.
type vault struct {
	mu      sync.Mutex
	parts   map[api.CheckpointID]map[api.CheckpointPart][]byte
	saves   []api.CheckpointID // in order
	packs   []int64            // bytes of their packs
	away    error              // of every call
	stuck   bool               // saves take nothing
	calls   int                // of saves
	fetches int
	changed chan struct{}
}

func newVault() *vault {
	return &vault{parts: make(map[api.CheckpointID]map[api.CheckpointPart][]byte), changed: make(chan struct{})}
}

func (v *vault) set(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
	close(v.changed)
	v.changed = make(chan struct{})
}

// took is how often a save was tried, and what was saved with packs of which size.
func (v *vault) took() (calls int, saves []api.CheckpointID, packs []int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.calls, slices.Clone(v.saves), slices.Clone(v.packs)
}

func (v *vault) tries() int {
	n, _, _ := v.took()
	return n
}

// SaveCheckpoint implements [spoke.Vault].
func (v *vault) SaveCheckpoint(ctx context.Context, h api.CheckpointHeader, content io.Reader) error {
	var away error
	v.set(func() { v.calls++; away = v.away })
	if away != nil {
		return away
	}
	for {
		v.mu.Lock()
		stuck, changed := v.stuck, v.changed
		v.mu.Unlock()
		if !stuck {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	manifest, pack := make([]byte, h.Manifest), make([]byte, h.Pack)
	if _, err := io.ReadFull(content, manifest); err != nil {
		return err
	}
	if _, err := io.ReadFull(content, pack); err != nil {
		return err
	}
	if id := sha256.Sum256(manifest); hex.EncodeToString(id[:]) != string(h.ID) || sha256.Sum256(pack) != h.PackHash {
		return api.Invalid("content", "it is not what the header says")
	}
	var err error
	v.set(func() {
		for _, p := range h.Packs {
			if v.parts[p] == nil {
				err = api.Errorf(api.CodeFailed, "pack %s is gone", p)
				return
			}
		}
		v.parts[h.ID] = map[api.CheckpointPart][]byte{api.PartManifest: manifest, api.PartPack: pack}
		v.saves, v.packs = append(v.saves, h.ID), append(v.packs, h.Pack)
	})
	return err
}

// FetchCheckpoint implements [spoke.Vault].
func (v *vault) FetchCheckpoint(_ context.Context, _ api.SessionID, _ api.Source, id api.CheckpointID, part api.CheckpointPart, offset, length int64, w io.Writer) error {
	v.mu.Lock()
	v.fetches++
	b, away := v.parts[id][part], v.away
	v.mu.Unlock()
	switch {
	case away != nil:
		return away
	case b == nil:
		return api.Errorf(api.CodeNotFound, "there is no checkpoint %s", id)
	}
	b = b[offset:]
	if length > 0 {
		b = b[:length]
	}
	_, err := w.Write(b)
	return err
}

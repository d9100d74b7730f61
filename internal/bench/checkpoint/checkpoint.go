package checkpoint

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/bucket"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/bench/rig"
	store "github.com/nave-dev/nave/spoke/harness/checkpoint"
)

// Scenario is what checkpoints cost.
var Scenario = measure.Scenario{
	Name: "checkpoint",
	About: "a checkpoint by the size of the state: taken and uploaded into a bucket that is a directory; and of a turn of a real federation. " +
		"The floor reads the same files, hashes them, and writes what is new with a sync.",
	Run: func(ctx context.Context, b *measure.Bench) error {
		sizes := []int64{1, 100, 1024}
		if b.Quick {
			sizes = []int64{1, 20}
		}
		for _, mib := range sizes {
			if err := bySize(ctx, b, mib); err != nil {
				return fmt.Errorf("%d MiB: %w", mib, err)
			}
		}
		if b.Quick {
			return nil
		}
		return endToEnd(ctx, b)
	},
}

// rounds is how often a size is measured.
func rounds(b *measure.Bench, mib int64) int {
	switch {
	case mib == 1:
		return b.Many(15, 9)
	case mib < 1024:
		return b.Many(5, 3)
	}
	return 1
}

// kinds of checkpoints, in the order in which a round takes them.
var kinds = []string{"first", "unchanged", "1 % changed"}

// times are those of the path and of the floor, by kind: how long they took, and what they used of the processors.
type times struct{ path, floor, pathUsed, floorUsed map[string][]float64 }

func bySize(ctx context.Context, b *measure.Bench, mib int64) error {
	t := times{map[string][]float64{}, map[string][]float64{}, map[string][]float64{}, map[string][]float64{}}
	var states []*state
	for n := range rounds(b, mib) {
		dir, err := b.Subdir(fmt.Sprintf("%d-%d", mib, n))
		if err != nil {
			return err
		}
		s, err := newState(filepath.Join(dir, "state"), mib<<20, b.Seed+uint64(n))
		if err != nil {
			return err
		}
		states = append(states, s)
	}
	syscall.Sync() // else the disk is busy with the states
	if err := rig.Pause(ctx, settled); err != nil {
		return err
	}
	stop, err := b.ProfileSelf(fmt.Sprintf("checkpoint-%d", mib))
	if err != nil {
		return err
	}
	for _, s := range states {
		dir := filepath.Dir(s.dir)
		if err := errors.Join(t.round(ctx, dir, s), os.RemoveAll(dir)); err != nil {
			return errors.Join(err, stop())
		}
	}
	if err := stop(); err != nil {
		return err
	}
	for _, kind := range kinds {
		name := fmt.Sprintf("taken and uploaded, %d MiB, %s", mib, kind)
		b.Report(measure.Figure{Name: name, Unit: "ms", Value: measure.Median(t.path[kind]), Floor: measure.Median(t.floor[kind])})
		if mib > 1 && kind == "first" { // the others are a few milliseconds; and times are those of a disk that others use
			b.Report(measure.Figure{Name: name + ", processor time", Unit: "ms", Value: measure.Median(t.pathUsed[kind]), Floor: measure.Median(t.floorUsed[kind]), Gate: true})
		}
	}
	return nil
}

// settled is how long a file must have been left alone: one that changed a moment ago could change again without looking
// different, and is read again.
const settled = 2100 * time.Millisecond

// round takes each kind of checkpoint of a new state once.
func (t *times) round(ctx context.Context, dir string, s *state) (err error) {
	bytes := int64(s.files) * fileBytes
	st, err := store.Open(store.Config{Dir: filepath.Join(dir, "store")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	bu, err := bucket.OpenDirectory(filepath.Join(dir, "bucket"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bu.Close()) }()
	w := writer{roots: map[string]string{"home": s.dir}, store: st, bucket: bu, session: sessionID()}
	for _, kind := range kinds {
		written := map[string]int64{"first": bytes}[kind]
		if kind == "1 % changed" {
			n, err := s.change()
			if err != nil {
				return err
			}
			written = int64(n) * fileBytes
		}
		began, err := measure.ProcessorTime(os.Getpid())
		if err != nil {
			return err
		}
		floor, err := s.floor(written)
		if err != nil {
			return err
		}
		between, err := measure.ProcessorTime(os.Getpid())
		if err != nil {
			return err
		}
		path, err := w.checkpoint(ctx, written)
		if err != nil {
			return err
		}
		ended, err := measure.ProcessorTime(os.Getpid())
		if err != nil {
			return err
		}
		t.pathUsed[kind], t.floorUsed[kind] = append(t.pathUsed[kind], measure.Ms(ended-between)), append(t.floorUsed[kind], measure.Ms(between-began))
		t.path[kind], t.floor[kind] = append(t.path[kind], measure.Ms(path)), append(t.floor[kind], measure.Ms(floor))
	}
	return nil
}

// writer takes checkpoints of one session and uploads them.
type writer struct {
	roots   map[string]string
	store   *store.Store
	bucket  *bucket.Bucket
	session api.SessionID
	base    *store.Manifest
}

// checkpoint returns how long the next one took. It is to add so many bytes, apart from what it says of them.
func (w *writer) checkpoint(ctx context.Context, added int64) (time.Duration, error) {
	began := time.Now()
	m, found, err := w.store.Take(ctx, w.roots, w.base)
	if err != nil {
		return 0, err
	}
	if w.base == nil || m.ID() != w.base.ID() {
		h, content, err := w.store.Upload(ctx, m, w.session, api.Source{Epoch: api.Epoch{N: 1}, Attempt: 1})
		if err != nil {
			return 0, err
		}
		if err := w.bucket.SaveCheckpoint(ctx, api.DefaultOrg, h, content); err != nil {
			return 0, err
		}
	}
	took := time.Since(began)
	if found.Added < added || found.Added > added+added/100+fileBytes {
		return 0, fmt.Errorf("%d bytes were added, want %d: %+v", found.Added, added, found)
	}
	w.base = m
	return took, nil
}

func sessionID() api.SessionID {
	var entropy [10]byte
	rand.Read(entropy[:]) // never fails
	return api.NewSessionID(time.Now(), 0, entropy)
}

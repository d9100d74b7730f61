package ziti_test

import (
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/transport/ziti/zititest"
)

// TestBeatsWhileACheckpointTravels: bytes of checkpoints do not stand in the way of heartbeats.
func TestBeatsWhileACheckpointTravels(t *testing.T) {
	w := newWire(t, zititest.Start(t))
	const size = 200 << 20
	id := api.CheckpointID(strings.Repeat("ab", 32))
	header := api.CheckpointHeader{Session: "s", Source: api.Source{Epoch: api.Epoch{N: 1}, Attempt: 1}, ID: id, Manifest: 1, Pack: size - 1}
	for _, tt := range []struct {
		what string
		move func() error
	}{
		{"nothing", func() error { hold(t, 5*time.Second); return nil }},
		{"an upload", func() error {
			return w.link.SaveCheckpoint(t.Context(), header, io.LimitReader(rand.NewChaCha8([32]byte{}), size))
		}},
		{"a download", func() error {
			return w.link.FetchCheckpoint(t.Context(), "s", header.Source, id, api.PartPack, 0, size, io.Discard)
		}},
	} {
		w.mu.Lock()
		w.answers = nil
		w.mu.Unlock()
		began := time.Now()
		if err := tt.move(); err != nil {
			t.Fatalf("%s: %v", tt.what, err)
		}
		took := time.Since(began)
		w.mu.Lock()
		answers := slices.Clone(w.answers)
		w.mu.Unlock()
		slices.Sort(answers)
		if len(answers) == 0 {
			t.Fatalf("%s: no beat was answered within %v", tt.what, took)
		}
		t.Logf("%s: %v, %.0f MB/s; %d beats answered, half of them within %v, the slowest in %v", tt.what, took.Round(time.Millisecond),
			size/1e6/took.Seconds(), len(answers), answers[len(answers)/2], answers[len(answers)-1])
		// One without an answer within a second is given up, so these are the answered ones: most, and quick ones.
		if half := answers[len(answers)/2]; half > 250*time.Millisecond || len(answers) < int(took/tick/2) {
			t.Errorf("%s: half of the beats took %v and longer, %d were answered in %v", tt.what, half, len(answers), took)
		}
	}
	if s := w.since(0); s.links != 1 {
		t.Errorf("the link ended: %v", s.ends)
	}
}

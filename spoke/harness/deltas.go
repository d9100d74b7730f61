package harness

import (
	"slices"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/acp"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Bounds of what is written at the moment.
const (
	deltaPause = 50 * time.Millisecond // between two messages of deltas
	deltasHeld = 64 << 10              // bytes that wait for the spoke; further ones are dropped
)

// deltas holds pieces of text that people may watch while they are written. Nothing depends on them: they are dropped when
// there is no room, and when the event that supersedes them is made.
type deltas struct {
	mu    sync.Mutex
	held  []*harnessv1.Delta // guarded by mu
	bytes int                // of held; guarded by mu

	news chan struct{} // holds one token when there are some; full means that the reader will look anyway
}

func newDeltas() *deltas { return &deltas{news: make(chan struct{}, 1)} }

// add keeps a piece, joined with the one before it when it goes on there.
func (d *deltas) add(p acp.Delta) {
	next := &harnessv1.Delta{Stream: p.Stream, Type: string(p.Type), Offset: p.Offset, Text: p.Text}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bytes+weight(next) > deltasHeld {
		return
	}
	if n := len(d.held); n > 0 {
		last := d.held[n-1]
		if last.Stream == p.Stream && last.Type == string(p.Type) && last.Offset+uint64(len(last.Text)) == p.Offset && len(last.Text)+len(p.Text) <= api.MaxDeltaBytes {
			last.Text += p.Text
			d.bytes += len(p.Text)
			return
		}
	}
	d.held = append(d.held, next)
	d.bytes += weight(next)
	token(d.news)
}

// take returns what is held, and holds it no longer.
func (d *deltas) take() []*harnessv1.Delta {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.held
	d.held, d.bytes = nil, 0
	return out
}

// supersede drops what is held of a stream.
func (d *deltas) supersede(stream string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = slices.DeleteFunc(d.held, func(p *harnessv1.Delta) bool {
		if p.Stream == stream {
			d.bytes -= weight(p)
		}
		return p.Stream == stream
	})
}

func weight(p *harnessv1.Delta) int { return len(p.Text) + len(p.Stream) + len(p.Type) }

package hub

import (
	"sync"

	"github.com/nave-dev/nave/api"
)

// Bounds of text that is live only.
const (
	deltasPerReader = 256     // deltas that wait for a reader; what is more is dropped
	deltaBytes      = 4 << 10 // of one delta; a larger one is dropped
)

// feed wakes readers that wait for a session's log to grow. Level: a wake says "look again", no more. It also passes text on
// that is in no log.
type feed struct {
	mu      sync.Mutex
	readers map[api.SessionID]map[*reader]bool // guarded by mu
}

// reader follows one session.
type reader struct {
	wake   chan struct{}  // capacity 1
	deltas chan api.Delta // capacity deltasPerReader; nil: not wanted
}

func newFeed() *feed { return &feed{readers: map[api.SessionID]map[*reader]bool{}} }

// subscribe returns a reader that gets a wake after each growth, and the function that ends it.
func (f *feed) subscribe(s api.SessionID, deltas bool) (*reader, func()) {
	r := &reader{wake: make(chan struct{}, 1)}
	if deltas {
		r.deltas = make(chan api.Delta, deltasPerReader)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readers[s] == nil {
		f.readers[s] = map[*reader]bool{}
	}
	f.readers[s][r] = true
	return r, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.readers[s], r)
		if len(f.readers[s]) == 0 {
			delete(f.readers, s)
		}
	}
}

// notify wakes a session's readers. It never blocks: a reader that has a wake waiting needs no second one.
func (f *feed) notify(s api.SessionID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.readers[s] {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// wanted reports whether somebody follows a session with its deltas.
func (f *feed) wanted(s api.SessionID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.readers[s] {
		if r.deltas != nil {
			return true
		}
	}
	return false
}

// pour gives a delta to those who follow its session. It never blocks: a reader that is slow loses it.
func (f *feed) pour(d api.Delta) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.readers[d.Session] {
		select {
		case r.deltas <- d:
		default:
		}
	}
}

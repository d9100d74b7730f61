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

// Bounds of events that wait for a reader. One that is slower reads the archive.
const (
	eventsPerReader = 2 * eventsPage
	eventsBytes     = 1 << 20
)

// feed wakes readers that wait for a session's log to grow, and gives them what it grew by. Level: a wake says "look again", no
// more; what a reader does not have from here is in the archive. It also passes text on that is in no log.
type feed struct {
	mu      sync.Mutex
	readers map[api.SessionID]map[*reader]bool // guarded by mu
}

// reader follows one session.
type reader struct {
	wake   chan struct{}  // capacity 1
	deltas chan api.Delta // capacity deltasPerReader; nil: not wanted

	mu    sync.Mutex
	fresh []api.Event // guarded by mu; dense, in the archive
	bytes int         // guarded by mu: of their texts
	last  uint64      // guarded by mu: number of the last event that it was told of; 0: of none
}

// offer gives a reader what the archive has since the last time; nothing: that it is to look. It never blocks.
func (r *reader) offer(events []api.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() {
		select {
		case r.wake <- struct{}{}:
		default: // a wake waits: a second one is not needed
		}
	}()
	if len(events) == 0 {
		r.last = 0
		return
	}
	if n := len(r.fresh); n+len(events) > eventsPerReader || r.bytes > eventsBytes || n > 0 && r.fresh[n-1].Number+1 != events[0].Number {
		r.fresh, r.bytes = nil, 0
	}
	for _, e := range events {
		r.bytes += len(e.Text)
	}
	r.fresh = append(r.fresh, events...)
	r.last = events[len(events)-1].Number
}

// take returns at most so many events from a number on, if it has them. known reports that the answer holds: without it, the
// archive is to be asked.
func (r *reader) take(from uint64, most int) (events []api.Event, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	skip := 0
	for skip < len(r.fresh) && r.fresh[skip].Number < from {
		skip++
	}
	events = r.fresh[skip:]
	if len(events) > 0 && events[0].Number != from {
		return nil, false // the archive has those before
	}
	if len(events) == 0 {
		r.fresh, r.bytes = nil, 0
		return nil, r.last > 0 && from > r.last
	}
	if len(events) > most {
		r.fresh = events[most:]
		return events[:most:most], true
	}
	r.fresh, r.bytes = nil, 0
	return events, true
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

// notify gives a session's readers what the archive has since the last time, in order. It never blocks.
func (f *feed) notify(s api.SessionID, events []api.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.readers[s] {
		r.offer(events)
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

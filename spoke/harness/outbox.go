package harness

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Bounds of one message of events.
const (
	batchEvents = 256
	batchBytes  = 1 << 20
)

// outbox holds the events that the spoke has not made durable yet. It is bounded: a full one makes put wait.
type outbox struct {
	maxEvents int
	maxBytes  int

	mu      sync.Mutex
	held    []heldEvent   // dense in their numbers; guarded by mu
	next    uint64        // number of the next event; guarded by mu
	bytes   int           // sum of the sizes of held; guarded by mu
	began   time.Time     // of the turn that runs; zero: none does; guarded by mu
	changed chan struct{} // closed at the next change; nil: nobody waits for it; guarded by mu
}

type heldEvent struct {
	event *harnessv1.Event
	size  int // encoded
}

func newOutbox(maxEvents, maxBytes int) *outbox {
	return &outbox{maxEvents: maxEvents, maxBytes: maxBytes, next: 1}
}

// put numbers the event and keeps it. It waits for room; when ctx ends it waits no longer and keeps the event all the
// same: what was read from an agent is never dropped, and what is left to read then is bounded by the pipes. It returns the
// number.
func (o *outbox) put(ctx context.Context, e *harnessv1.Event) uint64 {
	e.Time = timestamppb.New(time.Now().UTC())
	size := proto.Size(e) + 10 // the number is not set yet
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.held) > 0 && (len(o.held) >= o.maxEvents || o.bytes+size > o.maxBytes) && ctx.Err() == nil {
		changed := o.changedLocked()
		o.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		o.mu.Lock()
	}
	e.Number = o.next
	o.next++
	o.held = append(o.held, heldEvent{e, size})
	o.bytes += size
	o.notifyLocked()
	return e.Number
}

// ack forgets the events up to a number. It reports whether so many were made.
func (o *outbox) ack(upTo uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if upTo >= o.next {
		return false
	}
	n := 0
	for n < len(o.held) && o.held[n].event.Number <= upTo {
		o.bytes -= o.held[n].size
		n++
	}
	if n > 0 {
		clear(o.held[:n]) // so that they are not kept alive by the array
		o.held = o.held[n:]
		o.notifyLocked()
	}
	return true
}

// first is the lowest number that is held, or the next one.
func (o *outbox) first() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.firstLocked()
}

func (o *outbox) firstLocked() uint64 {
	if len(o.held) > 0 {
		return o.held[0].event.Number
	}
	return o.next
}

// after returns a bounded batch of the events after a number, when the turn that runs began, and a channel that is closed at
// the next change.
func (o *outbox) after(n uint64) (batch []*harnessv1.Event, turn time.Time, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	from, size := uint64(0), 0
	if first := o.firstLocked(); n >= first {
		from = n + 1 - first
	}
	for i := from; i < uint64(len(o.held)) && len(batch) < batchEvents; i++ {
		size += o.held[i].size
		if len(batch) > 0 && size > batchBytes {
			break
		}
		batch = append(batch, o.held[i].event)
	}
	return batch, o.began, o.changedLocked()
}

// working notes that a turn runs from now on, or none. The end comes after the last event of the turn: with it they go at once.
func (o *outbox) working(runs bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.began = (time.Time{}); runs {
		o.began = time.Now()
	}
	o.notifyLocked()
}

// drained waits until the spoke has everything, and reports whether it came to that before ctx ended.
func (o *outbox) drained(ctx context.Context) bool {
	for {
		o.mu.Lock()
		empty, changed := len(o.held) == 0, o.changedLocked()
		o.mu.Unlock()
		if empty {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

func (o *outbox) notifyLocked() {
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

// changedLocked is closed at the next change.
func (o *outbox) changedLocked() <-chan struct{} {
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.changed
}

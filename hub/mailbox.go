package hub

import (
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
)

// Bounds of what waits for a link and of one message on it.
const (
	mailSessions = 1 << 16 // sessions that wait at most; past it the shard that brought the last one says everything anew
	mailAcks     = 1 << 16 // sources with an acknowledgement that waits at most; past it the link begins anew
	messageBytes = 1 << 20 // about how large one message to a spoke becomes
	messageAcks  = 4096    // acknowledgements in one message

	ackPace = 5 * time.Millisecond // how soon a message of acknowledgements alone follows another one
)

// mailbox is what waits for a link. It is level: of a session the latest word waits, of a source the highest
// acknowledgement, so that a link that nobody reads costs what there is to say and not what was said meanwhile.
//
// A shard that brings too much is emptied and marked: it is asked for everything when the link is read again. Until a shard
// has said everything, only what is whole is taken from it: a session that names its revision, or is to be released.
type mailbox struct {
	most int // sessions that wait at most

	mu       sync.Mutex
	shards   [api.Shards]shardBox // guarded by mu
	ready    []api.Shard          // guarded by mu: with something to send, in the order in which they got it
	sessions int                  // guarded by mu: that wait, of all shards
	acks     map[ackKey]api.Ack   // guarded by mu
	ackOrder []ackKey             // guarded by mu
	resyncs  int                  // guarded by mu: how often a shard was emptied
}

// shardBox is what waits of one shard.
type shardBox struct {
	begun    bool // it has said everything on this link
	full     bool // what waits is everything
	lacking  bool // it was emptied, and nobody asked it for everything yet
	queued   bool // it is in ready
	position api.Position
	waiting  map[api.SessionID]api.Desired
	order    []api.SessionID
	known    map[api.SessionID]api.Epoch // before begun: whose revision this link was given
}

type ackKey struct {
	session api.SessionID
	source  api.Source
}

func newMailbox(most int) *mailbox { return &mailbox{most: most, acks: map[ackKey]api.Ack{}} }

// push takes a message. It never blocks. An error means that the link must end.
func (b *mailbox) push(m api.HubMessage) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, u := range m.Updates {
		b.update(u)
	}
	for _, a := range m.Acks {
		k := ackKey{a.Session, a.Source}
		old, waits := b.acks[k]
		if !waits {
			if len(b.acks) >= mailAcks {
				return api.Errorf(api.CodeLimit, "%d acknowledgements wait for the spoke, the limit: the link begins anew", mailAcks)
			}
			b.ackOrder = append(b.ackOrder, k)
		}
		a.UpTo = max(a.UpTo, old.UpTo)
		if a.Position.Head.Compare(old.Position.Head) < 0 {
			a.Position = old.Position
		}
		b.acks[k] = a
	}
	return nil
}

// update takes what a shard says. The caller holds mu.
func (b *mailbox) update(u api.ShardUpdate) {
	s := &b.shards[u.Position.Shard]
	if u.Position.Head.Compare(s.position.Head) < 0 {
		return // of an owner that was replaced
	}
	s.position = u.Position
	former := s.waiting
	if u.Full {
		b.sessions -= len(s.waiting)
		s.begun, s.full, s.lacking, s.known, s.waiting, s.order = true, true, false, nil, nil, nil
	}
	for _, d := range u.Sessions {
		switch whole := d.Release || d.Revision != nil; {
		case s.begun:
		case s.lacking: // everything comes
			continue
		case !whole && s.known[d.Session] != d.Epoch:
			continue
		case whole:
			if s.known == nil {
				s.known = map[api.SessionID]api.Epoch{}
			}
			s.known[d.Session] = d.Epoch
		}
		if old, ok := former[d.Session]; ok && d.Revision == nil && !d.Release && old.Epoch == d.Epoch {
			d.Revision = old.Revision // it was not sent yet
		}
		if s.waiting == nil {
			s.waiting = map[api.SessionID]api.Desired{}
		}
		if _, ok := s.waiting[d.Session]; !ok {
			s.order = append(s.order, d.Session)
			b.sessions++
		}
		s.waiting[d.Session] = d
		if !u.Full {
			former = s.waiting
		}
	}
	if b.sessions > b.most {
		b.sessions -= len(s.waiting)
		b.resyncs++
		s.waiting, s.order, s.known = nil, nil, nil
		s.begun, s.full, s.lacking = false, false, true
	}
	if (s.full || len(s.waiting) > 0) && !s.queued {
		s.queued = true
		b.ready = append(b.ready, u.Position.Shard)
	}
}

// take merges what waits into one message, sessions before acknowledgements, and names a shard that is to be asked for
// everything now, or -1.
func (b *mailbox) take() (out api.HubMessage, some bool, ask int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for bytes := 0; len(b.ready) > 0 && bytes < messageBytes; {
		s := &b.shards[b.ready[0]]
		size := 64
		for _, d := range s.waiting {
			size += desiredSize(d)
		}
		if s.full && bytes > 0 && bytes+size > messageBytes {
			break
		}
		u := api.ShardUpdate{Position: s.position, Full: s.full && size <= messageBytes}
		bytes += 64
		n := 0
		for ; n < len(s.order) && (u.Full || bytes < messageBytes); n++ {
			d := s.waiting[s.order[n]]
			u.Sessions = append(u.Sessions, d)
			bytes += desiredSize(d)
			delete(s.waiting, d.Session)
		}
		b.sessions -= n
		s.order, s.full = s.order[n:], false // only what is in one message is all there is
		out.Updates = append(out.Updates, u)
		if len(s.order) == 0 {
			s.queued, s.order, s.waiting = false, nil, nil
			b.ready = b.ready[1:]
		}
	}
	n := min(len(b.ackOrder), messageAcks)
	for _, k := range b.ackOrder[:n] {
		out.Acks = append(out.Acks, b.acks[k])
		delete(b.acks, k)
	}
	b.ackOrder = b.ackOrder[n:]
	return out, len(out.Updates)+len(out.Acks) > 0, b.lacks()
}

// calm reports that nothing but acknowledgements waits: the spoke has a window of events that may go without them.
func (b *mailbox) calm() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.ready) == 0 && len(b.acks) > 0 && b.lacks() < 0
}

// lacks is a shard that was emptied, when there is room for what it says, or -1. The caller holds mu.
func (b *mailbox) lacks() int {
	if b.resyncs == 0 || b.sessions > b.most/2 {
		return -1
	}
	for i := range b.shards {
		if b.shards[i].lacking {
			return i
		}
	}
	return -1
}

// lacking names a shard that is to be asked for everything now, or -1.
func (b *mailbox) lacking() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lacks()
}

// asked tells that a shard will say everything.
func (b *mailbox) asked(shard int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shards[shard].lacking = false
}

// waits is how many sessions and acknowledgements wait.
func (b *mailbox) waits() (sessions, acks, resyncs int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sessions, len(b.acks), b.resyncs
}

// desiredSize is about how many bytes a session takes in a message.
func desiredSize(d api.Desired) int {
	n := 256
	for _, s := range d.Signals {
		n += 128 + payloadSize(s)
	}
	for _, a := range d.Answers {
		n += 128 + len(a.Reason)
	}
	if d.Revision != nil {
		n += 4096
	}
	return n
}

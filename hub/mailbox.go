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

	ackPace = 10 * time.Millisecond // for how long acknowledgements wait for something to go with: a spoke has a window without them
)

// mailbox is what waits for a link. It is level: of a session the latest word waits, of a source the highest
// acknowledgement, so that a link that nobody reads costs what there is to say and not what was said meanwhile.
//
// A shard that brings too much is emptied and marked: it is asked for everything when the link is read again. Until a shard
// has said everything, only what is whole is taken from it: a session that names its revision, or is to be released.
type mailbox struct {
	most int // sessions that wait at most

	mu       sync.Mutex
	shards   []shardBox               // guarded by mu: one for each shard
	waiting  map[api.Shard]*shardMail // guarded by mu: only of shards of which something is kept: most links are idle
	ready    []api.Shard              // guarded by mu: with something to send, in the order in which they got it
	sessions int                      // guarded by mu: that wait, of all shards
	acks     map[ackKey]api.Ack       // guarded by mu
	ackOrder []ackKey                 // guarded by mu
	resyncs  int                      // guarded by mu: how often a shard was emptied
}

// shardBox is what is known of one shard. Each link has one for each shard, so it is small.
type shardBox struct {
	head    api.Head // of its latest word
	begun   bool     // it has said everything on this link
	lacking bool     // it was emptied, and nobody asked it for everything yet
}

// shardMail is what waits of one shard.
type shardMail struct {
	full    bool // what waits is everything
	queued  bool // it is in ready
	waiting map[api.SessionID]api.Desired
	order   []api.SessionID
	known   map[api.SessionID]api.Epoch // before begun: whose revision this link was given
}

type ackKey struct {
	session api.SessionID
	source  api.Source
}

func newMailbox(most int) *mailbox {
	return &mailbox{most: most, shards: make([]shardBox, api.Shards), acks: map[ackKey]api.Ack{}}
}

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
	if u.Position.Head.Compare(s.head) < 0 {
		return // of an owner that was replaced
	}
	s.head = u.Position.Head
	m := b.waiting[u.Position.Shard]
	if m == nil {
		if b.waiting == nil {
			b.waiting = map[api.Shard]*shardMail{}
		}
		m = &shardMail{}
		b.waiting[u.Position.Shard] = m
	}
	former := m.waiting
	if u.Full {
		b.sessions -= len(m.waiting)
		s.begun, s.lacking = true, false
		m.full, m.known, m.waiting, m.order = true, nil, nil, nil
	}
	for _, d := range u.Sessions {
		switch whole := d.Release || d.Revision != nil; {
		case s.begun:
		case s.lacking: // everything comes
			continue
		case !whole && m.known[d.Session] != d.Epoch:
			continue
		case whole:
			if m.known == nil {
				m.known = map[api.SessionID]api.Epoch{}
			}
			m.known[d.Session] = d.Epoch
		}
		if old, ok := former[d.Session]; ok && d.Revision == nil && !d.Release && old.Epoch == d.Epoch {
			d.Revision = old.Revision // it was not sent yet
		}
		if m.waiting == nil {
			m.waiting = map[api.SessionID]api.Desired{}
		}
		if _, ok := m.waiting[d.Session]; !ok {
			m.order = append(m.order, d.Session)
			b.sessions++
		}
		m.waiting[d.Session] = d
		if !u.Full {
			former = m.waiting
		}
	}
	if b.sessions > b.most {
		b.sessions -= len(m.waiting)
		b.resyncs++
		m.full, m.waiting, m.order, m.known = false, nil, nil, nil
		s.begun, s.lacking = false, true
	}
	if (m.full || len(m.waiting) > 0) && !m.queued {
		m.queued = true
		b.ready = append(b.ready, u.Position.Shard)
	}
	b.forget(u.Position.Shard, m)
}

// forget drops what is kept of a shard of which nothing waits. The caller holds mu.
func (b *mailbox) forget(shard api.Shard, m *shardMail) {
	if !m.queued && m.known == nil {
		delete(b.waiting, shard)
	}
	if len(b.waiting) == 0 { // neither a map nor a slice becomes smaller by itself, and every shard speaks when a link begins
		b.waiting, b.ready = nil, nil
	}
}

// take merges what waits into one message, sessions before acknowledgements, and names a shard that is to be asked for
// everything now, or -1.
func (b *mailbox) take() (out api.HubMessage, some bool, ask int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for bytes := 0; len(b.ready) > 0 && bytes < messageBytes; {
		shard := b.ready[0]
		m := b.waiting[shard]
		size := 64
		for _, d := range m.waiting {
			size += desiredSize(d)
		}
		if m.full && bytes > 0 && bytes+size > messageBytes {
			break
		}
		u := api.ShardUpdate{Position: api.Position{Shard: shard, Head: b.shards[shard].head}, Full: m.full && size <= messageBytes}
		bytes += 64
		n := 0
		for ; n < len(m.order) && (u.Full || bytes < messageBytes); n++ {
			d := m.waiting[m.order[n]]
			u.Sessions = append(u.Sessions, d)
			bytes += desiredSize(d)
			delete(m.waiting, d.Session)
		}
		b.sessions -= n
		m.order, m.full = m.order[n:], false // only what is in one message is all there is
		out.Updates = append(out.Updates, u)
		if len(m.order) == 0 {
			m.queued, m.order, m.waiting = false, nil, nil
			b.ready = b.ready[1:]
			b.forget(shard, m)
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
		n += 128 + payloadSize(&s)
	}
	for _, a := range d.Answers {
		n += 128 + len(a.Reason)
	}
	if d.Revision != nil {
		n += 4096
	}
	return n
}

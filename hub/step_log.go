package hub

import (
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
)

// report writes an event of the hub's own: into the outbox with the change that it reports, and into the queue for the
// archive. The caller puts the record, whose count of such events has grown.
func (m *machine) report(o *output, s *session, now time.Time, ev api.Event, d *api.Decision) {
	item := m.word(s, now, ev, d)
	o.mutate(s.Org, Mutation{PutOutbox: &item})
}

// word makes an event of the hub's own and queues it for the archive.
func (m *machine) word(s *session, now time.Time, ev api.Event, d *api.Decision) OutboxItem {
	s.HubNumber++
	ev.Session, ev.Source, ev.SourceNumber, ev.Time = s.ID, api.HubSource, s.HubNumber, now
	m.enqueue(s, ev, d)
	return OutboxItem{Event: ev, Decision: d}
}

// enqueue numbers an event and puts it into the next append, with the signals that it settles.
func (m *machine) enqueue(s *session, ev api.Event, d *api.Decision, rows ...SettledSignal) {
	s.log.number++
	ev.Number = s.log.number
	s.log.taken[ev.Source] = ev.SourceNumber
	a := m.open(s.Org, s.weigh(ev)+len(rows)*rowWeight)
	a.Events, a.Settled = append(a.Events, ev), append(a.Settled, rows...)
	a.urgent = a.urgent || ev.Source != api.HubSource || len(rows) > 0
	if d != nil {
		a.Decisions = append(a.Decisions, *d)
	}
}

// queued is an append and about how much changes in the store once it is in the archive.
type queued struct {
	Append
	weight int
	urgent bool // somebody waits for it: it has more than events of the hub's own
}

// What an append changes in the store once it is there must fit one batch, however long the archive was away. So what goes
// there at a time is bounded, unless one event alone is more.
const (
	appendWeight = 32 * rowWeight
	rowWeight    = 16       // of one record that changes; an event that changes none weighs 1
	payloadRow   = 16 << 10 // bytes of payload that are written again weigh as much as a record
)

// undigested bounds the events of one session that the archive can have and the store not: those of one submission.
const undigested = appendWeight

// weigh tells how much changes in the store once an event is in the archive.
func (s *session) weigh(ev api.Event) int {
	switch {
	case ev.Source == api.HubSource && ev.Type == api.EventAccepted:
		return 1 // in no outbox
	case ev.Source == api.HubSource:
		return rowWeight
	case !bears(ev):
		return 1
	}
	w := rowWeight
	if ev.Type == api.EventAsked {
		w += rowWeight
	}
	for _, sig := range s.pending {
		if slices.Contains(ev.Signals, sig.Sequence) {
			w += rowWeight + len(sig.Payload)/payloadRow*rowWeight
		}
	}
	return w
}

// open is the append that takes what an organization adds next: the last one of it if there is room.
func (m *machine) open(org api.OrgID, weight int) *queued {
	i := len(m.queue) - 1
	for i >= 0 && m.queue[i].Org != org {
		i--
	}
	if i < 0 || m.queue[i].weight+weight > appendWeight {
		i = len(m.queue)
		m.queue = append(m.queue, queued{Append: Append{Shard: m.shard, Org: org}})
	}
	m.queue[i].weight += weight
	return &m.queue[i]
}

// flush hands the head of the queue to the archive unless an append is in flight. One that nobody waits for is hurried when
// something behind it is urgent.
func (m *machine) flush(o *output) {
	if m.writing && m.calm && slices.ContainsFunc(m.queue, func(q queued) bool { return q.urgent }) {
		m.calm = false
		o.effect(effHurry{})
	}
	if m.writing || len(m.queue) == 0 {
		return
	}
	m.writing, m.calm = true, true
	var appends []Append
	for weight := 0; len(m.queue) > 0; m.queue = m.queue[1:] {
		if weight += m.queue[0].weight; weight > appendWeight && len(appends) > 0 {
			break
		}
		a := m.queue[0].Append
		a.Generation = m.head.Generation
		appends = append(appends, a)
		m.calm = m.calm && !m.queue[0].urgent
	}
	o.effect(effAppend{appends})
}

// allSettled reports that the archive has every event that was taken from the spokes.
func (s *session) allSettled() bool {
	for src, n := range s.log.taken {
		if src != api.HubSource && s.log.settled[src] < n {
			return false
		}
	}
	return true
}

// caughtUp reports that the archive has every event that the spoke had when it made a report.
func (s *session) caughtUp(h api.Held) bool {
	return s.allSettled() && s.log.settled[api.Source{Epoch: h.Epoch, Attempt: h.Attempt}] >= h.Number
}

// forget drops the sources of epochs before the given one that the archive has all of: memory keeps the present epoch's and
// the hub's, and the archive is asked about others.
func (l *sessionLog) forget(before api.Epoch) {
	for src, n := range l.taken {
		if src != api.HubSource && src.Epoch.Compare(before) < 0 && l.settled[src] >= n {
			delete(l.taken, src)
			delete(l.settled, src)
		}
	}
}

package hub

import (
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

// enqueue numbers an event and puts it into the next append.
func (m *machine) enqueue(s *session, ev api.Event, d *api.Decision) *Append {
	s.log.number++
	ev.Number = s.log.number
	s.log.taken[ev.Source] = ev.SourceNumber
	a := m.open(s.Org)
	a.Events = append(a.Events, ev)
	if d != nil {
		a.Decisions = append(a.Decisions, *d)
	}
	return a
}

// open is the append that takes what an organization adds next.
func (m *machine) open(org api.OrgID) *Append {
	i := len(m.queue) - 1
	for i >= 0 && m.queue[i].Org != org {
		i--
	}
	if i < 0 || m.queue[i].rows() >= appendRows {
		i = len(m.queue)
		m.queue = append(m.queue, Append{Shard: m.shard, Org: org})
	}
	return &m.queue[i]
}

// appendRows bounds what goes to the archive at a time: what an append changes in the store once it is there must fit one
// batch, however long the archive was away.
const appendRows = 32

// eventsPerRow is how many events that change nothing in the store count as one that does.
const eventsPerRow = 16

// undigested bounds the events of one session that the archive can have and the store not: those of one submission.
const undigested = 2 * appendRows * eventsPerRow

// rows is about how many records of the store change when the append is archived.
func (a Append) rows() int {
	n := len(a.Events)/eventsPerRow + len(a.Settled)
	for _, ev := range a.Events {
		switch {
		case ev.Source == api.HubSource:
			n++
		case ev.Type == api.EventTurnDone, ev.Type == api.EventState:
			n += 1 + len(ev.Signals)
		case ev.Type == api.EventSaved:
			n++
		}
	}
	return n
}

// flush hands the head of the queue to the archive unless an append is in flight.
func (m *machine) flush(o *output) {
	if m.writing || len(m.queue) == 0 {
		return
	}
	m.writing = true
	n, rows := 1, m.queue[0].rows()
	for n < len(m.queue) && rows+m.queue[n].rows() <= appendRows {
		rows += m.queue[n].rows()
		n++
	}
	appends := m.queue[:n:n]
	for i := range appends {
		appends[i].Generation = m.head.Generation
	}
	o.effect(effAppend{appends})
	m.queue = m.queue[n:]
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

// complete reports that the archive has every event that the spoke had when it made a report.
func (s *session) complete(h api.Held) bool {
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

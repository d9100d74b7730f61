package spoke

import (
	"slices"

	"github.com/nave-dev/nave/api"
)

// outbox keeps the events of one source until the hub has settled them.
type outbox struct {
	session api.SessionID
	source  api.Source
	acked   uint64      // settled by the hub and forgotten here
	events  []api.Event // dense, from acked+1
	gone    int         // events that were forgotten and whose places the array of events still has
	sent    uint64      // queued on the present connection; never below acked
}

// last is the number of the last event that is durable here.
func (o *outbox) last() uint64 { return o.acked + uint64(len(o.events)) }

// above returns the events above a number.
func (o *outbox) above(n uint64) []api.Event { return o.events[max(n, o.acked)-o.acked:] }

// find returns the outbox of a source, or nil.
func (st *state) find(session api.SessionID, source api.Source) *outbox {
	for _, o := range st.outboxes[session] {
		if o.source == source {
			return o
		}
	}
	return nil
}

// outbox returns the outbox of a source and makes it when it is missing.
func (st *state) outbox(session api.SessionID, source api.Source) *outbox {
	if o := st.find(session, source); o != nil {
		return o
	}
	o := &outbox{session: session, source: source}
	boxes := append(st.outboxes[session], o)
	slices.SortFunc(boxes, func(a, b *outbox) int {
		return a.source.Epoch.Compare(b.source.Epoch)*2 + cmpAttempt(a.source, b.source)
	})
	st.outboxes[session] = boxes
	return o
}

func cmpAttempt(a, b api.Source) int {
	switch {
	case a.Attempt < b.Attempt:
		return -1
	case a.Attempt > b.Attempt:
		return 1
	}
	return 0
}

// events takes over events that follow the last one.
func (st *state) events(r eventsRecord) error {
	o := st.outbox(r.Session, r.Source)
	if r.First != o.last()+1 {
		return api.Errorf(api.CodeInternal, "events of session %s source %v begin at %d after %d", r.Session, r.Source, r.First, o.last())
	}
	if len(o.events)+len(r.Events) > cap(o.events) {
		o.gone = 0 // in a new array
	}
	o.events = append(o.events, r.Events...)
	st.bytes += eventBytes(r.Events)
	return nil
}

// acked forgets what the hub has settled.
func (st *state) acked(r ackedRecord) {
	o := st.find(r.Session, r.Source)
	if o == nil || r.UpTo <= o.acked {
		return
	}
	n := min(r.UpTo, o.last()) - o.acked
	st.bytes -= eventBytes(o.events[:n])
	clear(o.events[:n]) // what they hold is given back
	o.events = o.events[n:]
	// So is their array once more of it is free than not: never a copy of all that waits per acknowledgement.
	if o.gone += int(n); o.gone > len(o.events) {
		o.events, o.gone = slices.Clone(o.events), 0
	}
	o.acked += n
	o.sent = max(o.sent, o.acked)
	st.clear(r.Session)
}

// clear drops the outboxes of a session that hold nothing and get nothing any more.
func (st *state) clear(id api.SessionID) {
	s := st.sessions[id]
	boxes := slices.DeleteFunc(st.outboxes[id], func(o *outbox) bool {
		open := s != nil && s.live() && o.source == s.workload().Source()
		return len(o.events) == 0 && !open
	})
	if len(boxes) == 0 {
		delete(st.outboxes, id)
		return
	}
	st.outboxes[id] = boxes
}

// allSent reports that no events of a session wait for being queued on the present connection.
func (st *state) allSent(id api.SessionID) bool {
	return !slices.ContainsFunc(st.outboxes[id], func(o *outbox) bool { return o.sent < o.last() })
}

func eventBytes(es []api.Event) int64 {
	n := 0
	for _, e := range es {
		n += eventSize(e)
	}
	return int64(n)
}

func eventSize(e api.Event) int {
	n := len(e.Text) + 8*len(e.Signals) + 160
	for k, v := range e.Attributes {
		n += len(k) + len(v)
	}
	return n
}

package spoke

import (
	"slices"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/fault"
)

func (l *loop) hello() api.Hello {
	l.helloAt = l.now
	h := api.Hello{ProtocolMin: api.LinkProtocolMin, ProtocolMax: api.LinkProtocolMax, Version: l.cfg.Version, Boot: l.cfg.Boot,
		Journal: l.cfg.Journal.ID(), Fingerprint: l.cfg.Fingerprint, Capacity: l.offered(), Held: l.holds()}
	for _, shard := range sortedKeys(l.st.positions) {
		h.Positions = append(h.Positions, api.Position{Shard: shard, Head: l.st.positions[shard]})
	}
	return h
}

// holds is what the spoke holds. Only here the last event's number is said: the hub compares it with what it has taken.
func (l *loop) holds() []api.Held {
	var out []api.Held
	for _, id := range sortedKeys(l.st.sessions) {
		s := l.st.sessions[id]
		l.see(s)
		if held, ok := heldOf(&s.desired, &s.observed, l.now); ok {
			held.Number = s.Number
			out = append(out, held)
		}
	}
	return out
}

// offered is the runtime's capacity, with what is admitted counted as used.
func (l *loop) offered() api.Capacity {
	if l.capacity == nil {
		return api.Capacity{}
	}
	c := *l.capacity
	c.Flavors = slices.Clone(c.Flavors)
	for i := range c.Flavors {
		c.Flavors[i].Used = max(c.Flavors[i].Used, l.used(c.Flavors[i].Flavor))
	}
	return c
}

// welcome begins a connection: everything is said again.
func (l *loop) welcome(w api.Welcome) {
	l.connected, l.sendAt = true, 0
	l.status.connected.Store(true)
	l.status.refused.Store(nil)
	l.cluster, l.labels = w.Cluster, w.Labels
	l.reported = nil
	for _, boxes := range l.st.outboxes {
		for _, o := range boxes {
			o.sent = o.acked
			l.unsent[o.session] = true
		}
	}
	l.held, l.recount = nil, true
	for id, s := range l.st.sessions {
		s.Reported = nil
		l.touch(id)
	}
	l.log.Info("connected to the hub", "cluster", w.Cluster, "name", w.Name)
}

func (l *loop) disconnected(err error) {
	if api.CodeOf(err) == api.CodeDenied {
		why := "the hub refuses this spoke: " + err.Error() + ": what runs here stops when its time without the hub is over; join again with a new token, or remove the spoke"
		if l.status.refused.Swap(&why) == nil {
			l.log.Error("the hub refuses this spoke", "error", err)
		}
	} else if l.connected {
		l.log.Info("disconnected from the hub", "error", err)
	}
	l.connected, l.held = false, nil
	l.status.connected.Store(false)
}

func (l *loop) receive(m api.HubMessage) error {
	for _, u := range m.Updates {
		if l.st.stale(u.Position) {
			continue
		}
		records, err := l.st.update(u, l.labels)
		if err != nil {
			return err
		}
		l.heard[u.Position.Shard] = true
		for _, r := range records {
			l.change(r)
			if w, ok := r.(wantedRecord); ok {
				if s := l.st.sessions[w.Desired.Session]; s.Epoch == w.Desired.Epoch {
					l.check(s)
				}
			}
		}
		for _, d := range u.Sessions {
			if s := l.st.sessions[d.Session]; s != nil {
				l.confirm(s, d, records)
			}
		}
	}
	for _, a := range m.Acks {
		o := l.st.find(a.Session, a.Source)
		if shard, err := a.Session.Shard(); err != nil || l.st.replaced(shard, a.Position.Head.Generation) {
			continue // its owner was replaced
		}
		if o == nil || a.UpTo <= o.acked {
			continue
		}
		if a.UpTo > o.last() {
			return api.Errorf(api.CodeInvalid, "acknowledgement up to %d of session %s source %v: the last event is %d", a.UpTo, a.Session, a.Source, o.last())
		}
		l.metrics.settled.Add(float64(a.UpTo - o.acked))
		l.change(ackedRecord{a.Session, a.Source, a.UpTo})
	}
	return nil
}

// send sends what is durable: events first, so that what is said of sessions comes behind the events that led to it.
func (l *loop) send() {
	if !l.connected || l.now < l.sendAt {
		return
	}
	l.sendAt = 0
	if !l.sendEvents() {
		return
	}
	if l.recount && l.capacity != nil {
		c := l.offered()
		if (l.reported == nil || !sameCapacity(*l.reported, c)) && !l.queueMessage(api.SpokeMessage{Capacity: &c}) {
			return
		}
		l.reported, l.recount = &c, false
	}
	held := l.held
	l.held = nil
	for len(held) > 0 {
		n := min(len(held), messageHeld)
		if !l.queueMessage(api.SpokeMessage{Held: held[:n]}) {
			for _, h := range held { // said again when the queue has room
				if s := l.st.sessions[h.Session]; s != nil {
					s.Reported = nil
				}
			}
			return
		}
		for _, h := range held[:n] {
			if h.State == api.HeldGone {
				l.touch(h.Session) // it may be forgotten now
			}
		}
		held = held[n:]
	}
}

// sendEvents sends what the window of each source allows, of all sources in as few messages as it takes; false when the link
// takes no more.
func (l *loop) sendEvents() bool {
	var p parcel
	for _, id := range sortedKeys(l.unsent) {
		for _, o := range l.st.outboxes[id] {
			for sent := o.sent; sent < o.last() && sent-o.acked < sendWindow; {
				events := o.above(sent)
				n := p.fit(events, int(sendWindow-(sent-o.acked)))
				if n == 0 {
					if !l.queueParcel(&p) {
						return false
					}
					continue
				}
				sent += uint64(n)
				p.add(o, sent, slices.Clone(events[:n]), l.cluster)
			}
		}
	}
	if !l.queueParcel(&p) {
		return false
	}
	clear(l.unsent) // an acknowledgement opens the window of a source again
	return true
}

// parcel is a message of events while it is filled.
type parcel struct {
	batches []api.EventBatch
	boxes   []*outbox // of each batch
	upTo    []uint64  // the last event of each batch
	bytes   int
}

// fit is how many of the events the message still takes: at least one when it is empty.
func (p *parcel) fit(events []api.Event, most int) int {
	n, bytes := 0, p.bytes
	for n < len(events) && n < most && (bytes == 0 || bytes+eventSize(events[n]) <= messageBytes) {
		bytes += eventSize(events[n])
		n++
	}
	return n
}

func (p *parcel) add(o *outbox, upTo uint64, events []api.Event, cluster api.ClusterID) {
	for i := range events {
		events[i].Cluster = cluster
		p.bytes += eventSize(events[i])
	}
	p.batches = append(p.batches, api.EventBatch{Session: o.session, Source: o.source, Events: events})
	p.boxes, p.upTo = append(p.boxes, o), append(p.upTo, upTo)
}

// queueParcel hands the message to the link and empties it; false when the link takes none now.
func (l *loop) queueParcel(p *parcel) bool {
	if len(p.batches) == 0 {
		return true
	}
	if !l.queueMessage(api.SpokeMessage{Events: p.batches}) {
		return false
	}
	for i, o := range p.boxes {
		o.sent = p.upTo[i]
		if s := l.st.sessions[o.session]; s != nil && s.stopping() {
			l.touch(o.session) // Gone may wait for it
		}
	}
	*p = parcel{}
	return true
}

// queueMessage hands a message to the link; false when it takes none now.
func (l *loop) queueMessage(m api.SpokeMessage) bool {
	err := l.cfg.Link.Send(m)
	if err == nil {
		return true
	}
	l.sendAt = l.now + sendAgain
	if api.CodeOf(err) != api.CodeLimit && api.CodeOf(err) != api.CodeUnavailable {
		l.log.Warn("message to the hub", "error", err)
	}
	return false
}

func sameCapacity(a, b api.Capacity) bool {
	return a.Runtime == b.Runtime && slices.Equal(a.Flavors, b.Flavors) && slices.Equal(a.Missing, b.Missing)
}

// attached takes a harness that proved which workload it is.
func (l *loop) attached(id WorkloadID) (uint64, error) {
	s, err := l.present(id)
	if err != nil {
		return 0, err
	}
	s.Attached, s.Heard = true, true
	l.touch(id.Session)
	if fault.On(fault.ResumeOneTooFar) {
		return s.Number + 1, nil
	}
	if o := l.st.find(id.Session, id.Source()); o != nil {
		return o.last(), nil
	}
	return 0, nil
}

func (l *loop) detached(id WorkloadID) {
	if s, err := l.present(id); err == nil {
		s.Attached = false
		l.touch(id.Session)
	}
}

// present returns the session of a workload that is its present attempt.
func (l *loop) present(id WorkloadID) (*session, error) {
	s := l.st.sessions[id.Session]
	if s == nil || s.workload() != id || !s.live() {
		return nil, api.Errorf(api.CodeDenied, "workload %v is not wanted here", id)
	}
	return s, nil
}

// events takes over events of a harness. Those that are durable already are skipped by number.
func (l *loop) events(id WorkloadID, events []api.Event) error {
	s, err := l.present(id)
	if err != nil {
		return err
	}
	last := uint64(0)
	if o := l.st.find(id.Session, id.Source()); o != nil {
		last = o.last()
	}
	for len(events) > 0 && events[0].SourceNumber <= last {
		events = events[1:]
	}
	if len(events) == 0 {
		return nil
	}
	for i, e := range events {
		if err := checkEvent(id.Session, e, last+1+uint64(i)); err != nil {
			return err
		}
	}
	size := eventBytes(events)
	if l.st.bytes+size > l.cfg.MaxKept {
		return api.Errorf(api.CodeLimit, "the spoke keeps %d bytes that the hub has not settled, of at most %d (max_kept): try again later", l.st.bytes, l.cfg.MaxKept)
	}
	l.metrics.events.Add(float64(len(events)))
	l.keep(s, last+1, events)
	return nil
}

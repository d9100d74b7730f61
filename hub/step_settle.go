package hub

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
)

// events gives numbers to a spoke's events and queues them for the archive. What was taken before is skipped; a gap ends
// the link, so that the spoke begins again from what is acknowledged.
func (m *machine) events(o *output, now time.Time, cluster api.ClusterID, b api.EventBatch, archived uint64) {
	s := m.sessions[b.Session]
	if s == nil || s.Assignment == nil || s.Assignment.Cluster != cluster || s.Assignment.Epoch != b.Source.Epoch || b.Source.Attempt == 0 {
		m.late(o, s, cluster, b, archived)
		return
	}
	for _, ev := range b.Events {
		ev.Session, ev.Source, ev.Cluster = b.Session, b.Source, cluster
		taken := s.log.taken[b.Source]
		switch {
		case ev.SourceNumber > taken+1:
			o.effect(effGap{cluster, api.Errorf(api.CodeFailed, "session %s source %s: event %d after %d", s.ID, b.Source, ev.SourceNumber, taken)})
			return
		case ev.SourceNumber <= taken:
			m.again(o, now, s, ev)
			continue
		}
		a := m.enqueue(s, ev, nil)
		if ev.Type == api.EventTurnDone {
			a.Settled = append(a.Settled, m.settles(s, ev, now)...)
		}
	}
}

// late handles events that are not of the present epoch. What the archive has already may be forgotten; the rest stays at
// its spoke.
func (m *machine) late(o *output, s *session, cluster api.ClusterID, b api.EventBatch, archived uint64) {
	if s == nil || len(b.Events) == 0 || b.Source == api.HubSource || b.Events[len(b.Events)-1].SourceNumber > max(s.log.settled[b.Source], archived) {
		o.effect(effStale{cluster, b.Session, b.Source.Epoch})
		return
	}
	o.effect(effAck{cluster, api.Ack{Session: s.ID, Source: b.Source, UpTo: b.Events[len(b.Events)-1].SourceNumber}})
}

// again handles an event that was taken before. If the archive has it, the spoke did not get the acknowledgement. After a
// change of owner the failures that a turn record counts may be missing, so they are applied now; the signals that it
// settled left the inbox when the shard was loaded.
func (m *machine) again(o *output, now time.Time, s *session, ev api.Event) {
	if settled := s.log.settled[ev.Source]; ev.SourceNumber <= settled {
		if ev.Type == api.EventTurnDone {
			m.digest(o, now, s, ev, nil)
		}
		o.effect(effAck{ev.Cluster, api.Ack{Session: s.ID, Source: ev.Source, UpTo: ev.SourceNumber}})
	}
}

// How a signal left the inbox.
const (
	settledDone = "done"
	settledDead = "dead"
)

// settles lists the signals that leave the inbox with a turn record: consumed, or failed too often.
func (m *machine) settles(s *session, ev api.Event, now time.Time) []SettledSignal {
	var out []SettledSignal
	for _, sig := range s.pending {
		if !slices.Contains(ev.Signals, sig.Sequence) || s.settling[sig.Sequence] {
			continue // a second record of the same signals settles nothing: the first one counts
		}
		outcome := m.fate(s, sig, ev.Outcome)
		if ev.Outcome == api.OutcomeFailed {
			s.failing[sig.Sequence]++
		}
		if outcome == "" {
			continue
		}
		s.settling[sig.Sequence] = true
		if outcome == settledDone {
			sig.Payload = nil // a dead one keeps it, to be sent again
		}
		out = append(out, SettledSignal{Signal: sig, Outcome: outcome, SettledAt: now,
			Scope: KeyScope{Agent: s.Agent, SessionKey: s.Key, Key: sig.IdempotencyKey}})
	}
	return out
}

// fate is "done", "dead", or "" for a signal that stays.
func (m *machine) fate(s *session, sig api.Signal, outcome api.Outcome) string {
	switch {
	case outcome == api.OutcomeDone:
		return settledDone
	case outcome == api.OutcomeFailed && s.revision != nil && int(sig.Deliveries+s.failing[sig.Sequence])+1 >= s.revision.Agent.MaxDeliveries:
		return settledDead
	}
	return ""
}

// archived applies what the archive has now: outboxes shrink, turn records settle their signals, spokes may forget.
func (m *machine) archived(o *output, now time.Time, appends []Append) {
	m.writing = false
	var acks []effAck
	for _, a := range appends {
		settled := make(map[api.SignalID]string, len(a.Settled))
		for _, row := range a.Settled {
			settled[row.Signal.ID] = row.Outcome
		}
		for i, ev := range a.Events {
			s := m.sessions[ev.Session]
			s.log.settled[ev.Source], s.log.kept = ev.SourceNumber, ev.Number
			switch {
			case ev.Source == api.HubSource:
				o.mutate(s.Org, Mutation{DeleteOutbox: &OutboxKey{s.ID, ev.SourceNumber}})
			default:
				acks = appendAck(acks, effAck{ev.Cluster, api.Ack{Session: s.ID, Source: ev.Source, UpTo: ev.SourceNumber}})
			}
			if ev.Type == api.EventTurnDone {
				m.digest(o, now, s, ev, settled)
			}
			if i == len(a.Events)-1 || a.Events[i+1].Session != ev.Session {
				o.effect(effNotify{ev.Session})
			}
		}
	}
	for _, ack := range acks {
		o.effect(ack)
		s := m.sessions[ack.ack.Session]
		if s.gone && s.Assignment != nil && s.allSettled() {
			m.gone(o, s, now)
		}
		if s.idle != nil && s.Assignment != nil && s.Phase == api.PhaseRunning && len(s.pending) == 0 {
			m.idle(o, s, *s.idle)
		}
	}
}

// appendAck raises the acknowledgement of a source, or adds one.
func appendAck(acks []effAck, a effAck) []effAck {
	i := slices.IndexFunc(acks, func(x effAck) bool { return x.ack.Session == a.ack.Session && x.ack.Source == a.ack.Source })
	if i < 0 {
		return append(acks, a)
	}
	acks[i].ack.UpTo = a.ack.UpTo
	return acks
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

// digest applies an archived turn record to the inbox, once: the record's position is kept with the session. A signal
// leaves the inbox only if its row is in the archive; another one that a failed turn names counts a failure.
func (m *machine) digest(o *output, now time.Time, s *session, ev api.Event, settled map[api.SignalID]string) {
	if !after(ev.Source, ev.SourceNumber, s.TurnSource, s.TurnNumber) {
		return
	}
	s.TurnSource, s.TurnNumber = ev.Source, ev.SourceNumber
	var kept []api.Signal
	resend := false
	for _, sig := range s.pending {
		if ev.Outcome == api.OutcomeFailed && slices.Contains(ev.Signals, sig.Sequence) {
			if n := s.failing[sig.Sequence]; n > 1 {
				s.failing[sig.Sequence] = n - 1
			} else { // none when an earlier owner took the record
				delete(s.failing, sig.Sequence)
			}
		}
		switch {
		case settled[sig.ID] != "":
			if settled[sig.ID] == settledDead {
				m.report(o, s, now, api.Event{Type: api.EventDead, Signals: []uint64{sig.Sequence}, Text: fmt.Sprintf("failed %d times", sig.Deliveries+1),
					Attributes: map[string]string{"signal": string(sig.ID)}}, nil)
			}
			delete(s.failing, sig.Sequence)
			delete(s.settling, sig.Sequence)
			o.mutate(s.Org, Mutation{DeleteSignal: &SignalKey{s.ID, sig.Sequence}})
			o.effect(effPending{s.Org, -1})
			delete(m.idem, KeyScope{Agent: s.Agent, SessionKey: s.Key, Key: sig.IdempotencyKey})
			resend = true
			continue
		case ev.Outcome == api.OutcomeFailed && slices.Contains(ev.Signals, sig.Sequence):
			sig.Deliveries++
			o.mutate(s.Org, Mutation{PutSignal: &sig})
			resend = true
		}
		kept = append(kept, sig)
	}
	s.pending = kept
	o.put(s.Session)
	if resend { // with none left too: the spoke keeps what failed too often until it is told
		m.send(o, s)
	}
}

// after reports whether a position is later than another one: by epoch, attempt, number.
func after(a api.Source, an uint64, b api.Source, bn uint64) bool {
	return cmp.Or(a.Epoch.Compare(b.Epoch), cmp.Compare(a.Attempt, b.Attempt), cmp.Compare(an, bn)) > 0
}

package hub

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// events gives numbers to a spoke's events and queues them for the archive. What was taken before is skipped, and acknowledged
// again if the archive has it; a gap ends the link, so that the spoke begins again from what is acknowledged.
func (m *machine) events(o *output, now time.Time, ev evEvents) {
	b := ev.batch
	s := m.sessions[b.Session]
	if !s.at(ev.cluster, b.Source.Epoch) || b.Source.Attempt == 0 {
		if len(b.Events) > 0 {
			o.effect(effSide{cluster: ev.cluster, batch: b, at: now})
		}
		return
	}
	s.heard()
	for _, e := range b.Events {
		e.Session, e.Source, e.Cluster = b.Session, b.Source, ev.cluster
		taken := s.log.taken[b.Source]
		switch {
		case e.SourceNumber > taken+1:
			o.effect(effGap{ev.cluster, api.Errorf(api.CodeFailed, "session %s source %s: event %d after %d", s.ID, b.Source, e.SourceNumber, taken)})
			return
		case e.SourceNumber <= taken:
			if e.SourceNumber <= s.log.settled[b.Source] { // the spoke did not get the acknowledgement
				o.effect(effAck{ev.cluster, api.Ack{Session: s.ID, Source: b.Source, UpTo: e.SourceNumber}})
			}
			continue
		}
		if e.Type == api.EventSaved && !ev.saved[checkpointOf(e)] {
			if ev.unknown != nil {
				o.effect(effGap{ev.cluster, ev.unknown})
				return
			}
			e = disproved(e)
		}
		m.enqueue(s, e, nil, s.take(e, now)...)
	}
}

// bears reports whether an event bears on the inbox or on the checkpoints. Such events are applied once and in the order of
// their moments: one of a former attempt that comes late moves nothing.
//
//	event              when it is taken                        when the archive has it
//	turn.ended done,   its signals are marked                  the marks are made durable; the spoke gets the next ones
//	or cancelled
//	turn.ended failed  its signals count a failure; those      the counts are made durable; the dead leave the store
//	                   with too many are dead
//	turn.ended cut     nothing                                 nothing
//	checkpoint.saved   signals with marks before it are done   they leave the store; the checkpoint is kept
//	state.restored     the marks that it names are taken away  the same, durable; the spoke gets the signals again
//	approval.*         nothing                                 the approval's record follows (step_approval.go)
//
// "Done", "cancelled" and "dead" are rows of settled signals that go into the archive with the event.
func bears(ev api.Event) bool {
	switch ev.Type {
	case api.EventTurnDone, api.EventState, api.EventAsked, api.EventTaken:
		return ev.Source != api.HubSource
	case api.EventSaved:
		return ev.Source != api.HubSource && ev.Attributes[attrDisproved] == ""
	}
	return false
}

// take decides what an event leads to and returns the signals that it settles.
func (s *session) take(ev api.Event, now time.Time) []SettledSignal {
	at := moment{ev.Source, ev.SourceNumber}
	if !bears(ev) || !at.after(s.applied) {
		return nil
	}
	s.applied = at
	var out []SettledSignal
	for _, sig := range s.pending {
		n := sig.Sequence
		by, marked := s.marks[n]
		switch named := slices.Contains(ev.Signals, n); {
		case s.settling[n]: // a second record of the same signal settles nothing: the first one counts
		case ev.Type == api.EventSaved && marked && !by.after(at):
			out = append(out, s.settle(sig, settledAs(by.outcome), "", now))
		case ev.Type == api.EventState && named:
			delete(s.marks, n)
		case ev.Type != api.EventTurnDone || !named || marked:
		case ev.Outcome.Consumes():
			s.marks[n] = mark{at, ev.Outcome}
		case ev.Outcome == api.OutcomeFailed:
			s.failing[n]++
			if failures := sig.Deliveries + s.failing[n]; s.revision != nil && int(failures) >= s.revision.Agent.MaxDeliveries {
				out = append(out, s.settle(sig, settledDead, fmt.Sprintf("failed %d times", failures), now))
			}
		}
	}
	return out
}

// How a signal left the inbox.
const (
	settledDone      = "done"
	settledCancelled = "cancelled"
	settledDead      = "dead"
)

// settledAs is how a signal leaves that a turn record consumed.
func settledAs(o api.Outcome) string {
	if o == api.OutcomeCancelled {
		return settledCancelled
	}
	return settledDone
}

// settle makes the row of a signal that leaves the inbox.
func (s *session) settle(pending *api.Signal, outcome, reason string, now time.Time) SettledSignal {
	sig := *pending
	s.settling[sig.Sequence] = true
	if outcome != settledDead {
		sig.Payload = nil // a dead one keeps it, to be sent again
	}
	return SettledSignal{Signal: sig, Outcome: outcome, Reason: reason, AgentName: s.AgentName, SettledAt: now,
		Scope: KeyScope{Agent: s.Agent, SessionKey: s.Key, Key: sig.IdempotencyKey}}
}

// archived applies what the archive has now: outboxes shrink, signals are marked or leave, spokes may forget, terminated
// sessions end.
func (m *machine) archived(o *output, now time.Time, appends []Append) {
	m.writing = false
	var acks []effAck
	for _, a := range appends {
		first := 0 // of a run of one session's events
		settled := make(map[api.SignalID]string, len(a.Settled))
		for _, row := range a.Settled {
			settled[row.Signal.ID] = row.Reason
		}
		for i, ev := range a.Events {
			s := m.sessions[ev.Session]
			s.log.settled[ev.Source], s.log.kept = ev.SourceNumber, ev.Number
			switch {
			case ev.Source == api.HubSource && ev.Type == api.EventAccepted: // in no outbox
			case ev.Source == api.HubSource:
				o.mutate(s.Org, Mutation{DeleteOutbox: &OutboxKey{s.ID, ev.SourceNumber}})
			default:
				acks = appendAck(acks, effAck{ev.Cluster, api.Ack{Session: s.ID, Source: ev.Source, UpTo: ev.SourceNumber}})
			}
			m.digest(o, now, s, ev, settled)
			if i == len(a.Events)-1 || a.Events[i+1].Session != ev.Session {
				o.effect(effNotify{ev.Session, a.Events[first : i+1 : i+1]})
				first = i + 1
			}
		}
		m.buried(o, a)
	}
	for _, s := range m.touched(appends) {
		if s.owed(now) {
			o.next = append(o.next, evTend{s.ID})
		}
	}
	for _, ack := range acks {
		o.effect(ack)
		if s := m.sessions[ack.ack.Session]; s != nil && (s.gone != nil || s.idle != nil) {
			o.next = append(o.next, evComplete{s.ID})
		}
	}
}

// touched are the sessions with approvals whose events were archived.
func (m *machine) touched(appends []Append) (out []*session) {
	for _, a := range appends {
		for _, ev := range a.Events {
			if s := m.asking[ev.Session]; s != nil && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

// complete decides about a report again that waited for the archive.
func (m *machine) complete(o *output, now time.Time, id api.SessionID) {
	s := m.sessions[id]
	switch {
	case s == nil || s.Assignment == nil:
	case s.gone != nil:
		m.gone(o, s, now, *s.gone)
	case s.idle != nil && s.Phase == api.PhaseRunning:
		h := *s.idle
		s.idle = nil
		m.idle(o, s, h)
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

// digest applies an archived event to the store, once: its moment is kept with the session. settled has the signals whose rows
// are in the archive, and why those that are dead are: a signal leaves only with its row.
func (m *machine) digest(o *output, now time.Time, s *session, ev api.Event, settled map[api.SignalID]string) {
	at := moment{ev.Source, ev.SourceNumber}
	if !bears(ev) || !at.after(moment{s.TurnSource, s.TurnNumber}) {
		return
	}
	s.TurnSource, s.TurnNumber = ev.Source, ev.SourceNumber
	before, told := m.window(s), s.answers()
	var kept, dead []*api.Signal
	var why string
	for _, sig := range s.pending {
		reason, row := settled[sig.ID]
		switch named := slices.Contains(ev.Signals, sig.Sequence); {
		case ev.Type == api.EventSaved && row && s.consumed(sig):
			m.leave(o, s, sig)
			continue
		case ev.Type == api.EventState && named && s.consumed(sig):
			sig = changed(sig)
			sig.ConsumedBy, sig.ConsumedNumber, sig.ConsumedAs = api.Source{}, 0, ""
			o.aside(s.Org, Mutation{PutSignal: sig})
		case ev.Type != api.EventTurnDone || !named || s.consumed(sig):
		case ev.Outcome.Consumes():
			sig = changed(sig)
			sig.ConsumedBy, sig.ConsumedNumber, sig.ConsumedAs = ev.Source, ev.SourceNumber, ev.Outcome
			o.aside(s.Org, Mutation{PutSignal: sig})
		case ev.Outcome == api.OutcomeFailed:
			sig = changed(sig)
			sig.Deliveries++
			if !s.failed(sig.Sequence) && reason != "" { // not done by a later turn of the same append
				dead, why = append(dead, sig), reason
				continue
			}
			if !row { // else a later event of the same append takes it out: written after that, it would come back
				o.mutate(s.Org, Mutation{PutSignal: sig})
			}
		}
		kept = append(kept, sig)
	}
	s.pending = kept
	m.dead(o, s, now, dead, why)
	switch ev.Type {
	case api.EventTurnDone:
		s.StartFailures, s.starts.before = 0, 0
		if ev.Outcome.Consumes() {
			m.turnOver(o, s, ev)
		}
	case api.EventSaved:
		s.SavedIn = ev.Source.Epoch
		m.keep(o, s, checkpointOf(ev))
	case api.EventAsked:
		m.asked(o, s, now, ev)
	case api.EventTaken:
		m.taken(o, s, ev)
	}
	m.put(o, s)
	if !sameSignals(before, m.window(s)) || !slices.Equal(told, s.answers()) { // with none left too: the spoke keeps what failed too often until it is told
		m.hand(o, s)
	}
}

// changed is a copy of a signal, to be changed.
func changed(sig *api.Signal) *api.Signal {
	next := *sig
	return &next
}

// dead takes the signals of one turn out of the store that failed too often, and reports it.
func (m *machine) dead(o *output, s *session, now time.Time, dead []*api.Signal, why string) {
	if len(dead) == 0 {
		return
	}
	var sequences []uint64
	var ids []string
	for _, sig := range dead {
		sequences, ids = append(sequences, sig.Sequence), append(ids, string(sig.ID))
		o.mutate(s.Org, Mutation{DeleteSignal: &SignalKey{s.ID, sig.Sequence}})
		m.drop(o, s, sig)
	}
	m.report(o, s, now, api.Event{Type: api.EventDead, Signals: sequences, Text: why, Attributes: map[string]string{"signal": strings.Join(ids, " ")}}, nil)
}

// failed takes a failure off those that were on their way and reports whether there are more.
func (s *session) failed(n uint64) bool {
	if s.failing[n] <= 1 { // none when an earlier owner took the record
		delete(s.failing, n)
		return false
	}
	s.failing[n]--
	return true
}

// leave takes a signal out of the store whose row the archive has. It may be committed apart: whoever loads the shard later
// finds the row and does the same.
func (m *machine) leave(o *output, s *session, sig *api.Signal) {
	o.aside(s.Org, Mutation{DeleteSignal: &SignalKey{s.ID, sig.Sequence}})
	m.drop(o, s, sig)
}

// drop forgets what memory has of a signal beside the inbox.
func (m *machine) drop(o *output, s *session, sig *api.Signal) {
	delete(s.failing, sig.Sequence)
	delete(s.settling, sig.Sequence)
	delete(s.marks, sig.Sequence)
	o.effect(effPending{s.Org, -1})
	scope := KeyScope{Agent: s.Agent, SessionKey: s.Key, Key: sig.IdempotencyKey}
	if first := m.idem[scope]; first != nil && first.ID == sig.ID {
		delete(m.idem, scope)
	}
}

// sameSignals reports whether a spoke that has a would learn nothing from b.
func sameSignals(a, b []api.Signal) bool {
	return slices.EqualFunc(a, b, func(x, y api.Signal) bool { return x.ID == y.ID && x.Deliveries == y.Deliveries })
}

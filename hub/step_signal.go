package hub

import (
	"time"

	"github.com/nave-dev/nave/api"
)

// signal accepts a signal, answers a duplicate, or refuses.
func (m *machine) signal(o *output, now time.Time, ev *evSignal) {
	answer := func(a api.Accepted, err error) { o.effect(effReply{ev.reply, signalReply{a, err}}) }
	scope := KeyScope{Agent: ev.agent, SessionKey: ev.key, Key: ev.signal.IdempotencyKey}
	if scope.Key != "" && !deduplicationOff() {
		if first := m.first(scope, ev.settled); first != nil {
			if first.PayloadHash != ev.signal.PayloadHash {
				answer(api.Accepted{}, &api.Error{Code: api.CodeExists, Field: "idempotency_key",
					Err: api.Errorf(api.CodeExists, "%.80q was used with another payload, for signal %s: use a new key for a new signal", scope.Key, first.ID)})
				return
			}
			answer(api.Accepted{Signal: first.ID, Session: first.Session, Sequence: first.Sequence, Duplicate: true}, nil)
			return
		}
		if ev.unknown != nil {
			answer(api.Accepted{}, ev.unknown)
			return
		}
	}
	sk := sessionKey{ev.org, ev.agent, ev.key}
	s := m.sessions[m.keys[sk]]
	if s != nil && len(s.pending) >= m.limits.PendingPerSession {
		answer(api.Accepted{}, &api.Error{Code: api.CodeLimit, Field: "key",
			Err: api.Errorf(api.CodeLimit, "session %s has %d unsettled signals, the limit: wait until some are settled", s.ID, len(s.pending))})
		return
	}
	if ev.orgFull {
		answer(api.Accepted{}, &api.Error{Code: api.CodeLimit, Field: "organization",
			Err: api.Errorf(api.CodeLimit, "organization %s has %d unsettled signals or more, the limit: wait until some are settled", ev.org, m.limits.PendingPerOrg)})
		return
	}
	if ev.dryRun {
		a := api.Accepted{Session: ev.newID, Sequence: 1}
		if s != nil {
			a = api.Accepted{Session: s.ID, Sequence: s.LastSequence + 1}
		}
		answer(a, nil)
		return
	}
	if s == nil {
		s = m.add(api.Session{ID: ev.newID, Org: ev.org, Agent: ev.agent, AgentName: ev.agentName, Key: ev.key,
			Intent: api.IntentActive, Phase: api.PhaseDormant, CreatedAt: now})
	}
	o.mutations, o.effects = make([]Mutation, 0, 2), make([]effect, 0, 4)
	sig := m.admit(o, s, now, ev.signal)
	answer(api.Accepted{Signal: sig.ID, Session: s.ID, Sequence: sig.Sequence, After: s.log.kept}, nil)
	m.deliver(o, s, sig)
}

// admit puts a signal into the inbox.
func (m *machine) admit(o *output, s *session, now time.Time, given api.Signal) *api.Signal {
	sig := &given
	s.LastSequence++
	sig.Session, sig.Sequence, sig.AcceptedAt = s.ID, s.LastSequence, now
	s.HubNumber++
	sig.Reported = s.HubNumber
	s.pending, s.idle = append(s.pending, sig), nil
	if sig.IdempotencyKey != "" {
		m.idem[KeyScope{Agent: s.Agent, SessionKey: s.Key, Key: sig.IdempotencyKey}] = sig
	}
	o.mutate(s.Org, Mutation{PutSignal: sig})
	o.effect(effPending{s.Org, 1})
	m.enqueue(s, acceptance(sig), nil)
	if s.Phase == api.PhaseDormant && s.Intent == api.IntentActive {
		s.setPhase(api.PhasePlacing, "")
	}
	m.put(o, s)
	return sig
}

// acceptance is the event that a signal was accepted. All of it follows from the signal's record, so that it is in no outbox:
// who loads a shard makes it again when the archive has not got it. The record stays until the signal is settled, by an append
// that comes after this event.
func acceptance(sig *api.Signal) api.Event {
	about := map[string]string{"signal": string(sig.ID), "sender": sig.Sender}
	if sig.ReplayOf != "" {
		about[api.AttrReplayOf] = string(sig.ReplayOf)
	}
	if sig.Approval != "" {
		about[api.AttrApproval] = string(sig.Approval)
	}
	if n := len(sig.Origin); n > 0 {
		about[attrFrom] = string(sig.Origin[n-1].Session)
	}
	return api.Event{Session: sig.Session, Source: api.HubSource, SourceNumber: sig.Reported, Type: api.EventAccepted, Time: sig.AcceptedAt,
		Signals: []uint64{sig.Sequence}, Attributes: about}
}

// attrFrom names in signal.accepted the session that sent the signal.
const attrFrom = "from_session"

// deliver lets a signal that was put into the inbox go on.
func (m *machine) deliver(o *output, s *session, sig *api.Signal) {
	if waits := s.Phase == api.PhasePlacing && s.Reason != "" && len(s.pending) > 1; !waits {
		m.place(o, s)
	} // else a decision found no place: one more signal changes nothing, and the next facts ask again
	if s.takes() && m.inWindow(s, sig.Sequence) {
		m.hand(o, s)
	}
}

// first is the signal that used a key first: pending, or settled.
func (m *machine) first(scope KeyScope, settled *SettledSignal) *api.Signal {
	if sig := m.idem[scope]; sig != nil {
		return sig
	}
	if settled != nil {
		return &settled.Signal
	}
	return nil
}

package hub

import (
	"time"

	"github.com/nave-dev/nave/api"
)

// signal accepts a signal, answers a duplicate, or refuses.
func (m *machine) signal(o *output, now time.Time, ev evSignal) {
	answer := func(a api.Accepted, err error) { o.effect(effReply{ev.reply, signalReply{a, err}}) }
	scope := KeyScope{Agent: ev.agent, SessionKey: ev.key, Key: ev.signal.IdempotencyKey}
	if scope.Key != "" {
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
	s.LastSequence++
	sig := ev.signal
	sig.Session, sig.Sequence, sig.AcceptedAt = s.ID, s.LastSequence, now
	s.pending = append(s.pending, sig)
	if scope.Key != "" {
		m.idem[scope] = &sig
	}
	o.mutate(s.Org, Mutation{PutSignal: &sig})
	o.effect(effPending{s.Org, 1})
	m.report(o, s, now, api.Event{Type: api.EventAccepted, Signals: []uint64{sig.Sequence},
		Attributes: map[string]string{"signal": string(sig.ID), "sender": sig.Sender}}, nil)
	if s.Phase == api.PhaseDormant {
		s.setPhase(api.PhasePlacing, "")
	}
	o.put(s.Session)
	answer(api.Accepted{Signal: sig.ID, Session: s.ID, Sequence: sig.Sequence, After: s.log.kept}, nil)
	m.place(o, s)
	if m.inWindow(s, sig.Sequence) {
		m.send(o, s)
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

// add puts a session into memory.
func (m *machine) add(rec api.Session) *session {
	s := &session{Session: rec, failing: map[uint64]uint32{}, settling: map[uint64]bool{}, log: sessionLog{taken: map[api.Source]uint64{}, settled: map[api.Source]uint64{}}}
	m.sessions[s.ID] = s
	m.keys[sessionKey{s.Org, s.Agent, s.Key}] = s.ID
	return s
}

// window is the part of the pending signals that a spoke gets: the first ones, bounded in number and bytes, never none.
func (m *machine) window(s *session) []api.Signal {
	bytes := 0
	for i, sig := range s.pending {
		bytes += payloadSize(sig)
		if i == m.limits.Window || i > 0 && bytes > m.limits.WindowBytes {
			return s.pending[:i:i]
		}
	}
	return s.pending[:len(s.pending):len(s.pending)]
}

// payloadSize is the bytes that a signal's payload takes on a link.
func payloadSize(s api.Signal) int {
	if s.PayloadRef != "" {
		return api.MaxPayload
	}
	return len(s.Payload)
}

// inWindow reports whether a pending signal is among those that a spoke gets now.
func (m *machine) inWindow(s *session, sequence uint64) bool {
	w := m.window(s)
	return len(w) > 0 && w[len(w)-1].Sequence >= sequence
}

// send tells the assigned spoke what is wanted of it for this session.
func (m *machine) send(o *output, s *session) {
	if s.Assignment != nil {
		o.effect(effSend{cluster: s.Assignment.Cluster, sessions: []api.Desired{m.desired(s, false)}})
	}
}

// desired is the session as its spoke is to have it. The revision goes with an epoch's first message and with everything
// on a new link; between those the spoke has it.
func (m *machine) desired(s *session, withRevision bool) api.Desired {
	d := api.Desired{Session: s.ID, Org: s.Org, Key: s.Key, Epoch: s.Assignment.Epoch, Release: s.Assignment.Releasing}
	if d.Release {
		return d
	}
	d.Signals = append([]api.Signal(nil), m.window(s)...)
	if withRevision {
		d.Revision = s.revision
	}
	return d
}

// attach gives a spoke's new link everything of this shard that is assigned to its cluster.
//
// A session that the spoke had and does not name any more was forgotten there with its journal: its attempts would be
// numbered from 1 again, and their events taken for repetitions. Its epoch is given up: the next one begins when the spoke
// says that nothing of this one runs.
func (m *machine) attach(o *output, cluster api.ClusterID, held map[api.SessionID]bool) {
	var all []api.Desired
	bytes, parts := 0, 0
	for _, s := range m.ordered() {
		if s.Assignment == nil || s.Assignment.Cluster != cluster {
			continue
		}
		if s.admitted && !held[s.ID] && !s.Assignment.Releasing {
			if s.Phase == api.PhaseLost {
				s.setPhase(api.PhaseStarting, "")
			}
			m.release(o, s, "the spoke lost its memory of the session")
		}
		d := m.desired(s, true)
		if bytes += desiredSize(d); len(all) > 0 && bytes > messageBytes {
			o.effect(effSend{cluster: cluster, sessions: all})
			all, bytes, parts = nil, desiredSize(d), parts+1
		}
		all = append(all, d)
	}
	// Only what is in one message is all there is.
	o.effect(effSend{cluster: cluster, full: parts == 0, sessions: all})
}

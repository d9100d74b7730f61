package hub

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// intent changes what people want of a session:
//
//	is          pause                      resume                                   terminate
//	Active      Paused(person)             unchanged                                Terminated
//	Paused      + person, or unchanged     - person, start failures; Active when    Terminated
//	                                       no reason is left, or unchanged
//	Terminated  not found                  refused: it has ended                    unchanged
//
// It is durable before it is answered. A session that is assigned is released; its signals stay.
func (m *machine) intent(o *output, now time.Time, ev evIntent) {
	r := ev.request
	s := m.sessions[r.Session]
	if s == nil || s.Org != r.Org {
		o.effect(effAnswer{to: ev.reply, err: noSession(r.Session)})
		return
	}
	if s.Intent == api.IntentTerminated && r.Change != ChangeTerminate {
		o.effect(effAnswer{to: ev.reply, err: ended(r)})
		return
	}
	before := s.Session
	var typ api.EventType
	switch r.Change {
	case ChangePause:
		typ = api.EventPaused
		s.pause(api.PausePerson)
	case ChangeResume:
		typ = api.EventResumed
		s.resume(api.PausePerson, api.PauseStartFailures)
	case ChangeTerminate:
		typ = api.EventEnd
		s.Intent, s.Pauses = api.IntentTerminated, nil
	default:
		o.effect(effAnswer{to: ev.reply, err: api.Invalid("change", "%q: want %s, %s or %s", r.Change, ChangePause, ChangeResume, ChangeTerminate)})
		return
	}
	changed := s.Intent != before.Intent || !slices.Equal(s.Pauses, before.Pauses)
	switch {
	case r.DryRun:
		answer := m.answer(s, now, changed)
		s.Session = before
		o.effect(effAnswer{to: ev.reply, answer: answer})
		return
	case changed:
		m.changed(o, s, now, r, typ, before)
	}
	o.effect(effAnswer{to: ev.reply, answer: m.answer(s, now, changed)})
}

// changed carries a new intent out.
func (m *machine) changed(o *output, s *session, now time.Time, r IntentRequest, typ api.EventType, before api.Session) {
	why := strings.TrimPrefix(string(typ), "session.") + " by " + r.By
	if r.Note != "" {
		why += ": " + r.Note
	}
	why = brief(why)
	about := map[string]string{"by": r.By}
	if r.Change != ChangeTerminate {
		about["reason"] = string(api.PausePerson)
	}
	m.report(o, s, now, api.Event{Type: typ, Text: why, Attributes: about}, nil)
	switch {
	case r.Change == ChangeTerminate:
		if k := (sessionKey{s.Org, s.Agent, s.Key}); m.keys[k] == s.ID {
			delete(m.keys, k) // the next signal for the key makes a new session
		}
		m.halt(o, s, now, why)
		if s.open() > 0 {
			o.next = append(o.next, evTend{s.ID})
		}
	case r.Change == ChangePause:
		m.halt(o, s, now, why)
	default:
		if slices.Contains(before.Pauses, api.PauseStartFailures) {
			s.StartFailures, s.starts.before = 0, 0
		}
		m.wake(o, s)
	}
}

// halt brings a session to rest that is not to run: what runs is released, what waits to be placed waits no more.
func (m *machine) halt(o *output, s *session, now time.Time, why string) {
	switch {
	case s.Assignment != nil:
		m.release(o, s, why)
		return
	case s.Phase == api.PhasePlacing:
		s.setPhase(api.PhaseDormant, why)
	default:
		s.Reason = why
	}
	m.put(o, s)
	m.bury(o, s, now)
}

// wake lets a session go on that may run again. One that is assigned still is being released: it goes on when that is over.
func (m *machine) wake(o *output, s *session) {
	if s.Assignment == nil {
		s.Reason = s.resting()
	} else if s.Phase == api.PhaseStopping {
		s.Reason = "resumed: goes on when what ran is gone"
	}
	if s.wants() && s.Phase == api.PhaseDormant {
		s.setPhase(api.PhasePlacing, "")
	}
	m.put(o, s)
	m.place(o, s)
}

// resting is why a session without an assignment rests.
func (s *session) resting() string {
	switch s.Intent {
	case api.IntentPaused:
		var why []string
		for _, r := range s.Pauses {
			why = append(why, string(r))
		}
		return "paused: " + strings.Join(why, ", ")
	case api.IntentTerminated:
		return "terminated"
	}
	return ""
}

// answer says what is, and by when it takes effect.
func (m *machine) answer(s *session, now time.Time, changed bool) IntentAnswer {
	a := IntentAnswer{Session: s.view(), Changed: changed}
	if s.Intent != api.IntentActive {
		a.EffectiveBy, a.Waits = m.effectiveBy(s, now)
	}
	return a
}

func noSession(id api.SessionID) error {
	return &api.Error{Code: api.CodeNotFound, Field: "id", Err: api.Errorf(api.CodeNotFound, "there is no session %s", id)}
}

// ended refuses what nobody can want of a session that was terminated.
func ended(r IntentRequest) error {
	if r.Change != ChangeResume {
		return noSession(r.Session)
	}
	return &api.Error{Code: api.CodeConflict, Field: "id",
		Err: fmt.Errorf("session %s was terminated and cannot be resumed: send a signal for its key, which makes a new session", r.Session)}
}

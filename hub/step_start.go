package hub

import (
	"fmt"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
)

// starts counts failed starts. A spoke knows those of the present epoch, the record has the sum.
type starts struct {
	known  bool       // before is known; it is not after a change of owner until the spoke has reported
	before uint32     // of former epochs
	ran    *revisions // what the last assignment ran; nil: unknown
}

// revisions are what an epoch runs.
type revisions struct{ agent, environment, policy uint64 }

func revisionsOf(a *api.Assignment) *revisions {
	return &revisions{a.AgentRevision, a.EnvironmentRevision, a.PolicyRevision}
}

// count takes the failed starts that a spoke reports. It only grows: what ends the row is the record of a turn that ended. With
// too many in a row the session is paused, so that it does not cost a cluster's time for ever.
func (m *machine) count(o *output, s *session, now time.Time, h api.Held) {
	if !s.starts.known {
		s.starts.known, s.starts.before = true, s.StartFailures-min(s.StartFailures, h.StartFailures)
	}
	n := s.starts.before + h.StartFailures
	if n <= s.StartFailures {
		return
	}
	s.StartFailures = n
	if n >= api.MaxStartFailures && s.Intent != api.IntentTerminated && !s.Paused(api.PauseStartFailures) {
		why := brief(fmt.Sprintf("paused: %d starts in a row failed: %s", n, h.Reason))
		s.pause(api.PauseStartFailures)
		m.report(o, s, now, api.Event{Type: api.EventPaused, Text: why, Attributes: map[string]string{"reason": string(api.PauseStartFailures)}}, nil)
		m.halt(o, s, now, why)
		return
	}
	m.put(o, s)
}

// revise asks for the present revision of a session whose starts fail: a definition that changed may be the remedy.
func (m *machine) revise(o *output, s *session) {
	if s.StartFailures == 0 || s.Intent == api.IntentTerminated || s.Assignment != nil && s.Assignment.Releasing {
		return
	}
	r := s.request()
	r.Revise = true
	o.effect(effRevise{r})
}

// revised takes the present revision. When another one failed to start, it is tried at once: the pause for failed starts ends,
// and an epoch with the former revision is given up.
func (m *machine) revised(o *output, now time.Time, ev evRevised) {
	s := m.sessions[ev.session]
	if s == nil || ev.err != nil || s.StartFailures == 0 || s.Intent == api.IntentTerminated {
		return
	}
	is := revisions{ev.revision.AgentRevision, ev.revision.EnvironmentRevision, ev.revision.PolicyRevision}
	ran := s.starts.ran
	if s.Assignment != nil {
		ran = revisionsOf(s.Assignment)
	}
	if ran == nil { // a former owner knew: what changes from now on counts
		s.starts.ran = &is
	}
	if ran == nil || *ran == is || s.Assignment != nil && s.Assignment.Releasing {
		return
	}
	s.StartFailures, s.starts.before = 0, 0
	if s.Paused(api.PauseStartFailures) {
		s.resume(api.PauseStartFailures)
		m.report(o, s, now, api.Event{Type: api.EventResumed, Text: "the definition changed", Attributes: map[string]string{"reason": string(api.PauseStartFailures)}}, nil)
	}
	if s.Assignment != nil {
		m.release(o, s, "the definition changed")
		return
	}
	m.wake(o, s)
}

// pause adds a reason.
func (s *session) pause(r api.PauseReason) {
	if s.Paused(r) {
		return
	}
	s.Pauses = append(slices.Clone(s.Pauses), r)
	slices.Sort(s.Pauses)
	s.Intent = api.IntentPaused
}

// resume takes reasons away.
func (s *session) resume(of ...api.PauseReason) {
	s.Pauses = slices.DeleteFunc(slices.Clone(s.Pauses), func(r api.PauseReason) bool { return slices.Contains(of, r) })
	if len(s.Pauses) == 0 {
		s.Pauses, s.Intent = nil, api.IntentActive
	}
}

package hub

import (
	"time"

	"github.com/nave-dev/nave/api"
)

// held takes what a spoke reports of a session. It is believed about its own assignment in the present epoch only.
//
//	reported   assignment wanted                            being released
//	Admitted   Running becomes Starting                     nothing
//	Running    Starting becomes Running                     nothing
//	Idle       Running; released if nothing is left to do   nothing
//	Refused    ends if nothing runs, else released          nothing
//	Lapsed     released                                     nothing
//	Gone       ends when the archive has all events         the same
//
// A report of a lost cluster's session ends its being lost: Lost becomes Starting, or Stopping if it is being released.
func (m *machine) held(o *output, now time.Time, ev evHeld) {
	cluster, h := ev.cluster, ev.held
	s := m.sessions[h.Session]
	if !s.at(cluster, h.Epoch) {
		m.strange(o, s, cluster, h, ev.ended)
		return
	}
	if s.idle = nil; h.State != api.HeldRefused && h.State != api.HeldGone {
		s.admitted, s.refused, s.refusals = true, nil, 0
	}
	s.heard()
	m.count(o, s, now, h)
	if h.State == api.HeldGone {
		m.gone(o, s, now, h)
		return
	}
	if s.Assignment.Releasing {
		return
	}
	switch h.State {
	case api.HeldAdmitted:
		s.setPhase(api.PhaseStarting, h.Reason)
	case api.HeldRunning:
		s.setPhase(api.PhaseRunning, "")
	case api.HeldIdle:
		s.setPhase(api.PhaseRunning, "")
		m.idle(o, s, h)
	case api.HeldRefused:
		m.refusal(o, s, now, cluster, h.Reason)
	case api.HeldLapsed:
		m.release(o, s, "its right to act ended: "+h.Reason)
	}
}

// strange answers a report that is not believed. Who runs an epoch that is over is told to stop it: that epoch is named by the
// owner who issued the next one, or who ended it. Of a session that is not known nothing is said: absence stops nothing.
func (m *machine) strange(o *output, s *session, cluster api.ClusterID, h api.Held, ended api.OrgID) {
	o.effect(effStale{cluster, h.Session, h.Epoch})
	if h.State == api.HeldGone || h.State == api.HeldRefused {
		return
	}
	if s == nil {
		if ended != "" { // of one that nobody knows nothing is said: absence is not evidence
			o.effect(effSend{cluster: cluster, sessions: []api.Desired{{Session: h.Session, Org: ended, Epoch: h.Epoch, Release: true}}})
		}
		return
	}
	if c := h.Epoch.Compare(s.Epoch); c < 0 || c == 0 && s.Assignment == nil {
		o.effect(effSend{cluster: cluster, sessions: []api.Desired{{Session: s.ID, Org: s.Org, Key: s.Key, Epoch: h.Epoch, Release: true}}})
	}
}

// heard ends being lost.
func (s *session) heard() {
	if s.Phase != api.PhaseLost {
		return
	}
	if s.Assignment.Releasing {
		s.setPhase(api.PhaseStopping, s.Reason)
	} else {
		s.setPhase(api.PhaseStarting, "")
	}
}

// idle grants sleep if no signal is unsettled. One that the spoke has not seen is on its way there: it will be idle again after
// it. It is decided when the archive has all that came before the report: the spoke says it once.
//
// If a signal is left then that the spoke has seen, spoke and hub do not agree about what was consumed. The spoke would wait for ever: the epoch is
// given up, and the next one gets the signal again.
func (m *machine) idle(o *output, s *session, h api.Held) {
	switch n := len(s.pending); {
	case n == 0:
		m.release(o, s, "idle")
	case s.pending[n-1].Sequence > h.Seen:
	case !s.caughtUp(h) || h.Number == 0:
		s.idle = &h
	default:
		m.release(o, s, "idle with unsettled signals: they are delivered again")
	}
}

// release asks the spoke to stop the session. The assignment ends when it says that nothing is left. While the cluster is not
// heard the phase stays Lost: the spoke is told when it returns.
func (m *machine) release(o *output, s *session, why string) {
	a := *s.Assignment
	a.Releasing = true
	m.assign(s, &a)
	if s.Phase == api.PhaseLost {
		s.Reason = brief(why + "; waits for its cluster, which is not heard")
	} else {
		s.setPhase(api.PhaseStopping, why)
	}
	m.put(o, s)
	m.send(o, s)
}

// gone ends an assignment: nothing runs under its epoch any more and nothing will. It waits until the archive has the epoch's
// events: after that nothing of it would be taken. Until then it is being released, so that nobody hands the epoch out again to
// a spoke that has forgotten it.
func (m *machine) gone(o *output, s *session, now time.Time, h api.Held) {
	s.gone = nil
	if !s.caughtUp(h) {
		if s.gone = &h; !s.Assignment.Releasing {
			m.release(o, s, "given up by the spoke")
		}
		return
	}
	if s.Phase != api.PhaseStopping { // not released: the spoke gave the epoch up by itself
		s.setPhase(api.PhaseStopping, "given up by the spoke")
	}
	m.over(o, s, now)
}

// over ends an assignment under which nobody acts any more. The next epoch may be placed anywhere.
func (m *machine) over(o *output, s *session, now time.Time) {
	why := s.Reason
	s.LastCluster, s.starts.ran = s.Assignment.Cluster, revisionsOf(s.Assignment)
	m.assign(s, nil)
	s.revision, s.gone = nil, nil
	s.setPhase(api.PhaseDormant, s.resting())
	m.report(o, s, now, api.Event{Type: api.EventSlept, Text: why, Attributes: map[string]string{"cluster": string(s.LastCluster)}}, nil)
	if s.wants() {
		s.setPhase(api.PhasePlacing, "")
	}
	m.put(o, s)
	m.place(o, s)
	m.bury(o, s, now)
}

package hub

import (
	"cmp"
	"fmt"
	"time"

	"github.com/nave-dev/nave/api"
)

// stillness is for how long a cluster's lease was gone when that was last told.
type stillness struct {
	gone time.Duration
	told time.Time
}

// defaultStopAfter is that of assignments which were written before they named it.
const defaultStopAfter = time.Minute

func stopAfter(a *api.Assignment) time.Duration { return cmp.Or(a.StopAfter, defaultStopAfter) }

// fenceAfter is how long a cluster's lease must be gone until every epoch there with a stop_after has lapsed for sure: the
// store ends a lease no earlier than its length after the renewal that answered the spoke's last heartbeat, from whose
// sending the spoke counts. 1 s and 5 % are the margin for clocks that do not go alike.
func fenceAfter(stop, lease time.Duration) time.Duration {
	return max(0, stop-lease) + time.Second + stop/20
}

// silence marks the sessions of a cluster whose lease is gone, and ends what may end without it: the tombstones of terminated
// sessions whose epoch has lapsed for sure, and everything when another spoke takes the cluster over. All others wait for their cluster: where it is heard again, its reports say what
// is.
func (m *machine) silence(o *output, now time.Time, ev evSilent) {
	if len(m.assigned[ev.cluster]) == 0 {
		return
	}
	m.silent[ev.cluster] = stillness{ev.gone, now}
	for _, s := range inOrder(m.assigned[ev.cluster]) {
		if ev.forget {
			s.setPhase(api.PhaseStopping, "another spoke takes cluster "+ev.name+" over")
			m.gone(o, s, now, api.Held{Session: s.ID, Epoch: s.Epoch, State: api.HeldGone})
			continue
		}
		if s.Phase != api.PhaseLost {
			m.lose(o, s, now, ev.name)
		}
		stop := stopAfter(s.Assignment)
		if s.Intent == api.IntentTerminated && stop != api.StopNever && ev.gone >= fenceAfter(stop, m.limits.Lease) && s.allSettled() {
			s.setPhase(api.PhaseStopping, "its cluster is not heard, and its right to act there has ended")
			o.each(func(o *output) { m.over(o, s, now) })
		}
	}
}

// audible ends the silence of a cluster that is heard again; its reports say more.
func (m *machine) audible(ev evHealth) {
	if ev.health != api.HealthLive {
		return
	}
	delete(m.silent, ev.cluster)
	for _, s := range inOrder(m.assigned[ev.cluster]) {
		s.heard()
	}
}

// lose marks one session. Record and event stand together; those of many sessions need not be one transaction.
func (m *machine) lose(o *output, s *session, now time.Time, name string) {
	reason := fmt.Sprintf("cluster %s is not heard: waits for it; the agent there stops by itself within %s", name, stopAfter(s.Assignment))
	if s.Assignment.StopAfter == api.StopNever {
		reason = fmt.Sprintf("cluster %s is not heard: waits for it; the agent there goes on by itself (stop_after is never)", name)
	}
	if s.Assignment.Releasing {
		reason = s.Reason + "; " + reason
	}
	s.idle = nil
	s.setPhase(api.PhaseLost, reason)
	item := m.word(s, now, api.Event{Type: api.EventLost, Text: s.Reason, Attributes: map[string]string{"cluster": string(s.Assignment.Cluster)}}, nil)
	rec := s.Session
	o.aside(s.Org, Mutation{PutSession: &rec}, Mutation{PutOutbox: &item})
}

// effectiveBy is when nobody acts for a session any more though its cluster is not heard; zero when it is heard. It never
// happens by itself where stop_after is never.
func (m *machine) effectiveBy(s *session, now time.Time) (by time.Time, waits bool) {
	if s.Assignment == nil || s.Phase != api.PhaseLost {
		return time.Time{}, false
	}
	stop := stopAfter(s.Assignment)
	if stop == api.StopNever {
		return time.Time{}, true
	}
	left := fenceAfter(stop, m.limits.Lease)
	if still, ok := m.silent[s.Assignment.Cluster]; ok {
		left -= still.gone + now.Sub(still.told)
	}
	return now.Add(max(0, left)), false
}

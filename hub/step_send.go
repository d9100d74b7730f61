package hub

import (
	"iter"
	"maps"
	"slices"

	"github.com/nave-dev/nave/api"
)

// window is the part of the pending signals that a spoke gets: the first ones that no turn has consumed, bounded in number and
// bytes, never none.
func (m *machine) window(s *session) []api.Signal {
	var out []api.Signal
	for sig := range m.windowed(s) {
		out = append(out, *sig)
	}
	return out
}

func (m *machine) windowed(s *session) iter.Seq[*api.Signal] {
	return func(yield func(*api.Signal) bool) {
		n, bytes := 0, 0
		for _, sig := range s.pending {
			if s.consumed(sig) {
				continue
			}
			bytes += payloadSize(sig)
			if n == m.limits.Window || n > 0 && bytes > m.limits.WindowBytes || !yield(sig) {
				return
			}
			n++
		}
	}
}

// payloadSize is the bytes that a signal's payload takes on a link.
func payloadSize(s *api.Signal) int {
	if s.PayloadRef != "" {
		return api.MaxPayload
	}
	return len(s.Payload)
}

// inWindow reports whether a pending signal is among those that a spoke gets now.
func (m *machine) inWindow(s *session, sequence uint64) bool {
	for sig := range m.windowed(s) {
		if sig.Sequence >= sequence {
			return true
		}
	}
	return false
}

// send tells the assigned spoke what is wanted of it for this session.
func (m *machine) send(o *output, s *session) {
	if s.Assignment != nil {
		o.effect(effSend{cluster: s.Assignment.Cluster, sessions: []api.Desired{m.desired(s, false)}})
	}
}

// hand tells the assigned spoke which signals are handed out now; one that is to release the session gets none.
func (m *machine) hand(o *output, s *session) {
	if s.takes() {
		m.send(o, s)
	}
}

// takes reports whether a spoke has the session and is to go on with it.
func (s *session) takes() bool { return s.Assignment != nil && !s.Assignment.Releasing }

// desired is the session as its spoke is to have it. The revision goes with an epoch's first message and with everything
// on a new link; between those the spoke has it.
func (m *machine) desired(s *session, withRevision bool) api.Desired {
	d := api.Desired{Session: s.ID, Org: s.Org, Key: s.Key, Epoch: s.Assignment.Epoch, Release: s.Assignment.Releasing}
	if d.Release {
		return d
	}
	d.Signals, d.Checkpoint = m.window(s), s.Assignment.Checkpoint
	d.Cancelled, d.Answers = s.Cancelled, s.answers()
	if withRevision {
		d.Revision = s.revision
	}
	return d
}

// attach gives a spoke's new link everything of this shard that is assigned to its cluster.
//
// A session that the spoke does not remember as this shard does was forgotten there with its journal: its attempts and events
// would be numbered anew, and taken for repetitions. Its epoch is given up: the next one begins when the spoke says that
// nothing of this one runs. When it is the spoke who knows more, this replica is stale, or its store was set back: then nothing
// that it says may be heard.
func (m *machine) attach(o *output, ev evAttach) {
	if seen := ev.positions[m.shard]; seen.Compare(m.head) > 0 {
		o.effect(effBehind{ev.cluster, seen})
		return
	}
	delete(m.silent, ev.cluster)
	for _, s := range inOrder(m.assigned[ev.cluster]) {
		held, named := ev.held[s.ID]
		if !s.Assignment.Releasing && s.forgotten(held, named) {
			s.heard()
			o.each(func(o *output) { m.release(o, s, "the spoke lost its memory of the session") })
		}
	}
	m.everything(o, ev.cluster)
	for _, id := range slices.Sorted(maps.Keys(ev.held)) { // behind that, since a new link lets nothing through before it
		s, held := m.sessions[id], ev.held[id]
		if shard, err := id.Shard(); err == nil && shard == m.shard && !s.at(ev.cluster, held.Epoch) {
			m.strange(o, s, ev.cluster, held, ev.ended[id])
		}
	}
}

// forgotten reports that a spoke does not remember of a session what this shard has taken of it.
//
//	the spoke names          forgotten
//	nothing                  if it may have had something of the epoch
//	a former epoch           if it may have had something of the present one
//	a former attempt         if events of a later one were taken
//	the last attempt         if its last event is before the last that was taken
func (s *session) forgotten(h api.Held, named bool) bool {
	if !named || h.Epoch.Compare(s.Assignment.Epoch) < 0 {
		return s.admitted
	}
	for src, n := range s.log.taken {
		if src.Epoch == s.Assignment.Epoch && (src.Attempt > h.Attempt || src.Attempt == h.Attempt && n > h.Number) {
			return true
		}
	}
	return false
}

// everything sends all that is assigned to a cluster.
func (m *machine) everything(o *output, cluster api.ClusterID) {
	var all []api.Desired
	bytes, parts := 0, 0
	for _, s := range inOrder(m.assigned[cluster]) {
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

package hub

import (
	"cmp"
	"time"

	"github.com/nave-dev/nave/api"
)

// Stand-ins for events that the shard's machine defines; this file goes away with them.

type (
	evResync struct{ cluster api.ClusterID }
	evFence  struct {
		cluster api.ClusterID
		gone    time.Duration
		forget  bool // whatever was assigned there is over: as if the spoke had said Gone
	}
)

func (evResync) isEvent() {}
func (evFence) isEvent()  {}

func (m *machine) attachHeld(o *output, cluster api.ClusterID, held map[api.SessionID]api.Held) {
	have := map[api.SessionID]bool{}
	for id := range held {
		have[id] = true
	}
	m.attach(o, cluster, have)
}

func (m *machine) resync(o *output, cluster api.ClusterID) {
	have := map[api.SessionID]bool{}
	for id := range m.sessions {
		have[id] = true
	}
	m.attach(o, cluster, have)
}

func (m *machine) fence(o *output, now time.Time, ev evFence) {
	for _, s := range m.ordered() {
		if ev.forget && s.Assignment != nil && s.Assignment.Cluster == ev.cluster {
			m.gone(o, s, now)
		}
	}
}

func stopAfter(a *api.Assignment) time.Duration { return cmp.Or(a.StopAfter, time.Minute) }

// fenceAfter is how long a cluster's lease must be gone until every epoch there with a stop_after has lapsed for sure.
func fenceAfter(stop, lease time.Duration) time.Duration {
	return max(0, stop-lease) + time.Second + stop/20
}

func attached(c api.ClusterID, hello api.Hello) evAttach {
	ev := evAttach{cluster: c, held: make(map[api.SessionID]api.Held, len(hello.Held)), positions: make(map[api.Shard]api.Head, len(hello.Positions))}
	for _, s := range hello.Held {
		ev.held[s.Session] = s
	}
	for _, p := range hello.Positions {
		ev.positions[p.Shard] = p.Head
	}
	return ev
}

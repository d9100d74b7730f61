package hub

import "github.com/nave-dev/nave/api"

// attached is the event of a spoke's new link.
func attached(cluster api.ClusterID, hello api.Hello) evAttach {
	ev := evAttach{cluster: cluster, held: make(map[api.SessionID]api.Held, len(hello.Held)), positions: make(map[api.Shard]api.Head, len(hello.Positions))}
	for _, h := range hello.Held {
		ev.held[h.Session] = h
	}
	for _, p := range hello.Positions {
		ev.positions[p.Shard] = p.Head
	}
	return ev
}

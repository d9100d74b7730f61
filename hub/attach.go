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

// evHello is what a hello says to one shard: what the spoke has of it, and behind that the new link. The loop takes it apart.
type evHello struct {
	cluster api.ClusterID
	hello   api.Hello // of the shard alone
}

func (evHello) isEvent() {}

// spread adds what the hello consists of.
func (ev evHello) spread(events []event) []event {
	for _, h := range ev.hello.Held {
		events = append(events, evHeld{cluster: ev.cluster, held: h})
	}
	return append(events, attached(ev.cluster, ev.hello))
}

// hellos are what a hello says to each shard.
func hellos(cluster api.ClusterID, hello api.Hello) ([]evHello, error) {
	out := make([]evHello, api.Shards)
	for i := range out {
		out[i].cluster = cluster
	}
	for _, h := range hello.Held {
		shard, err := h.Session.Shard()
		if err != nil {
			return nil, api.Invalid("held.session", "%v", err)
		}
		of := &out[shard].hello
		of.Held = append(of.Held, h)
	}
	for _, p := range hello.Positions {
		of := &out[p.Shard].hello
		of.Positions = append(of.Positions, p)
	}
	return out, nil
}

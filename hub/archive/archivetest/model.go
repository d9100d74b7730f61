package archivetest

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// history is an archive in memory.
type history struct {
	owners map[api.Shard]api.Generation
	logs   map[api.SessionID][]api.Event
	last   map[api.SessionID]map[api.Source]uint64
}

// testModel appends random runs of events of several shards, with repeats, former owners and gaps among them, and
// compares logs and positions with the model after each call.
func testModel(t *testing.T, db Database) {
	ctx, shards := t.Context(), []api.Shard{0, 17, 255}
	sources := []api.Source{api.HubSource, spoke, {Epoch: api.Epoch{Incarnation: 1, N: 4}, Attempt: 1}}
	a := db.Open(t)
	m := history{owners: map[api.Shard]api.Generation{}, logs: map[api.SessionID][]api.Event{}, last: map[api.SessionID]map[api.Source]uint64{}}
	raise := func(fail func(string, ...any), s api.Shard) {
		g := api.Generation{Incarnation: 1, N: m.owners[s].N + 1}
		if err := a.Raise(ctx, s, g); err != nil {
			fail("Raise: %v", err)
		}
		m.owners[s] = g
	}
	for _, s := range shards {
		raise(t.Fatalf, s)
	}
	rapid.Check(t, func(rt *rapid.T) {
		if rapid.IntRange(0, 19).Draw(rt, "reopen") == 0 {
			a = db.Open(t)
		}
		for range rapid.IntRange(1, 5).Draw(rt, "calls") {
			var (
				appends []hub.Append
				stale   []int
				gap     bool
				logs    = map[api.SessionID][]api.Event{}
				last    = map[api.SessionID]map[api.Source]uint64{}
				touch   = func(s api.SessionID) {
					if last[s] == nil {
						logs[s] = append([]api.Event(nil), m.logs[s]...)
						last[s] = map[api.Source]uint64{}
						for k, v := range m.last[s] {
							last[s][k] = v
						}
					}
				}
			)
			for i := range rapid.IntRange(1, 4).Draw(rt, "appends") {
				sh := rapid.SampledFrom(shards).Draw(rt, "shard")
				if rapid.IntRange(0, 14).Draw(rt, "raise") == 0 && i == 0 {
					raise(rt.Fatalf, sh)
				}
				s := session(sh, rapid.IntRange(0, 2).Draw(rt, "session"))
				touch(s)
				ap := of(sh, m.owners[sh])
				if rapid.IntRange(0, 14).Draw(rt, "stale") == 0 {
					ap.Generation.N--
					stale = append(stale, i)
				}
				from := len(logs[s])
				if back := rapid.IntRange(0, 3).Draw(rt, "repeat"); back < from {
					from -= back
				}
				ap.Events = append(ap.Events, logs[s][from:]...)
				for range rapid.IntRange(0, 6).Draw(rt, "new") {
					source := rapid.SampledFrom(sources).Draw(rt, "source")
					e := event(s, uint64(len(logs[s])+1), source, last[s][source]+1)
					e.Text = rapid.String().Draw(rt, "text")
					if rapid.IntRange(0, 49).Draw(rt, "gap") == 0 {
						gap = true
						e.SourceNumber++
					}
					ap.Events = append(ap.Events, e)
					logs[s] = append(logs[s], e)
					last[s][source] = e.SourceNumber
				}
				appends = append(appends, ap)
			}
			err := a.Append(ctx, appends)
			switch {
			case len(stale) > 0:
				wantStale(rt, "a former owner", err, stale...)
			case gap:
				wantCode(rt, "a gap", err, api.CodeInternal)
			default:
				must(rt, "Append", err)
				for s := range logs {
					m.logs[s], m.last[s] = logs[s], last[s]
				}
			}
		}
		for _, sh := range shards {
			want := map[api.SessionID]hub.LogPosition{}
			for n := range 3 {
				s := session(sh, n)
				wantEvents(rt, a, s, m.logs[s])
				if len(m.logs[s]) > 0 {
					want[s] = hub.LogPosition{Number: uint64(len(m.logs[s])), Sources: m.last[s]}
				}
			}
			got, err := a.Positions(ctx, sh)
			must(rt, "Positions", err)
			wantSame(rt, "positions", got, want)
		}
	})
}

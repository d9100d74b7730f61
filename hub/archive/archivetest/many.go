package archivetest

import (
	"testing"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// kept is what an event has beside its text.
type kept int

const (
	keepsNothing kept = iota
	keepsSignals
	keepsOutcome
	keepsAttributes
	keepsAll
)

// testManyAtOnce appends as many events in one call as fill wide statements, one more and one less: runs of one source with
// nothing but a text, one event each of many sessions, and sources by turns.
func testManyAtOnce(t *testing.T, db Database) {
	ctx := t.Context()
	a := raised(t, db)
	logs := map[api.SessionID][]api.Event{}
	last := map[api.SessionID]map[api.Source]uint64{}
	next := func(s api.SessionID, source api.Source, keeps kept) api.Event {
		if last[s] == nil {
			last[s] = map[api.Source]uint64{}
		}
		last[s][source]++
		e := event(s, uint64(len(logs[s])+1), source, last[s][source])
		if keeps != keepsAll && keeps != keepsSignals {
			e.Signals = nil
		}
		if keeps != keepsAll && keeps != keepsOutcome {
			e.Outcome = ""
		}
		if keeps != keepsAll && keeps != keepsAttributes {
			e.Attributes = nil
		}
		logs[s] = append(logs[s], e)
		return e
	}
	some := map[bool]kept{true: keepsNothing, false: keepsAll}
	one := session(shard, 1)
	for _, n := range []int{1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 130, 300} {
		ap := of(shard, first)
		for range n {
			ap.Events = append(ap.Events, next(one, spoke, keepsNothing))
		}
		for i := range n { // one of a run that has more than a text, of each kind
			keeps := keepsNothing
			if i%11 == 7 {
				keeps = []kept{keepsSignals, keepsOutcome, keepsAttributes}[i/11%3]
			}
			ap.Events = append(ap.Events, next(one, spoke, keeps))
		}
		for i := range n {
			ap.Events = append(ap.Events, next(session(shard, 2+i%90), api.HubSource, some[i%70 == 0]))
		}
		for i := range n {
			e := next(one, []api.Source{spoke, attempt(7), api.HubSource}[i/5%3], some[i%5 > 0])
			ap.Events = append(ap.Events, e)
		}
		must(t, "Append", a.Append(ctx, []hub.Append{ap}))
		if n <= 17 {
			must(t, "the same again", a.Append(ctx, []hub.Append{ap}))
		}
	}
	want := map[api.SessionID]hub.LogPosition{}
	for s, events := range logs {
		wantEvents(t, a, s, events)
		want[s] = hub.LogPosition{Number: uint64(len(events)), Sources: last[s]}
	}
	got, err := a.Positions(ctx, shard)
	must(t, "Positions", err)
	wantSame(t, "positions", got, want)
}

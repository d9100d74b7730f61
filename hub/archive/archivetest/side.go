package archivetest

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

// attempt is the n-th source of epoch 3.
func attempt(n uint32) api.Source {
	return api.Source{Epoch: api.Epoch{Incarnation: 1, N: 3}, Attempt: n}
}

// late is a run of events of a source as a spoke sends them.
func late(s api.SessionID, source api.Source, from uint64, n int) api.EventBatch {
	b := api.EventBatch{Session: s, Source: source}
	for _, e := range sequence(s, from, source, from, n) {
		e.Number = 0
		b.Events = append(b.Events, e)
	}
	return b
}

func arrived(b api.EventBatch, at time.Time) []hub.SideEvent {
	var out []hub.SideEvent
	for _, e := range b.Events {
		out = append(out, hub.SideEvent{Event: e, ReceivedAt: at})
	}
	return out
}

func testBranches(t *testing.T, db Database) {
	ctx, s := t.Context(), session(shard, 1)
	a := raised(t, db)
	waiting := decision(s, 2)
	waiting.Cluster, waiting.Candidates = "", nil // nothing fitted in that epoch
	ap := of(shard, first, sequence(s, 1, attempt(1), 1, 4)...)
	ap.Decisions = []api.Decision{decision(s, 3), decision(s, 4), waiting, decision(session(shard, 2), 5)}
	ap.Decisions[1].Cluster = "other"
	must(t, "Append", a.Append(ctx, []hub.Append{ap}))
	must(t, "AppendSide", a.AppendSide(ctx, org, late(s, attempt(2), 1, 6), "c", began))
	for range 2 {
		for _, tt := range []struct {
			source api.Source
			want   hub.Branch
		}{
			{attempt(1), hub.Branch{Org: org, Cluster: "c", Log: 4}},
			{attempt(2), hub.Branch{Org: org, Cluster: "c", Side: 6}},
			{attempt(3), hub.Branch{Org: org, Cluster: "c"}},
			{api.Source{Epoch: api.Epoch{Incarnation: 1, N: 4}, Attempt: 1}, hub.Branch{Org: org, Cluster: "other"}},
		} {
			got, err := a.Branch(ctx, s, tt.source)
			must(t, "Branch", err)
			wantSame(t, fmt.Sprint("branch of ", tt.source), got, tt.want)
		}
		for what, ask := range map[string]struct {
			session api.SessionID
			epoch   api.Epoch
		}{
			"an epoch that was never placed":   {s, api.Epoch{Incarnation: 1, N: 2}},
			"an epoch that never was":          {s, api.Epoch{Incarnation: 1, N: 5}},
			"another incarnation":              {s, api.Epoch{Incarnation: 2, N: 3}},
			"another session":                  {session(shard, 3), api.Epoch{Incarnation: 1, N: 3}},
			"what is no session":               {"x", api.Epoch{Incarnation: 1, N: 3}},
			"an epoch that SQL cannot count":   {s, api.Epoch{Incarnation: 1, N: math.MaxUint64}},
			"the hub's own source, epoch zero": {s, api.Epoch{}},
		} {
			_, err := a.Branch(ctx, ask.session, api.Source{Epoch: ask.epoch, Attempt: 1})
			wantCode(t, what, err, api.CodeNotFound)
		}
		a = db.Open(t)
	}
}

func testSide(t *testing.T, db Database) {
	ctx, s := t.Context(), session(shard, 1)
	a := raised(t, db)
	later := began.Add(time.Hour)
	one, more, other := late(s, attempt(1), 1, 3), late(s, attempt(1), 2, 5), late(s, attempt(2), 1, 2)
	one.Events[1].Text, one.Events[1].Time = "\x00 \xff", time.Time{}
	must(t, "nothing", a.AppendSide(ctx, org, api.EventBatch{Session: s}, "c", began))
	must(t, "AppendSide", a.AppendSide(ctx, org, one, "c", began))
	must(t, "another source", a.AppendSide(ctx, org, other, "c", began))
	must(t, "the same and more", a.AppendSide(ctx, org, more, "c", later))
	must(t, "the same again", a.AppendSide(ctx, org, one, "c", later))
	must(t, "another session", a.AppendSide(ctx, org, late(session(shard, 2), attempt(1), 1, 1), "c", later))
	must(t, "another organization", a.AppendSide(ctx, "other", late(session(shard, 3), attempt(1), 1, 1), "c", later))

	rest := more
	rest.Events = more.Events[2:]
	want := append(append(arrived(one, began), arrived(other, began)...), arrived(rest, later)...)
	for range 2 {
		got, end, err := a.Side(ctx, org, s, 0, 100)
		must(t, "Side", err)
		wantSame(t, "side branches", got, want)
		var paged []hub.SideEvent
		at := uint64(0)
		for {
			page, next, err := a.Side(ctx, org, s, at, 3)
			must(t, "Side", err)
			paged, at = append(paged, page...), next
			if len(page) < 3 {
				break
			}
		}
		wantSame(t, "side branches in pages", paged, want)
		if at != end {
			t.Errorf("the pages end at %d and the list at %d", at, end)
		}
		for what, after := range map[string]uint64{"behind the last": end, "behind what SQL can count": math.MaxUint64} {
			none, still, err := a.Side(ctx, org, s, after, 9)
			must(t, "Side", err)
			if len(none) != 0 || still != after {
				t.Errorf("%s = %v, %d; want nothing, and the same position", what, none, still)
			}
		}
		foreign, _, err := a.Side(ctx, "other", s, 0, 9)
		must(t, "Side", err)
		if len(foreign) != 0 {
			t.Errorf("another organization sees %v", foreign)
		}
		a = db.Open(t)
	}
	for what, b := range map[string]api.EventBatch{"a gap": late(s, attempt(1), 8, 2), "a gap in the batch": late(s, attempt(2), 3, 3), "a source that begins at 2": late(s, attempt(9), 2, 1)} {
		if what == "a gap in the batch" {
			b.Events = append(b.Events[:1], b.Events[2:]...)
		}
		wantCode(t, what, a.AppendSide(ctx, org, b, "c", later), api.CodeConflict)
	}
	wantCode(t, "what is no session", a.AppendSide(ctx, org, late("x", attempt(1), 1, 1), "c", later), api.CodeInvalid)
	got, _, err := a.Side(ctx, org, s, 0, 100)
	must(t, "Side", err)
	wantSame(t, "side branches after refusals", got, want)
	wantEvents(t, a, s, nil)
}

// testSideAtOnce lets the same events arrive several times at once, among others: each is there once, and a reader that goes
// on from its position sees every one.
func testSideAtOnce(t *testing.T, db Database) {
	const sources, batches, each = 3, 15, 4
	s := session(shard, 1)
	a := raised(t, db)
	g := run.NewGroup(t.Context())
	for n := range uint32(sources) {
		for range 2 {
			g.Go("spoke", func(ctx context.Context) error {
				for i := range uint64(batches) {
					if err := a.AppendSide(ctx, org, late(s, attempt(n+1), i*each+1, each), "c", began); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	var seen []hub.SideEvent
	g.Go("reader", func(ctx context.Context) error {
		for at := uint64(0); len(seen) < sources*batches*each; {
			page, next, err := a.Side(ctx, org, s, at, 7)
			if err != nil {
				return err
			}
			seen, at = append(seen, page...), next
		}
		return nil
	})
	must(t, "spokes and reader", g.Wait())
	last := map[api.Source]uint64{}
	for _, e := range seen {
		if e.Event.SourceNumber != last[e.Event.Source]+1 {
			t.Fatalf("event %d of source %v after %d", e.Event.SourceNumber, e.Event.Source, last[e.Event.Source])
		}
		last[e.Event.Source]++
	}
	all, _, err := a.Side(t.Context(), org, s, 0, 10_000)
	must(t, "Side", err)
	wantSame(t, "what the reader saw", seen, all)
}

// testSideBesideLog sends events of a source of which the log has the beginning: the side branch has only the rest.
func testSideBesideLog(t *testing.T, db Database) {
	ctx, s := t.Context(), session(shard, 1)
	a := raised(t, db)
	log := sequence(s, 1, attempt(1), 1, 3)
	must(t, "Append", a.Append(ctx, []hub.Append{of(shard, first, log...)}))
	all := late(s, attempt(1), 1, 5)
	must(t, "AppendSide", a.AppendSide(ctx, org, all, "c", began))
	got, _, err := a.Side(ctx, org, s, 0, 10)
	must(t, "Side", err)
	rest := all
	rest.Events = all.Events[3:]
	wantSame(t, "side branch", got, arrived(rest, began))
	wantEvents(t, a, s, log)
	p, err := a.Positions(ctx, shard)
	must(t, "Positions", err)
	wantSame(t, "positions", p, map[api.SessionID]hub.LogPosition{s: {Number: 3, Sources: map[api.Source]uint64{attempt(1): 3}}})
}

package archivetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

func testEvents(t *testing.T, db Database) {
	ctx, s := t.Context(), session(shard, 1)
	a := raised(t, db)
	all := slices.Concat(sequence(s, 1, api.HubSource, 1, 2), sequence(s, 3, spoke, 1, 3), sequence(s, 6, api.HubSource, 3, 1))
	all[2].Time, all[3].Signals, all[3].Attributes, all[3].Text = time.Time{}, nil, nil, ""
	must(t, "Append", a.Append(ctx, []hub.Append{of(shard, first, all[:3]...)}))
	must(t, "Append", a.Append(ctx, []hub.Append{of(shard, first, all[3:5]...), of(shard, first, all[5])}))
	for _, tt := range []struct {
		from  uint64
		limit int
		want  []api.Event
	}{{0, 100, all}, {1, 100, all}, {1, 2, all[:2]}, {4, 2, all[3:5]}, {6, 9, all[5:]}, {7, 9, nil}, {1, 0, nil}, {1 << 63, 1, nil}} {
		got, err := a.Events(ctx, org, s, tt.from, tt.limit)
		must(t, "Events", err)
		wantSame(t, fmt.Sprintf("Events(%d, %d)", tt.from, tt.limit), got, tt.want)
	}
	wantEvents(t, a, session(shard, 2), nil)
	a = db.Open(t)
	wantEvents(t, a, s, all)
}

func testDensity(t *testing.T, db Database) {
	s, other := session(shard, 1), session(shard, 2)
	a := raised(t, db)
	is := sequence(s, 1, spoke, 1, 2)
	must(t, "Append", a.Append(t.Context(), []hub.Append{of(shard, first, is...)}))
	for what, e := range map[string]api.Event{
		"a gap in the log":                 event(s, 4, spoke, 3),
		"a gap in the source":              event(s, 3, spoke, 4),
		"a source number again":            event(s, 3, spoke, 2),
		"a log that begins at 2":           event(other, 2, spoke, 1),
		"a source that begins at 2":        event(s, 3, api.HubSource, 2),
		"number 0":                         event(s, 0, spoke, 3),
		"a session of another shard":       event(session(3, 1), 1, spoke, 1),
		"a session without an id":          event("", 1, spoke, 1),
		"a number that SQL does not have":  event(s, 1<<63, spoke, 3),
		"a source number that SQL has not": event(s, 3, spoke, 1<<63),
	} {
		good := event(other, 1, spoke, 1)
		wantCode(t, what, a.Append(t.Context(), []hub.Append{of(shard, first, good, e)}), api.CodeInternal)
		wantEvents(t, a, s, is)
		wantEvents(t, a, other, nil)
	}
	must(t, "what continues", a.Append(t.Context(), []hub.Append{of(shard, first, event(s, 3, spoke, 3))}))
}

func testRepeats(t *testing.T, db Database) {
	s := session(shard, 1)
	a := raised(t, db)
	all := sequence(s, 1, spoke, 1, 6)
	for _, r := range [][2]int{{0, 4}, {0, 4}, {2, 5}, {0, 6}, {1, 2}} {
		must(t, fmt.Sprint("events ", r), a.Append(t.Context(), []hub.Append{of(shard, first, all[r[0]:r[1]]...)}))
	}
	must(t, "the same twice in a call", a.Append(t.Context(), []hub.Append{of(shard, first, all...), of(shard, first, all[3:]...)}))
	wantEvents(t, a, s, all)
	p, err := a.Positions(t.Context(), shard)
	must(t, "Positions", err)
	wantSame(t, "positions", p, map[api.SessionID]hub.LogPosition{s: {Number: 6, Sources: map[api.Source]uint64{spoke: 6}}})
}

func testOtherContent(t *testing.T, db Database) {
	s := session(shard, 1)
	a := raised(t, db)
	is := sequence(s, 1, spoke, 1, 3)
	must(t, "Append", a.Append(t.Context(), []hub.Append{of(shard, first, is...)}))
	for what, change := range map[string]func(*api.Event){
		"text":          func(e *api.Event) { e.Text = "x" },
		"type":          func(e *api.Event) { e.Type = api.EventLog },
		"time":          func(e *api.Event) { e.Time = e.Time.Add(1) },
		"cluster":       func(e *api.Event) { e.Cluster = "x" },
		"signals":       func(e *api.Event) { e.Signals = nil },
		"outcome":       func(e *api.Event) { e.Outcome = api.OutcomeCut },
		"attributes":    func(e *api.Event) { e.Attributes = map[string]string{"a": "2"} },
		"source":        func(e *api.Event) { e.Source.Attempt++ },
		"source number": func(e *api.Event) { e.SourceNumber++ },
	} {
		e := event(s, 2, spoke, 2)
		change(&e)
		err := a.Append(t.Context(), []hub.Append{of(shard, first, event(s, 4, spoke, 4), e)})
		wantCode(t, "another "+what, err, api.CodeInternal)
		wantEvents(t, a, s, is)
	}
	other := of(shard, first, is[1])
	other.Org = "other"
	wantCode(t, "another organization", a.Append(t.Context(), []hub.Append{other}), api.CodeInternal)
}

func testRaise(t *testing.T, db Database) {
	ctx := t.Context()
	a := db.Open(t)
	g := func(incarnation uint32, n uint64) api.Generation {
		return api.Generation{Incarnation: incarnation, N: n}
	}
	must(t, "the first", a.Raise(ctx, 0, g(1, 2)))
	must(t, "the same", a.Raise(ctx, 0, g(1, 2)))
	wantCode(t, "a lower one", a.Raise(ctx, 0, g(1, 1)), api.CodeConflict)
	must(t, "a later incarnation", a.Raise(ctx, 0, g(2, 1)))
	wantCode(t, "a higher n of the former incarnation", a.Raise(ctx, 0, g(1, 9)), api.CodeConflict)
	must(t, "another shard", a.Raise(ctx, 255, g(1, 1)))
	a = db.Open(t)
	wantCode(t, "a lower one after reopening", a.Raise(ctx, 0, g(1, 9)), api.CodeConflict)
	must(t, "the present one after reopening", a.Raise(ctx, 0, g(2, 1)))

	// All at once, as a replica that starts does it: those that were passed are refused, and nobody else.
	var errs [api.Shards]error
	all := run.NewGroup(ctx)
	for i := range errs {
		all.Go("raise", func(ctx context.Context) error {
			errs[i] = a.Raise(ctx, api.Shard(i), g(1, 2))
			return nil
		})
	}
	must(t, "raising all", all.Wait())
	for i, err := range errs {
		switch shard := api.Shard(i); {
		case i == 0: // it is at a later incarnation
			wantCode(t, "a passed one among others", err, api.CodeConflict)
		case err != nil:
			t.Errorf("shard %d among others: %v", i, err)
		default:
			wantCode(t, "lower than what was raised among others", a.Raise(ctx, shard, g(1, 1)), api.CodeConflict)
		}
	}
}

func testFence(t *testing.T, db Database) {
	ctx := t.Context()
	const other, third = api.Shard(3), api.Shard(4)
	a := raised(t, db, other, third)
	second := api.Generation{Incarnation: 1, N: 2}
	s, o, x := session(shard, 1), session(other, 1), session(third, 1)
	wantCode(t, "a generation that was not raised", a.Append(ctx, []hub.Append{of(shard, second, event(s, 1, spoke, 1))}), api.CodeInternal)
	wantCode(t, "a shard that was never raised", a.Append(ctx, []hub.Append{of(9, first, event(session(9, 1), 1, spoke, 1))}), api.CodeInternal)
	wantCode(t, "no generation", a.Append(ctx, []hub.Append{of(9, api.Generation{}, event(session(9, 1), 1, spoke, 1))}), api.CodeInternal)
	must(t, "Append", a.Append(ctx, []hub.Append{of(shard, first, event(s, 1, spoke, 1)), of(other, first, event(o, 1, spoke, 1))}))
	must(t, "Raise", a.Raise(ctx, shard, second))
	must(t, "Raise", a.Raise(ctx, third, second))

	appends := []hub.Append{of(shard, first, event(s, 2, spoke, 2)), of(other, first, event(o, 2, spoke, 2)), of(third, first, event(x, 1, spoke, 1)), of(shard, second)}
	appends[1].Decisions = []api.Decision{{Session: o, Epoch: api.Epoch{Incarnation: 1, N: 1}, Time: began}}
	appends[1].Settled = []hub.SettledSignal{settled(1, "k")}
	wantStale(t, "former owners among others", a.Append(ctx, appends), 0, 2)
	wantStale(t, "a repeat by a former owner", a.Append(ctx, []hub.Append{of(shard, first, event(s, 1, spoke, 1))}), 0)
	wantEvents(t, a, s, sequence(s, 1, spoke, 1, 1))
	wantEvents(t, a, o, sequence(o, 1, spoke, 1, 1))
	wantEvents(t, a, x, nil)
	d, err := a.Decisions(ctx, org, o, 9)
	must(t, "Decisions", err)
	wantSame(t, "decisions", d, []api.Decision{})
	k, err := a.Keys(ctx, org, []hub.KeyScope{scope("k")})
	must(t, "Keys", err)
	wantSame(t, "keys", k, map[hub.KeyScope]hub.SettledSignal{})

	must(t, "the owners", a.Append(ctx, []hub.Append{of(shard, second, event(s, 2, spoke, 2)), of(other, first, event(o, 2, spoke, 2)), of(third, second, event(x, 1, spoke, 1))}))
	wantEvents(t, a, s, sequence(s, 1, spoke, 1, 2))
}

func testPositions(t *testing.T, db Database) {
	ctx := t.Context()
	a := raised(t, db, 7)
	p, err := a.Positions(ctx, shard)
	must(t, "Positions", err)
	wantSame(t, "positions of an empty shard", p, map[api.SessionID]hub.LogPosition{})
	s1, s2, foreign := session(shard, 1), session(shard, 2), session(7, 1)
	later := api.Source{Epoch: api.Epoch{Incarnation: 2, N: 4}, Attempt: 1}
	must(t, "Append", a.Append(ctx, []hub.Append{
		of(shard, first, slices.Concat(sequence(s1, 1, api.HubSource, 1, 2), sequence(s1, 3, spoke, 1, 30), sequence(s1, 33, later, 1, 1), sequence(s2, 1, spoke, 1, 5))...),
		of(7, first, event(foreign, 1, api.HubSource, 1)),
	}))
	want := map[api.SessionID]hub.LogPosition{
		s1: {Number: 33, Sources: map[api.Source]uint64{api.HubSource: 2, spoke: 30, later: 1}},
		s2: {Number: 5, Sources: map[api.Source]uint64{spoke: 5}},
	}
	for _, what := range []string{"positions", "positions after reopening"} {
		p, err := a.Positions(ctx, shard)
		must(t, "Positions", err)
		wantSame(t, what, p, want)
		a = db.Open(t)
	}
	must(t, "Append after reopening", a.Append(ctx, []hub.Append{of(shard, first, event(s2, 6, spoke, 6))}))
}

func testOrganizations(t *testing.T, db Database) {
	ctx, s := t.Context(), session(shard, 1)
	a := raised(t, db)
	ap := of(shard, first, event(s, 1, spoke, 1))
	ap.Decisions = []api.Decision{{Session: s, Epoch: api.Epoch{Incarnation: 1, N: 1}, Time: began}}
	ap.Settled = []hub.SettledSignal{settled(1, "k")}
	must(t, "Append", a.Append(ctx, []hub.Append{ap}))
	e, err := a.Events(ctx, "other", s, 0, 9)
	must(t, "Events", err)
	d, err := a.Decisions(ctx, "other", s, 9)
	must(t, "Decisions", err)
	k, err := a.Keys(ctx, "other", []hub.KeyScope{scope("k")})
	must(t, "Keys", err)
	if len(e)+len(d)+len(k) != 0 {
		t.Fatalf("another organization sees events %v, decisions %v, keys %v", e, d, k)
	}
}

func testTexts(t *testing.T, db Database) {
	s := session(shard, 1)
	a := raised(t, db)
	var all []api.Event
	for i, text := range []string{"", "\x00 in between \x00", "日本語 ✓", strings.Repeat("x", api.MaxEventBytes), "'; DROP TABLE events; --", "\\x00", "{\"json\":1}"} {
		e := event(s, uint64(i+1), spoke, uint64(i+1))
		e.Text, e.Attributes = text, map[string]string{"k\n": text[:min(len(text), 20)]}
		all = append(all, e)
	}
	must(t, "Append", a.Append(t.Context(), []hub.Append{of(shard, first, all...)}))
	must(t, "the same again", a.Append(t.Context(), []hub.Append{of(shard, first, all...)}))
	wantEvents(t, a, s, all)
}

func testCancelled(t *testing.T, db Database) {
	s := session(shard, 1)
	a := raised(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantCode(t, "Append", a.Append(ctx, []hub.Append{of(shard, first, event(s, 1, spoke, 1))}), api.CodeUnavailable)
	wantCode(t, "Raise", a.Raise(ctx, shard, first), api.CodeUnavailable)
	_, err := a.Positions(ctx, shard)
	wantCode(t, "Positions", err, api.CodeUnavailable)
	wantEvents(t, a, s, nil)
	must(t, "Append afterwards", a.Append(t.Context(), []hub.Append{of(shard, first, event(s, 1, spoke, 1))}))
}

func testNothing(t *testing.T, db Database) {
	a := raised(t, db)
	must(t, "no appends", a.Append(t.Context(), nil))
	must(t, "an empty append", a.Append(t.Context(), []hub.Append{of(shard, first)}))
	p, err := a.Positions(t.Context(), shard)
	must(t, "Positions", err)
	wantSame(t, "positions", p, map[api.SessionID]hub.LogPosition{})
}

// testReadDuringAppends reads logs while they grow: a reader sees a dense beginning of the log, never less than before.
func testReadDuringAppends(t *testing.T, db Database) {
	const sessions, batches, each = 3, 40, 5
	a := raised(t, db)
	g := run.NewGroup(t.Context())
	for n := range sessions {
		s := session(shard, n)
		g.Go("writer", func(ctx context.Context) error {
			for i := range uint64(batches) {
				if err := a.Append(ctx, []hub.Append{of(shard, first, sequence(s, i*each+1, spoke, i*each+1, each)...)}); err != nil {
					return err
				}
			}
			return nil
		})
		g.Go("reader", func(ctx context.Context) error {
			for seen := 0; seen < batches*each; {
				got, err := a.Events(ctx, org, s, 0, 10_000)
				if err != nil {
					return err
				}
				if len(got) < seen || len(got)%each != 0 {
					return fmt.Errorf("%d events after %d", len(got), seen)
				}
				for i, e := range got {
					if e.Number != uint64(i+1) {
						return fmt.Errorf("event %d at %d", e.Number, i)
					}
				}
				seen = len(got)
			}
			return nil
		})
	}
	g.Go("positions", func(ctx context.Context) error {
		for seen := uint64(0); seen < sessions*batches*each; {
			p, err := a.Positions(ctx, shard)
			if err != nil {
				return err
			}
			seen = 0
			for s, x := range p {
				if x.Number != x.Sources[spoke] {
					return fmt.Errorf("log of %s reaches %d and its only source %d", s, x.Number, x.Sources[spoke])
				}
				seen += x.Number
			}
		}
		return nil
	})
	must(t, "readers and writers", g.Wait())
}

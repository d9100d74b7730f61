package archivetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// dead is a dead letter that was settled n minutes after the others.
func dead(n int, key string) hub.SettledSignal {
	s := settled(n, key)
	s.Outcome, s.Reason, s.AgentName, s.SettledAt = "dead", fmt.Sprint("exit status \x00", n), "agent", began.Add(time.Duration(n)*time.Minute)
	s.Signal.Payload = []byte{byte(n), 0xff}
	return s
}

// replay is the done signal that repeats a dead letter.
func replay(n int, of hub.SettledSignal) hub.SettledSignal {
	s := settled(n, "nave.replay/"+string(of.Signal.ID))
	s.Signal.ReplayOf = of.Signal.ID
	s.SettledAt = of.SettledAt.Add(time.Hour)
	return s
}

// unread is as the list has it.
func unread(s hub.SettledSignal) hub.SettledSignal {
	s.Signal.Payload = nil
	return s
}

func testDeadLetters(t *testing.T, db Database) {
	ctx := t.Context()
	a := raised(t, db)
	var all []hub.SettledSignal // latest first
	for n := 1; n <= 9; n++ {
		d := dead(n, fmt.Sprint("key ", n))
		switch n % 3 {
		case 1:
			d.Scope.Agent = "other"
		case 2:
			d.Signal.Session = session(shard, 2)
			d.SettledAt = began // several at once
		}
		must(t, "settle", settle(t, a, d, settled(100+n, "")))
		all = append(all, d)
	}
	slices.SortFunc(all, func(x, y hub.SettledSignal) int {
		if c := y.SettledAt.Compare(x.SettledAt); c != 0 {
			return c
		}
		return -cmpText(string(x.Signal.ID), string(y.Signal.ID))
	})
	select1 := func(f hub.DeadFilter) (out []hub.SettledSignal) {
		for _, d := range all {
			if (f.Agent == "" || f.Agent == d.Scope.Agent) && (f.Session == "" || f.Session == d.Signal.Session) {
				out = append(out, unread(d))
			}
		}
		return out
	}
	for range 2 {
		for _, f := range []hub.DeadFilter{{}, {Agent: "other"}, {Session: session(shard, 2)}, {Agent: "agent", Session: session(shard, 1)}, {Agent: "nobody"}} {
			for _, limit := range []int{1, 2, 3, 9, 100} {
				var got []hub.SettledSignal
				pages := 0
				for after, more := "", true; more; more = after != "" {
					page, next, err := a.DeadLetters(ctx, org, f, after, limit)
					must(t, "DeadLetters", err)
					if len(page) > limit || pages > 20 {
						t.Fatalf("page %d with %d of %d", pages, len(page), limit)
					}
					got, after, pages = append(got, page...), next, pages+1
				}
				want := select1(f)
				wantSame(t, fmt.Sprintf("dead letters of %+v in pages of %d", f, limit), got, want)
				if full := max(1, (len(want)+limit-1)/limit); pages != full {
					t.Errorf("%d pages of %d for %d, want %d", pages, limit, len(want), full)
				}
			}
		}
		for _, d := range all {
			got, err := a.DeadLetter(ctx, org, d.Signal.ID)
			must(t, "DeadLetter", err)
			wantSame(t, "dead letter", got, d)
		}
		a = db.Open(t)
	}
	// What dies meanwhile moves nothing.
	page, next, err := a.DeadLetters(ctx, org, hub.DeadFilter{}, "", 4)
	must(t, "DeadLetters", err)
	must(t, "settle", settle(t, a, dead(50, "")))
	rest, _, err := a.DeadLetters(ctx, org, hub.DeadFilter{}, next, 100)
	must(t, "DeadLetters", err)
	wantSame(t, "both pages", append(page, rest...), select1(hub.DeadFilter{}))

	none, next, err := a.DeadLetters(ctx, "other", hub.DeadFilter{}, "", 9)
	must(t, "DeadLetters", err)
	if len(none) != 0 || next != "" {
		t.Errorf("another organization sees %v, %q", none, next)
	}
	_, err = a.DeadLetter(ctx, "other", all[0].Signal.ID)
	wantCode(t, "a dead letter of another organization", err, api.CodeNotFound)
	_, err = a.DeadLetter(ctx, org, settled(101, "").Signal.ID)
	wantCode(t, "a signal that was consumed", err, api.CodeNotFound)
	for _, bad := range []string{"x", "1", "x/signal"} {
		_, _, err = a.DeadLetters(ctx, org, hub.DeadFilter{}, bad, 9)
		wantCode(t, "position "+bad, err, api.CodeInvalid)
	}
}

func cmpText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// testReplayed: a dead letter names the settled signal that repeats it, also when that died in its turn.
func testReplayed(t *testing.T, db Database) {
	ctx := t.Context()
	a := raised(t, db)
	d1, d2, d3 := dead(1, "a"), dead(2, ""), dead(3, "")
	again := replay(5, d2)
	again.Outcome = "dead"
	must(t, "settle", settle(t, a, d1, d2, d3))
	must(t, "settle the replays", settle(t, a, replay(4, d1), again))
	want := map[api.SignalID]api.SignalID{d1.Signal.ID: "signal4", d2.Signal.ID: "signal5", d3.Signal.ID: "", again.Signal.ID: ""}
	list, _, err := a.DeadLetters(ctx, org, hub.DeadFilter{}, "", 9)
	must(t, "DeadLetters", err)
	if len(list) != len(want) {
		t.Fatalf("%d dead letters, want %d", len(list), len(want))
	}
	for _, l := range list {
		one, err := a.DeadLetter(ctx, org, l.Signal.ID)
		must(t, "DeadLetter", err)
		if l.ReplayedAs != want[l.Signal.ID] || one.ReplayedAs != l.ReplayedAs {
			t.Errorf("%s is replayed as %q in the list and %q by itself, want %q", l.Signal.ID, l.ReplayedAs, one.ReplayedAs, want[l.Signal.ID])
		}
	}
	if got, err := a.DeadLetter(ctx, org, again.Signal.ID); err != nil || got.Signal.ReplayOf != d2.Signal.ID {
		t.Errorf("the replay that died repeats %q, %v; want %q", got.Signal.ReplayOf, err, d2.Signal.ID)
	}
}

func testTerminated(t *testing.T, db Database) {
	ctx := t.Context()
	a := raised(t, db)
	s := api.Session{ID: session(shard, 1), Org: org, Agent: "agent", AgentName: "a", Key: "user/1", Labels: map[string]string{"l": "v"}, Intent: api.IntentTerminated, Phase: api.PhaseDormant,
		Reason: "was terminated", CreatedAt: began, LastSequence: 7, HubNumber: 9, Epoch: api.Epoch{Incarnation: 1, N: 3}, LastCluster: "c",
		Checkpoints: []api.CheckpointID{"x"}, Assignment: &api.Assignment{Cluster: "c", Epoch: api.Epoch{Incarnation: 1, N: 3}, StopAfter: api.StopNever}}
	end := func(x api.Session) error {
		ap := of(shard, first)
		ap.Org, ap.Terminated = x.Org, []api.Session{x}
		return a.Append(ctx, []hub.Append{ap})
	}
	_, err := a.Terminated(ctx, org, s.ID)
	wantCode(t, "a session that did not end", err, api.CodeNotFound)
	must(t, "Append", end(s))
	later := s
	later.Reason = "by the next owner"
	must(t, "the same again", end(later))
	foreign := s
	foreign.Org = "other"
	wantCode(t, "the same of another organization", end(foreign), api.CodeInternal)
	stale := of(shard, api.Generation{Incarnation: 1})
	stale.Terminated = []api.Session{{ID: session(shard, 2), Org: org}}
	wantCode(t, "by a former owner", a.Append(ctx, []hub.Append{stale}), api.CodeConflict)
	for range 2 {
		got, err := a.Terminated(ctx, org, s.ID)
		must(t, "Terminated", err)
		wantSame(t, "ended session", got, s)
		_, err = a.Terminated(ctx, "other", s.ID)
		wantCode(t, "an ended session of another organization", err, api.CodeNotFound)
		_, err = a.Terminated(ctx, org, session(shard, 2))
		wantCode(t, "what a former owner said", err, api.CodeNotFound)
		a = db.Open(t)
	}
}

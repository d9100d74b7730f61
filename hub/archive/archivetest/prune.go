package archivetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

func at(s hub.SettledSignal, t time.Time) hub.SettledSignal {
	s.SettledAt = t
	return s
}

func pruned(t *testing.T, a Archive, before time.Time, limit, want int) {
	t.Helper()
	n, err := a.Prune(t.Context(), before, limit)
	must(t, "Prune", err)
	if n != want {
		t.Fatalf("forgot %d, want %d", n, want)
	}
}

func wantKeys(t *testing.T, a Archive, want map[string]bool) {
	t.Helper()
	for key, there := range want {
		got, err := a.Keys(t.Context(), org, []hub.KeyScope{scope(key)})
		must(t, "Keys", err)
		if (len(got) == 1) != there {
			t.Errorf("key %q is kept: %t, want %t", key, len(got) == 1, there)
		}
	}
}

// testPrune: keys end with the time that they are kept for, no earlier; they are free for other signals then. Dead letters
// stay.
func testPrune(t *testing.T, db Database) {
	ctx, day := t.Context(), 24*time.Hour
	a := raised(t, db)
	lost, gone := at(dead(3, "dead"), began), at(settled(2, ""), began)
	gone.Outcome = "cancelled"
	must(t, "settle", settle(t, a, at(settled(1, "old"), began), gone, lost, at(settled(4, "edge"), began.Add(day)), at(settled(5, "young"), began.Add(2*day))))
	pruned(t, a, began, 100, 0)
	wantKeys(t, a, map[string]bool{"old": true, "dead": true, "edge": true, "young": true})
	pruned(t, a, began.Add(day), 100, 3)
	wantKeys(t, a, map[string]bool{"old": false, "dead": false, "edge": true, "young": true})
	pruned(t, a, began.Add(day), 100, 0)

	a = db.Open(t)
	keyless := lost
	keyless.Scope.Key, keyless.Signal.IdempotencyKey = "", ""
	got, err := a.DeadLetter(ctx, org, lost.Signal.ID)
	must(t, "DeadLetter", err)
	wantSame(t, "the dead letter", got, keyless)
	must(t, "settle the dead letter again", settle(t, a, lost))
	must(t, "settle others with the keys", settle(t, a, at(settled(6, "old"), began.Add(3*day)), at(settled(7, "dead"), began.Add(3*day))))
	wantKeys(t, a, map[string]bool{"old": true, "dead": true})
	is, err := a.Settled(ctx, []api.SignalID{"signal1", "signal2", "signal3", "signal4", "signal5"})
	must(t, "Settled", err)
	wantSame(t, "settled signals", is, map[api.SignalID]bool{"signal3": true, "signal4": true, "signal5": true})
	for _, limit := range []int{-1, 0, 10_001} {
		_, err := a.Prune(ctx, began, limit)
		wantCode(t, fmt.Sprint("limit ", limit), err, api.CodeInvalid)
	}
}

// testPruneReplayed: at no moment a dead letter is there whose replay was forgotten, or it could be replayed twice.
func testPruneReplayed(t *testing.T, db Database) {
	ctx := t.Context()
	a := raised(t, db)
	letters := []hub.SettledSignal{dead(1, "one"), dead(2, ""), dead(3, "three")}
	again := replay(12, letters[1]) // dies too
	again.Outcome = "dead"
	must(t, "settle", settle(t, a, append(letters, replay(11, letters[0]), again)...))
	last := began.Add(100 * time.Hour)
	for range 10 {
		n, err := a.Prune(ctx, last, 1)
		must(t, "Prune", err)
		list, _, err := a.DeadLetters(ctx, org, hub.DeadFilter{}, "", 9)
		must(t, "DeadLetters", err)
		for _, l := range list {
			for i, d := range letters[:2] {
				if l.Signal.ID == d.Signal.ID && l.ReplayedAs == "" {
					t.Fatalf("dead letter %d does not know its replay any more", i+1)
				}
			}
		}
		if n == 0 {
			break
		}
	}
	list, _, err := a.DeadLetters(ctx, org, hub.DeadFilter{}, "", 9)
	must(t, "DeadLetters", err)
	var left []api.SignalID
	for _, l := range list {
		left = append(left, l.Signal.ID)
	}
	wantSame(t, "dead letters in the end", left, []api.SignalID{"signal12", "signal3"})
}

func testPruneSteps(t *testing.T, db Database) {
	const all, limit = 1000, 300
	a := raised(t, db)
	var rows []hub.SettledSignal
	for n := range all {
		rows = append(rows, at(settled(n, fmt.Sprint("key ", n)), began.Add(time.Duration(n)*time.Second)))
	}
	must(t, "settle", settle(t, a, rows...))
	before := began.Add(700 * time.Second)
	for step, want := range []int{300, 300, 100, 0} {
		pruned(t, a, before, limit, want)
		if step == 0 {
			wantKeys(t, a, map[string]bool{"key 0": false, "key 299": false, "key 300": true}) // the oldest first
		}
	}
	wantKeys(t, a, map[string]bool{"key 699": false, "key 700": true, "key 999": true})
}

package hub

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

// slowKeys is an archive whose first question takes until it is let go on. It takes offence at one key.
type slowKeys struct {
	Archive
	first chan struct{}
	asked [][]string
}

func (a *slowKeys) Keys(_ context.Context, org api.OrgID, keys []KeyScope) (map[KeyScope]SettledSignal, error) {
	found, names := map[KeyScope]SettledSignal{}, []string{string(org)}
	bad := false
	for _, k := range keys {
		names = append(names, k.Key)
		bad = bad || k.Key == "bad"
		if k.Key != "new" {
			found[k] = SettledSignal{Scope: k, Signal: api.Signal{ID: api.SignalID(k.Key)}}
		}
	}
	a.asked = append(a.asked, names)
	if len(a.asked) == 1 {
		<-a.first
	}
	if bad {
		return nil, api.Errorf(api.CodeInternal, "what is this?")
	}
	return found, nil
}

// What waits while the archive is asked goes into one question for each organization; each shard hears of its own keys alone,
// and one that the archive takes offence at is nobody else's matter.
func TestLookupsOfShardsAreAskedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		a := &slowKeys{first: make(chan struct{})}
		l := newLookups(a)
		g := run.NewGroup(ctx)
		type answer struct {
			found map[KeyScope]SettledSignal
			err   error
		}
		asks := []struct{ org, key string }{{"x", "first"}, {"x", "a"}, {"y", "a"}, {"x", "new"}, {"z", "bad"}, {"z", "b"}}
		answers := make([]answer, len(asks))
		for i, q := range asks {
			g.Go("shard", func(ctx context.Context) error {
				found, err := l.Keys(ctx, api.OrgID(q.org), []KeyScope{{Key: q.key}})
				answers[i] = answer{found, err}
				return nil
			})
			synctest.Wait()
		}
		close(a.first)
		synctest.Wait()
		stop()
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		want := [][]string{{"x", "first"}, {"x", "a", "new"}, {"y", "a"}, {"z", "bad", "b"}, {"z", "bad"}, {"z", "b"}}
		if !slices.EqualFunc(a.asked, want, slices.Equal[[]string]) {
			t.Errorf("asked %v, want %v", a.asked, want)
		}
		for i, q := range asks {
			got := answers[i]
			if wantErr := q.key == "bad"; (got.err != nil) != wantErr {
				t.Errorf("%v: error %v", q, got.err)
			}
			want := 1
			if q.key == "new" || q.key == "bad" {
				want = 0
			}
			if _, ok := got.found[KeyScope{Key: q.key}]; ok != (want == 1) || want == 1 && got.found[KeyScope{Key: q.key}].Signal.ID != api.SignalID(q.key) {
				t.Errorf("%v: found %v", q, got.found)
			}
		}
	})
}

// Deletions from the outbox wait for the next batch, or for facts.
func TestTheOutboxIsCleanedAlongTheWay(t *testing.T) {
	w := newShardWorld()
	id := w.signal("alice", "k1", "x").accepted.Session
	if _, err := w.intent(id, ChangePause); err != nil {
		t.Fatal(err)
	}
	before := w.core.Head()
	w.settle()
	if len(w.mem.outbox) != 1 || w.core.Head() != before {
		t.Fatalf("%d events in the outbox, head %+v after %+v: it was cleaned by a batch of its own", len(w.mem.outbox), w.core.Head(), before)
	}
	w.signal("alice", "k2", "y")
	if n := len(w.mem.outbox); n != 0 {
		t.Errorf("after the next batch the outbox has %d events", n)
	}
	if _, err := w.intent(id, ChangeResume); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.turn(CoreFacts())
	if n := len(w.mem.outbox); n != 0 {
		t.Errorf("%d events in the outbox after facts", n)
	}
}

// An owner that ends before it cleaned leaves what the archive has; the next one does not archive it twice.
func TestAnOutboxThatWasNotCleanedIsCleanedByTheNextOwner(t *testing.T) {
	w := newShardWorld()
	id := w.signal("alice", "k1", "x").accepted.Session
	if _, err := w.intent(id, ChangePause); err != nil {
		t.Fatal(err)
	}
	w.settle()
	if len(w.mem.outbox) != 1 {
		t.Fatalf("%d events in the outbox, want the one that waits", len(w.mem.outbox))
	}
	w.restart()
	w.settle()
	if n := len(w.mem.outbox); n != 0 {
		t.Errorf("%d events in the outbox of the next owner", n)
	}
	if err := w.check(); err != nil {
		t.Error(err)
	}
}

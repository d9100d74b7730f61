package hub_test

import (
	"fmt"
	"testing"

	"github.com/nave-dev/nave/api"
)

// mute begins the link of a spoke that does not read yet: listen begins that.
func (b *brain) mute(name string, room int) *fakeSpoke {
	b.w.t.Helper()
	a, _, err := b.Attach(b.w.t.Context(), name, b.hello(name, room))
	must(b.w.t, err)
	s := newFakeSpoke(b, name, a)
	s.group.Go("beat", s.beat)
	return s
}

func (s *fakeSpoke) listen() { s.group.Go("take", s.take) }

// A link that nobody reads costs what there is to say, not what was said: and past its bound it costs no more at all. When it
// is read again, nothing is missing.
func TestALinkThatNobodyReadsIsBoundedAndLosesNothing(t *testing.T) {
	const most, sessions, signals = 10, 30, 5
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	b.SetMailSessions(most)
	s := b.mute("aws", 100)
	largest := 0
	var ids []api.SessionID
	for n := range sessions {
		for range signals {
			a := b.accept(fmt.Sprint("k", n), "", "payload")
			if len(ids) == n {
				ids = append(ids, a.Session)
			}
			waiting, _, _ := s.a.Mail()
			largest = max(largest, waiting)
		}
	}
	eventually(t, "all are placed", func() string {
		n := 0
		for _, id := range ids {
			if v, err := b.Session(t.Context(), api.DefaultOrg, id); err == nil && v.Phase == api.PhaseStarting {
				n++
			}
			waiting, _, _ := s.a.Mail()
			largest = max(largest, waiting)
		}
		if n < sessions {
			return fmt.Sprintf("%d of %d", n, sessions)
		}
		return ""
	})
	if _, _, resyncs := s.a.Mail(); largest > most || resyncs == 0 {
		t.Fatalf("%d sessions waited at a time, at most %d may; %d shards were emptied", largest, most, resyncs)
	}
	s.listen()
	for _, id := range ids {
		if d := s.gets(id, signals); d.Revision == nil {
			t.Errorf("session %s came without its revision", id)
		}
	}
	if err := s.ending(); err != nil {
		t.Errorf("the link ended: %v", err)
	}
	s.finish(ids[0], signals)
}

// Everything that a shard says again is what it said before: full updates, and every session as it is.
func TestAFullSnapshotRepeatsWhatIs(t *testing.T) {
	w := newBrains(t)
	c := w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 10)
	one, two := b.accept("one", "", "x"), b.accept("two", "", "y")
	before := map[api.SessionID]api.Epoch{one.Session: s.gets(one.Session, 1).Epoch, two.Session: s.gets(two.Session, 1).Epoch}
	eventually(t, "the link has begun", func() string { return atLeast(s.fulls(), api.Shards) })
	s.mu.Lock()
	s.wanted = map[api.SessionID]api.Desired{}
	s.mu.Unlock()
	b.Resync(c)
	eventually(t, "every shard said everything", func() string { return atLeast(s.fulls(), 2*api.Shards) })
	for id, epoch := range before {
		if d := s.gets(id, 1); d.Epoch != epoch || d.Revision == nil {
			t.Errorf("session %s came as %+v", id, d)
		}
	}
	s.finish(one.Session, 1)
}

func atLeast(n, want int) string {
	if n < want {
		return fmt.Sprintf("%d of %d", n, want)
	}
	return ""
}

func (s *fakeSpoke) fulls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}

// A cluster whose lease is gone is lost, whatever its spoke still says on a link that it has: a shard that believes otherwise
// is told again.
func TestAShardThatDoesNotKnowIsToldAgain(t *testing.T) {
	w := newBrains(t)
	c := w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 4)
	a := b.accept("alice", "", "x")
	s.gets(a.Session, 1)
	s.silent.Store(true) // it beats no more, and its link is open
	b.phase(a.Session, api.PhaseLost, 1)
	s.held(a.Session, api.HeldRunning, "")
	b.phase(a.Session, api.PhaseLost, 1)
	if h := b.Status(c).Health; h != api.HealthLost {
		t.Errorf("health %s", h)
	}
	// So does the next owner of the shards.
	next := w.start()
	next.phase(a.Session, api.PhaseLost, 1)
}

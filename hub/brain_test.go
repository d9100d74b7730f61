package hub_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

func types(events []api.Event) (out []api.EventType) {
	for _, e := range events {
		out = append(out, e.Type)
	}
	return out
}

func TestASignalsWay(t *testing.T) {
	w := newBrains(t)
	c := w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 4)
	first := b.accept("alice", "k", "hello")
	if first.Sequence != 1 || first.Duplicate {
		t.Errorf("first answer: %+v", first)
	}
	d := s.gets(first.Session, 1)
	if d.Revision == nil || d.Revision.AgentName != "a" || d.Key != "alice" || d.Epoch.N != 1 || string(d.Signals[0].Payload) != "hello" || d.Signals[0].ID != first.Signal {
		t.Errorf("the spoke is told %+v", d)
	}
	v := b.phase(first.Session, api.PhaseStarting, 1)
	if v.Assignment == nil || v.Assignment.Cluster != c {
		t.Errorf("assignment %+v, want cluster %s", v.Assignment, c)
	}
	counts, err := b.Counts(t.Context())
	must(t, err)
	if diff := cmp.Diff(map[api.ClusterID]int{c: 1}, counts); diff != "" {
		t.Errorf("sessions per cluster (-want +got):\n%s", diff)
	}
	again := b.accept("alice", "k", "hello")
	want := first
	want.Duplicate = true
	if again != want {
		t.Errorf("repeat before settling: %+v, want %+v", again, want)
	}
	_, err = b.signal("alice", "k", "other")
	refused(t, "the key with another payload", err, api.CodeExists, "idempotency_key")

	s.finish(first.Session, 1)
	b.phase(first.Session, api.PhaseRunning, 0)
	if again := b.accept("alice", "k", "hello"); again != want {
		t.Errorf("repeat after settling: %+v, want %+v", again, want)
	}
	_, err = b.signal("alice", "k", "other")
	refused(t, "the settled key with another payload", err, api.CodeExists, "idempotency_key")

	s.sleep(first.Session)
	counts, err = b.Counts(t.Context())
	must(t, err)
	if len(counts) > 0 {
		t.Errorf("sessions per cluster after sleep: %v", counts)
	}
	eventually(t, "the log is complete", func() string {
		return cmp.Diff([]api.EventType{api.EventAccepted, api.EventPlaced, api.EventTurn, api.EventMessage, api.EventTurnDone, api.EventSaved, api.EventSlept}, types(w.log(first.Session)))
	})
	x, err := b.Explain(t.Context(), api.DefaultOrg, first.Session, false)
	must(t, err)
	if len(x.Decisions) != 1 || x.Decisions[0].Cluster != c {
		t.Errorf("decisions: %+v", x.Decisions)
	}
	// It wakes in the next epoch.
	second := b.accept("alice", "", "again")
	if d := s.gets(first.Session, 1); second.Session != first.Session || second.Sequence != 2 || d.Epoch.N != 2 || d.Revision == nil {
		t.Errorf("woken: %+v as %+v", second, d)
	}
}

func TestAFailedTurnIsDeliveredAgainAndThenDead(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 4)
	a := b.accept("alice", "", "poison")
	d := s.gets(a.Session, 1)
	s.held(a.Session, api.HeldRunning, "")
	s.send(api.SpokeMessage{Events: []api.EventBatch{s.turn(d, api.OutcomeFailed, 1)}})
	eventually(t, "delivered again", func() string {
		if d, _ := s.want(a.Session); len(d.Signals) != 1 || d.Signals[0].Deliveries != 1 {
			return fmt.Sprintf("%+v", d.Signals)
		}
		return ""
	})
	s.send(api.SpokeMessage{Events: []api.EventBatch{s.turn(d, api.OutcomeFailed, 1)}})
	s.gets(a.Session, 0) // the spoke is told that the dead letter left, else it never rests
	b.phase(a.Session, api.PhaseRunning, 0)
	s.sleep(a.Session)
}

func TestIdleBeforeTheArchiveAnsweredIsDecidedAfterwards(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 4)
	a := b.accept("alice", "", "x")
	d := s.gets(a.Session, 1)
	s.held(a.Session, api.HeldRunning, "")
	w.history.set(true)
	s.send(api.SpokeMessage{Events: []api.EventBatch{s.turn(d, api.OutcomeDone, 1)}})
	s.held(a.Session, api.HeldIdle, "") // said once
	b.phase(a.Session, api.PhaseRunning, 1)
	w.history.set(false)
	s.released(a.Session)
	s.held(a.Session, api.HeldGone, "")
	b.phase(a.Session, api.PhaseDormant, 0)
}

func TestTheArchiveAwayLosesAndSettlesNothing(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 4)
	first := b.accept("alice", "k", "x")
	d := s.gets(first.Session, 1)
	s.held(first.Session, api.HeldRunning, "")
	w.history.set(true)
	if a := b.accept("alice", "k", "x"); !a.Duplicate {
		t.Errorf("a pending key needs no archive: %+v", a)
	}
	_, err := b.signal("alice", "fresh", "x")
	refused(t, "a key that only the archive knows", err, api.CodeUnavailable, "")
	const more = 400 // their events are more than one append may hold
	for range more {
		b.accept("alice", "", "x")
	}
	bob := b.accept("bob", "", "x")
	for range 100 { // each has an item in the outbox
		for _, change := range []hub.Change{hub.ChangePause, hub.ChangeResume} {
			_, err := b.want(bob.Session, change)
			must(t, err)
		}
	}
	batch := s.turn(d, api.OutcomeDone, 1)
	s.send(api.SpokeMessage{Events: []api.EventBatch{batch}})
	if v := b.phase(first.Session, api.PhaseRunning, more+1); v.LastSequence != more+1 {
		t.Errorf("last sequence %d", v.LastSequence)
	}
	const bound = 64
	w.history.after(func(appends []hub.Append) error {
		for _, ap := range appends {
			kept := slices.DeleteFunc(slices.Clone(ap.Events), func(ev api.Event) bool { return ev.Type == api.EventAccepted }) // in no outbox
			if len(kept) > bound {
				t.Errorf("an append of %d events: what follows from it does not fit one batch", len(kept))
			}
		}
		return nil
	})
	w.history.set(false)
	s.acks(batch.Source)
	b.phase(first.Session, api.PhaseRunning, more)
	eventually(t, "everything is in the archive", func() string {
		if n := w.count(first.Session, api.EventAccepted); n != more+1 {
			return fmt.Sprintf("%d accepted", n)
		}
		return ""
	})
	b.accept("alice", "fresh", "x")
}

func TestAnAppendWhoseAnswerWasLostIsOneAppend(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 4)
	var n atomic.Int32
	w.history.after(func([]hub.Append) error {
		if n.Add(1)%2 == 1 {
			return api.Errorf(api.CodeUnavailable, "the answer was lost")
		}
		return nil
	})
	for i := range 5 {
		a := b.accept("alice", fmt.Sprint(i), "x")
		s.finish(a.Session, 1)
		if i == 4 {
			s.sleep(a.Session)
			if got := w.count(a.Session, api.EventTurnDone); got != 5 || n.Load() < 6 {
				t.Errorf("%d turn records after %d appends", got, n.Load())
			}
		}
	}
}

func TestACommitWhoseAnswerWasLostIsOneCommit(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 4)
	var n [3]atomic.Int32
	var calls atomic.Int32
	w.shards.set(func([]hub.Batch) fault {
		f := []fault{lost, none, dropped, lost, none}[int(calls.Add(1)-1)%5]
		n[f].Add(1)
		return f
	})
	var id api.SessionID
	for i := range 12 {
		a := b.accept("alice", fmt.Sprint(i), "x")
		if a.Sequence != uint64(i+1) || a.Duplicate {
			t.Fatalf("signal %d: %+v", i, a)
		}
		id = a.Session
		s.finish(id, 1)
		if i%4 == 3 {
			s.sleep(id)
		}
	}
	if n[lost].Load() < 8 || n[dropped].Load() < 4 {
		t.Fatalf("only %d answers lost and %d commits dropped: the test shows too little", n[lost].Load(), n[dropped].Load())
	}
	w.shards.set(nil)
	eventually(t, "the log is complete", func() string {
		if a, p, e := w.count(id, api.EventAccepted), w.count(id, api.EventPlaced), w.count(id, api.EventSlept); a != 12 || p != 3 || e != 3 {
			return fmt.Sprintf("%d accepted, %d placed, %d slept", a, p, e)
		}
		return ""
	})
	shard, err := id.Shard()
	must(t, err)
	eventually(t, "nothing is left in the store", func() string {
		c, err := w.store.Load(t.Context(), shard)
		if err != nil || len(c.Signals)+len(c.Outbox) > 0 {
			return fmt.Sprintf("%d signals, %d events: %v", len(c.Signals), len(c.Outbox), err)
		}
		return ""
	})
}

func TestThePendingSignalsOfASessionAreHandedOverInWindows(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 4)
	const all, window = 200, 64
	var id api.SessionID
	for i := range all {
		id = b.accept("alice", "", fmt.Sprint(i)).Session
	}
	s.held(id, api.HeldAdmitted, "")
	var got []string
	for left := all; left > 0; {
		n := min(left, window)
		d := s.gets(id, n)
		for i, sig := range d.Signals {
			if want := uint64(all - left + i + 1); sig.Sequence != want {
				t.Fatalf("signal %d is sequence %d, want %d", i, sig.Sequence, want)
			}
			got = append(got, string(sig.Payload))
		}
		s.finish(id, n)
		left -= n
		b.phase(id, api.PhaseRunning, left)
	}
	for i, p := range got {
		if p != fmt.Sprint(i) {
			t.Fatalf("payload %d is %s", i, p)
		}
	}
	if len(got) != all {
		t.Errorf("%d handed over, want %d", len(got), all)
	}
}

func TestALimitNamesItself(t *testing.T) {
	w := newBrains(t)
	b := w.start(func(c *hub.Config) { c.Limits = hub.Limits{PendingPerSession: 3, Window: 64, WindowBytes: 1 << 20} })
	for range 3 {
		b.accept("alice", "", "x")
	}
	a, err := b.signal("alice", "", "x")
	refused(t, "the fourth", err, api.CodeLimit, "key")
	if err == nil || !strings.Contains(err.Error(), "3 unsettled signals") || a != (api.Accepted{}) {
		t.Errorf("the refusal %v of %+v does not name the limit", err, a)
	}
	b.accept("bob", "", "x")
	for what, r := range map[string]struct {
		req   hub.SignalRequest
		code  api.Code
		field string
	}{
		"no payload":     {hub.SignalRequest{Agent: "a", Key: "k"}, api.CodeInvalid, "payload"},
		"a large one":    {hub.SignalRequest{Agent: "a", Key: "k", Payload: make([]byte, api.MaxPayload+1)}, api.CodeLimit, "payload"},
		"a long key":     {hub.SignalRequest{Agent: "a", Key: "k", Payload: []byte("x"), IdempotencyKey: strings.Repeat("k", api.MaxIdempotencyKey+1)}, api.CodeInvalid, "idempotency_key"},
		"no session key": {hub.SignalRequest{Agent: "a", Payload: []byte("x")}, api.CodeInvalid, "key"},
		"no agent":       {hub.SignalRequest{Agent: "nobody", Key: "k", Payload: []byte("x")}, api.CodeNotFound, "agent"},
	} {
		r.req.Org = api.DefaultOrg
		_, err := b.Signal(t.Context(), r.req)
		refused(t, what, err, r.code, r.field)
	}
	dry, err := b.Signal(t.Context(), hub.SignalRequest{Org: api.DefaultOrg, Agent: "a", Key: "carol", Payload: []byte("x"), DryRun: true})
	must(t, err)
	_, err = b.Session(t.Context(), api.DefaultOrg, dry.Session)
	refused(t, "the session of a dry run", err, api.CodeNotFound, "id")
}

func TestReadersFollowALog(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 4)
	a := b.accept("alice", "", "x")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var got []api.Event
	s.finish(a.Session, 1)
	err := b.Events(ctx, api.DefaultOrg, a.Session, 1, true, 0, func(e []api.Event) error {
		got = append(got, e...)
		if slices.Contains(types(got), api.EventSlept) {
			cancel()
		} else if slices.Contains(types(e), api.EventTurnDone) {
			s.sleep(a.Session)
		}
		return nil
	})
	if err == nil || len(got) != 7 {
		t.Errorf("%v: %v", err, types(got))
	}
	for i, e := range got {
		if e.Number != uint64(i+1) {
			t.Errorf("number %d at %d", e.Number, i+1)
		}
	}
}

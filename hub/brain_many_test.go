package hub_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

// say is a signal of a test to agent a.
func say(key, idem, payload string) hub.SignalRequest {
	return hub.SignalRequest{Org: api.DefaultOrg, Agent: "a", Key: key, Payload: []byte(payload), IdempotencyKey: idem, Sender: "test"}
}

func (b *brain) many(rs ...hub.SignalRequest) []hub.SignalResult {
	b.w.t.Helper()
	ctx, cancel := context.WithTimeout(b.w.t.Context(), 10*time.Second)
	defer cancel()
	out := b.SignalMany(ctx, rs)
	if len(out) != len(rs) {
		b.w.t.Fatalf("%d results for %d signals", len(out), len(rs))
	}
	return out
}

// A list for two sessions, with a bad one, a repeated one and one that says something else under a used key.
func TestSignalsOfAListStandAlone(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	r := prometheus.NewRegistry()
	b := w.start(func(c *hub.Config) { c.Metrics = r })
	s := b.attach("aws", 4)
	before := b.accept("alice", "first", "0")
	rs := []hub.SignalRequest{
		say("alice", "", "1"), say("bob", "", "1"), say("alice", "k", "2"), say("", "", "x"), say("alice", "k", "2"),
		say("alice", "k", "other"), say("alice", "first", "0"), say("bob", "", ""), say("bob", "k", "2"), say("alice", "", "3"), say("bob", "", "3"),
	}
	rs = append(rs, rs[0], rs[0], rs[0])
	rs[11].Agent, rs[12].DryRun = "nobody", true
	rs[13].Payload = []byte(strings.Repeat("4", api.MaxPayloadInline+1))
	got := b.many(rs...)
	for i, want := range map[int]struct {
		code  api.Code
		field string
	}{3: {api.CodeInvalid, "key"}, 5: {api.CodeExists, "idempotency_key"}, 7: {api.CodeInvalid, "payload"}, 11: {api.CodeNotFound, "agent"}} {
		refused(t, fmt.Sprint("signal ", i), got[i].Err, want.code, want.field)
		if got[i].Accepted != (api.Accepted{}) {
			t.Errorf("signal %d is refused and accepted: %+v", i, got[i].Accepted)
		}
	}
	alice, bob := before.Session, got[1].Accepted.Session
	for i, want := range map[int]struct {
		session   api.SessionID
		sequence  uint64
		duplicate bool
	}{0: {alice, 2, false}, 2: {alice, 3, false}, 4: {alice, 3, true}, 6: {alice, 1, true}, 9: {alice, 4, false}, 12: {alice, 5, false}, 13: {alice, 5, false},
		1: {bob, 1, false}, 8: {bob, 2, false}, 10: {bob, 3, false}} {
		a := got[i].Accepted
		if got[i].Err != nil || a.Session != want.session || a.Sequence != want.sequence || a.Duplicate != want.duplicate {
			t.Errorf("signal %d: %+v, %v, want %+v", i, a, got[i].Err, want)
		}
	}
	if got[4].Accepted.Signal != got[2].Accepted.Signal || got[6].Accepted.Signal != before.Signal || got[12].Accepted.Signal != "" {
		t.Errorf("the duplicates are %+v and %+v, the rehearsal is %+v", got[4], got[6], got[12])
	}
	// What is in the bucket fills a window by itself: it comes later.
	for id, want := range map[api.SessionID][]string{alice: {"0", "1", "2", "3"}, bob: {"1", "2", "3"}} {
		d := s.gets(id, len(want))
		for i, sig := range d.Signals {
			if string(sig.Payload) != want[i] || sig.Sequence != uint64(i+1) {
				t.Errorf("%s gets %d %q at %d, want %q", d.Key, sig.Sequence, sig.Payload, i, want[i])
			}
		}
	}
	m := values(t, r)
	for name, want := range map[string]float64{"accepted": 8, "duplicate": 2, "dry_run": 1, "exists": 1} {
		if n := m["nave_hub_signals_total "+name]; n != want {
			t.Errorf("%v signals are counted as %s, want %v", n, name, want)
		}
	}
	if none := b.SignalMany(t.Context(), nil); len(none) != 0 {
		t.Errorf("no signals lead to %v", none)
	}
}

// A list that fills a session's inbox: what is behind the limit is refused, others are not.
func TestALimitInTheMiddleOfAList(t *testing.T) {
	w := newBrains(t)
	b := w.start(func(c *hub.Config) { c.Limits = hub.Limits{PendingPerSession: 60} })
	var rs []hub.SignalRequest
	for i := range api.MaxSignalsPerCall - 2 {
		rs = append(rs, say("alice", fmt.Sprint(i), "x"))
	}
	rs = append(rs, say("bob", "", "x"), rs[0])
	got := b.many(rs...)
	for i, x := range got {
		switch {
		case i < 60 && (x.Err != nil || x.Accepted.Sequence != uint64(i+1)):
			t.Errorf("signal %d: %+v", i, x)
		case i >= 60 && i < 98:
			refused(t, fmt.Sprint("signal ", i), x.Err, api.CodeLimit, "key")
		case i >= 98 && x.Err != nil || i == 99 && (!x.Accepted.Duplicate || x.Accepted.Signal != got[0].Accepted.Signal):
			t.Errorf("signal %d: %+v", i, x)
		}
	}
	b.phase(got[0].Accepted.Session, api.PhasePlacing, 60)
	ids := map[api.SignalID]bool{}
	for _, x := range got[:60] {
		ids[x.Accepted.Signal] = true
	}
	if len(ids) != 60 {
		t.Errorf("60 signals have %d ids", len(ids))
	}
}

// Another hub takes the shard over when a part of a list is durable. What was answered before stands, the rest is unknown, and
// the whole list can be sent again to the new owner: nothing is doubled and the order stays.
func TestAnOwnerThatIsLostInTheMiddleOfAList(t *testing.T) {
	w := newBrains(t)
	old := w.start()
	first := old.accept("alice", "", "0")
	shard, err := first.Session.Shard()
	must(t, err)
	eventually(t, "it waits with a reason", func() string {
		if v, err := old.Session(t.Context(), api.DefaultOrg, first.Session); err != nil || v.Reason == "" {
			return fmt.Sprintf("%s %q, %v", v.Phase, v.Reason, err)
		}
		return ""
	})
	reached, open := make(chan struct{}), make(chan struct{})
	var batches atomic.Int32
	w.shards.set(func(of []hub.Batch) fault {
		if slices.ContainsFunc(of, func(x hub.Batch) bool { return x.Shard == shard }) && batches.Add(1) == 2 {
			close(reached)
			<-open
		}
		return none
	})
	var list []hub.SignalRequest
	for i := range api.MaxSignalsPerCall {
		list = append(list, say("alice", fmt.Sprint("k", i), strings.Repeat(fmt.Sprint(i, " "), 20<<10))) // too much for one batch
	}
	var got []hub.SignalResult
	ctx, cancel := context.WithCancel(t.Context())
	g := run.NewGroup(t.Context())
	g.Go("sends the list", func(context.Context) error { got = old.SignalMany(ctx, list); return nil })
	<-reached
	next := w.start()
	close(open)
	<-old.done
	cancel() // nobody answers any more
	must(t, g.Wait())
	answered := 0
	for i, x := range got {
		if x.Err == nil && answered == i {
			answered++
			continue
		}
		refused(t, fmt.Sprint("signal ", i), x.Err, api.CodeUnavailable, "")
	}
	if answered == 0 || answered == len(list) {
		t.Fatalf("%d of %d signals were answered by the first owner", answered, len(list))
	}
	again := next.many(list...)
	for i, x := range again {
		if x.Err != nil || x.Accepted.Sequence != uint64(i+2) || x.Accepted.Duplicate != (i < answered) || i < answered && x.Accepted.Signal != got[i].Accepted.Signal {
			t.Errorf("signal %d again: %+v after %+v", i, x, got[i])
		}
	}
	next.phase(first.Session, api.PhasePlacing, len(list)+1)
}

// A caller hears what is known before its time is over, and what is not is unavailable.
func TestAListIsAnsweredBeforeItsTimeIsOver(t *testing.T) {
	w := newBrains(t)
	b := w.start()
	slow := b.accept("slow", "", "x")
	shard, err := slow.Session.Shard()
	must(t, err)
	open := make(chan struct{})
	w.shards.set(func(of []hub.Batch) fault {
		if slices.ContainsFunc(of, func(x hub.Batch) bool { return x.Shard == shard }) {
			<-open
		}
		return none
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	list := []hub.SignalRequest{say("slow", "k", "x"), say("", "", "x")}
	got := b.SignalMany(ctx, list)
	if ctx.Err() != nil {
		t.Error("the answer came after the caller's time")
	}
	refused(t, "what was not answered", got[0].Err, api.CodeUnavailable, "")
	refused(t, "the other", got[1].Err, api.CodeInvalid, "key")
	close(open)
	w.shards.set(nil)
	if again := b.many(list...); again[0].Err != nil || again[0].Accepted.Sequence != 2 || !again[0].Accepted.Duplicate {
		t.Errorf("sent again: %+v", again[0])
	}
}

// A shard whose inbox is full keeps nobody waiting but the signals for it.
func TestAFullInboxHoldsUpItsOwnSignalsAlone(t *testing.T) {
	w := newBrains(t)
	r := prometheus.NewRegistry()
	b := w.start(func(c *hub.Config) { c.Metrics = r })
	slow := b.accept("slow", "", "x")
	shard, err := slow.Session.Shard()
	must(t, err)
	open := make(chan struct{})
	w.shards.set(func(of []hub.Batch) fault {
		if slices.ContainsFunc(of, func(x hub.Batch) bool { return x.Shard == shard }) {
			<-open
		}
		return none
	})
	g := run.NewGroup(t.Context())
	for range 600 { // what the loop has taken, what its inbox takes, and more
		g.Go("fills the inbox", func(ctx context.Context) error {
			b.SignalMany(ctx, []hub.SignalRequest{say("slow", "", "x")})
			return nil
		})
	}
	eventually(t, "the inbox is full", func() string {
		if n := values(t, r)["nave_hub_queue shards"]; n < 256 {
			return fmt.Sprint(n)
		}
		return ""
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	got := b.SignalMany(ctx, []hub.SignalRequest{say("slow", "", "y"), say("other", "", "y"), say("another", "", "y")})
	refused(t, "a signal for the full one", got[0].Err, api.CodeUnavailable, "")
	if got[1].Err != nil && got[2].Err != nil {
		t.Errorf("signals for others: %v, %v", got[1].Err, got[2].Err)
	}
	close(open)
	g.Stop()
	must(t, g.Wait())
}

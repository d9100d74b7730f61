package hub_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
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
}

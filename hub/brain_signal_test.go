package hub_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// grants are those of a test: "subject object".
type grants struct {
	mu  sync.Mutex
	has map[string]bool // guarded by mu
}

func (g *grants) Granted(_ context.Context, org api.OrgID, subject api.GrantParty, relation api.Relation, object api.GrantParty) (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return org == api.DefaultOrg && relation == api.RelationSignal && subject.Kind == api.KindAgent && object.Kind == api.KindAgent && g.has[subject.Name+" "+object.Name], nil
}

func TestASessionSignalsAnotherByGrant(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	w.cluster("gcp")
	helper := agent("helper", "e", "")
	helper.Spec.(*api.AgentSpec).Harness.Protocol = api.ProtocolCommand
	_, _, err := w.catalog.Put(t.Context(), hub.PutRequest{Definition: helper})
	must(t, err)
	g := &grants{has: map[string]bool{}}
	b := w.start(func(c *hub.Config) { c.Granter = g; c.Limits.AgentSignals, c.Limits.AgentBurst = 1, 8 })
	s := b.attach("aws", 40)
	foreign := b.attach("gcp", 0)
	a := b.accept("alice", "", "x")
	d := s.gets(a.Session, 1)
	src := api.Source{Epoch: d.Epoch, Attempt: 1}
	say := func(to api.AgentSignal) (api.Accepted, error) { return s.a.Signal(t.Context(), a.Session, src, to) }
	good := api.AgentSignal{Agent: "helper", Key: "pr", Payload: []byte("look"), IdempotencyKey: "turn/1"}

	_, err = say(good)
	refused(t, "without a grant", err, api.CodeDenied, "agent")
	if !strings.Contains(err.Error(), "subject a, relation can_signal, object helper") {
		t.Errorf("the refusal does not say what to apply: %v", err)
	}
	g.mu.Lock()
	g.has["a helper"], g.has["helper helper"] = true, true
	g.mu.Unlock()
	first, err := say(good)
	must(t, err)
	again, err := say(good)
	if must(t, err); again.Signal != first.Signal || !again.Duplicate {
		t.Errorf("the same signal again: %+v, then %+v", first, again)
	}
	got := s.gets(first.Session, 1).Signals[0]
	want := []api.Origin{{Session: a.Session, Agent: "a", Key: "alice", Signal: a.Signal}}
	if got.Sender != "agent:a" || fmt.Sprint(got.Origin) != fmt.Sprint(want) || !bytes.Equal(got.Payload, good.Payload) {
		t.Errorf("the helper gets %+v", got)
	}
	_, err = foreign.a.Signal(t.Context(), a.Session, src, good)
	refused(t, "from another cluster", err, api.CodeDenied, "")
	_, err = s.a.Signal(t.Context(), a.Session, api.Source{Epoch: api.Epoch{Incarnation: 1, N: 9}, Attempt: 1}, good)
	refused(t, "from another epoch", err, api.CodeDenied, "")
	for field, bad := range map[string]api.AgentSignal{"agent": {Agent: "No", Key: "k", Payload: []byte("x")}, "key": {Agent: "helper", Key: "a\nb", Payload: []byte("x")},
		"payload": {Agent: "helper", Key: "k"}, "idempotency_key": {Agent: "helper", Key: "k", Payload: []byte("x"), IdempotencyKey: "nave.x"}} {
		_, err = say(bad)
		refused(t, "a bad "+field, err, api.CodeInvalid, field)
	}
	_, err = say(api.AgentSignal{Agent: "helper", Key: "big", Payload: make([]byte, api.MaxPayload+1)})
	refused(t, "a large payload", err, api.CodeLimit, "payload")

	// The rate is that of the session: 8 at once, of which 3 are used.
	var limited error
	for n := 0; n < 8 && limited == nil; n++ {
		_, limited = say(api.AgentSignal{Agent: "helper", Key: "many", Payload: []byte("x")})
	}
	refused(t, "too many at once", limited, api.CodeLimit, "")

	// Each helper signals the next one, until the chain is too long.
	from, at := first.Session, 1
	for ; at <= api.MaxOrigin; at++ {
		d := s.gets(from, 1)
		if n := len(d.Signals[0].Origin); n != at {
			t.Fatalf("helper %d gets a chain of %d", at, n)
		}
		next, err := s.a.Signal(t.Context(), from, api.Source{Epoch: d.Epoch, Attempt: 1}, api.AgentSignal{Agent: "helper", Key: fmt.Sprint("pr ", at), Payload: []byte("go on")})
		if at == api.MaxOrigin {
			refused(t, "a chain that is too long", err, api.CodeLimit, "")
			break
		}
		must(t, err)
		from = next.Session
	}
	must(t, b.stop())
	b = w.start() // nothing is granted
	s = b.attach("aws", 40, s.report(a.Session, api.HeldRunning, ""), s.report(first.Session, api.HeldAdmitted, ""))
	if kept := s.gets(first.Session, 1).Signals[0]; fmt.Sprint(kept.Origin) != fmt.Sprint(want) {
		t.Errorf("the next hub has the origin %v", kept.Origin)
	}
	_, err = s.a.Signal(t.Context(), a.Session, src, good)
	refused(t, "without a granter", err, api.CodeDenied, "agent")
}

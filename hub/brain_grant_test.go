package hub_test

import (
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// A grant that somebody applies lets a running session signal the other agent within seconds, and one that is deleted ends it
// within seconds.
func TestDefinedGrantsDecideWhoSignalsWhom(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	helper := agent("helper", "e", "")
	helper.Spec.(*api.AgentSpec).Harness.Protocol = api.ProtocolCommand
	w.put(helper)
	b := w.start(func(c *hub.Config) { c.Granter = w.catalog })
	s := b.attach("aws", 4)
	a := b.accept("alice", "", "x")
	src := api.Source{Epoch: s.gets(a.Session, 1).Epoch, Attempt: 1}
	say := func() api.Code {
		_, err := s.a.Signal(t.Context(), a.Session, src, api.AgentSignal{Agent: "helper", Key: "k", Payload: []byte("look"), IdempotencyKey: "one"})
		return api.CodeOf(err)
	}
	within := func(what string, want api.Code) {
		t.Helper()
		began := time.Now()
		eventually(t, what, func() string {
			if got := say(); got != want {
				return "answered " + string(got)
			}
			return ""
		})
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: after %v", what, took)
		}
	}
	if got := say(); got != api.CodeDenied {
		t.Fatalf("without a grant it is answered %q", got)
	}
	w.put(grant("helpers", "a", "helper"))
	within("the grant works", "")
	must(t, w.catalog.Delete(t.Context(), "", api.KindGrant, "helpers", "", false))
	within("the deletion works", api.CodeDenied)
}

package hub_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// explainable is a world where cloud a is preferred and has an environment of its own.
func explainable(t *testing.T) *brains {
	w := newBrains(t)
	inCloud := func(name string) []api.Requirement {
		return []api.Requirement{{Key: "cloud", Operator: api.OpIn, Values: []string{name}}}
	}
	w.put(api.Definition{Meta: api.Meta{Name: "p"}, Spec: &api.PlacementPolicySpec{Preferences: []api.Preference{{Weight: 50, Match: inCloud("a")}}}})
	w.put(api.Definition{Meta: api.Meta{Name: "e"}, Spec: &api.EnvironmentSpec{Image: "plain", Overrides: []api.Override{
		{Clusters: inCloud("z"), Image: "never"}, {Clusters: inCloud("a"), Image: "special"}}}})
	w.describe("first")
	return w
}

func (b *brains) put(d api.Definition) {
	b.t.Helper()
	_, _, err := b.catalog.Put(b.t.Context(), hub.PutRequest{Definition: d})
	must(b.t, err)
}

// describe makes the next revision of the agent.
func (b *brains) describe(text string) {
	b.t.Helper()
	a := agent("a", "e", "p")
	s := a.Spec.(*api.AgentSpec)
	s.Description, s.Harness.Protocol = text, api.ProtocolCommand
	b.put(a)
}

// label changes the labels of a registered cluster.
func (b *brains) label(id api.ClusterID, labels map[string]string) {
	b.t.Helper()
	all, err := b.store.Clusters(b.t.Context())
	must(b.t, err)
	for _, c := range all {
		if c.ID == id {
			c.Labels = labels
			_, err := b.store.UpdateCluster(b.t.Context(), c)
			must(b.t, err)
		}
	}
}

func (b *brain) explain(id api.SessionID) hub.Explanation {
	b.w.t.Helper()
	x, err := b.Explain(b.w.t.Context(), api.DefaultOrg, id, true)
	must(b.w.t, err)
	if x.Present == nil || !strings.Contains(x.Present.Summary, "would decide") || x.Present.Time.IsZero() {
		b.w.t.Fatalf("the present decision is %+v", x.Present)
	}
	return x
}

// resolved is what people want to know of it.
type resolved struct {
	Pinned          bool
	Agent, Env, Pol uint64
	Image           string
	Override        int
}

func resolvedOf(r *hub.Resolved) resolved {
	v := r.Revision
	return resolved{r.Pinned, v.AgentRevision, v.EnvironmentRevision, v.PolicyRevision, r.Environment.Image, r.Override}
}

func TestExplainDecidesAnewAndKeepsNothing(t *testing.T) {
	w := explainable(t)
	aws, gcp := w.cluster("aws"), w.cluster("gcp")
	w.label(aws, map[string]string{"cloud": "a"})
	b := w.start()
	s, other := b.attach("aws", 1), b.attach("gcp", 1)
	alice := b.accept("alice", "", "x").Session
	s.gets(alice, 1)
	s.held(alice, api.HeldRunning, "")
	full := capacity(1)
	full.Flavors[0].Used = 1
	s.send(api.SpokeMessage{Capacity: &full})
	b.phase(alice, api.PhaseRunning, 1)
	w.describe("second")

	eventually(t, "the capacity is known", func() string {
		if used := b.Status(aws).Capacity.Flavors[0].Used; used != 1 {
			return "not yet"
		}
		return ""
	})
	eventually(t, "the decision is archived", func() string {
		if n := len(b.explain(alice).Decisions); n != 1 {
			return fmt.Sprint(n)
		}
		return ""
	})
	x := b.explain(alice)
	if p := x.Present; p.Cluster != aws || len(p.Candidates) != 2 || p.Candidates[0].Reason != "" || p.Candidates[1].Reason != "" {
		t.Errorf("a session that holds the last room: %+v", p)
	}
	if d := cmp.Diff(resolved{true, 2, 2, 1, "special", 2}, resolvedOf(x.Resolved)); d != "" {
		t.Errorf("what it runs (-want +got):\n%s", d)
	}

	bob := b.accept("bob", "", "x").Session
	other.gets(bob, 1)
	other.held(bob, api.HeldRunning, "")
	other.finish(bob, 1)
	other.sleep(bob)
	x = b.explain(bob)
	if p := x.Present; p.Cluster != gcp || p.Candidates[1].Reason != api.ReasonCapacity {
		t.Errorf("a session that sleeps: %+v", p)
	}
	if d := cmp.Diff(resolved{false, 3, 2, 1, "plain", 0}, resolvedOf(x.Resolved)); d != "" {
		t.Errorf("what it would run (-want +got):\n%s", d)
	}
	carol := b.accept("carol", "", "x").Session
	other.gets(carol, 1) // the room was not kept for bob

	x = b.explain(bob)
	if p := x.Present; p.Cluster != "" || p.Candidates[0].Reason != api.ReasonCapacity || p.Candidates[1].Reason != api.ReasonCapacity {
		t.Errorf("where nothing is free: %+v", p)
	}
	if v, err := b.Explain(t.Context(), api.DefaultOrg, bob, false); err != nil || v.Present != nil || v.Resolved == nil {
		t.Errorf("not asked for: %+v, %v", v, err)
	}
}

func TestExplainOfWhatCannotBePlaced(t *testing.T) {
	w := explainable(t)
	w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 1)
	alice := b.accept("alice", "", "x").Session
	s.gets(alice, 1)
	s.held(alice, api.HeldRunning, "")
	must(t, w.catalog.Delete(t.Context(), "", api.KindAgent, "a", "", false))
	x := b.explain(alice)
	if x.Present.Cluster != "" || !strings.Contains(x.Present.Summary, `there is no Agent "a"`) {
		t.Errorf("without its agent: %+v", x.Present)
	}
	if x.Resolved == nil || !x.Resolved.Pinned || x.Resolved.Revision.AgentRevision != 2 {
		t.Errorf("what it runs all the same: %+v", x.Resolved)
	}
	_, err := b.SetIntent(t.Context(), hub.IntentRequest{Org: api.DefaultOrg, Session: alice, Change: hub.ChangeTerminate, By: "t"})
	must(t, err)
	if x = b.explain(alice); x.Present.Cluster != "" || x.Resolved != nil {
		t.Errorf("terminated: %+v, %+v", x.Present, x.Resolved)
	}
	_, err = b.Explain(t.Context(), api.DefaultOrg, api.SessionID(newULID()), true)
	refused(t, "no session", err, api.CodeNotFound, "id")
}

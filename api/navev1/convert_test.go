package navev1_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

// generated makes any spec: every field of the types is filled by reflection, so that a field that a conversion forgets
// is found.
func generated(t *rapid.T) api.Spec {
	switch rapid.SampledFrom(api.Kinds()).Draw(t, "kind") {
	case api.KindEnvironment:
		s := rapid.MakeCustom[api.EnvironmentSpec](makers).Draw(t, "spec")
		return &s
	case api.KindAgent:
		s := rapid.MakeCustom[api.AgentSpec](makers).Draw(t, "spec")
		return &s
	case api.KindPlacementPolicy:
		s := rapid.MakeCustom[api.PlacementPolicySpec](makers).Draw(t, "spec")
		return &s
	case api.KindGrant:
		s := rapid.MakeCustom[api.GrantSpec](makers).Draw(t, "spec")
		return &s
	default:
		panic("a kind without a generator")
	}
}

func TestSpecsRoundTrip(t *testing.T) {
	kinds := map[api.Kind]int{}
	rapid.Check(t, func(t *rapid.T) {
		want := generated(t)
		kinds[want.Kind()]++
		m := navev1.SpecToProto(want)
		got, err := navev1.SpecFromProto(want.Kind(), m)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("through the message (-want +got):\n%s", d)
		}
		if !proto.Equal(m, navev1.SpecToProto(got)) {
			t.Fatal("the message changed on its way through the noun")
		}
		b, err := navev1.EncodeSpec(want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err = navev1.DecodeSpec(want.Kind(), b); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("through the bytes (-want +got):\n%s", d)
		}
		again, err := navev1.EncodeSpec(got)
		if err != nil || string(again) != string(b) {
			t.Fatalf("an equal spec has other bytes: %x and %x, %v", b, again, err)
		}
	})
	if len(kinds) != len(api.Kinds()) {
		t.Errorf("only %v were generated", kinds)
	}
}

func TestDefinitionsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := api.Definition{Meta: rapid.MakeCustom[api.Meta](makers).Draw(t, "meta"), Spec: generated(t)}
		got, err := navev1.DefinitionFromProto(navev1.DefinitionToProto(want))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
	})
}

func TestClustersRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.MakeCustom[api.Cluster](makers).Draw(t, "cluster")
		want.Identity, want.Fence, want.Status.Boot = "", 0, "" // do not travel
		if d := cmp.Diff(want, navev1.ClusterFromProto(navev1.ClusterToProto(want))); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
	})
}

func TestEventsAndDecisionsRoundTrip(t *testing.T) {
	name := func(id api.ClusterID) string { return "name of " + string(id) }
	id := func(name string) api.ClusterID { return api.ClusterID(name[len("name of "):]) }
	rapid.Check(t, func(t *rapid.T) {
		event := rapid.MakeCustom[api.Event](makers).Draw(t, "event")
		got, err := navev1.EventFromProto(navev1.EventToProto(event, name), id)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(event, got); d != "" {
			t.Fatalf("event (-want +got):\n%s", d)
		}
		decision := rapid.MakeCustom[api.Decision](makers).Draw(t, "decision")
		for i := range decision.Candidates {
			decision.Candidates[i].Name = ""
			if c := decision.Candidates[i].Cluster; c != "" {
				decision.Candidates[i].Name = name(c)
			}
		}
		back, err := navev1.DecisionFromProto(navev1.DecisionToProto(decision, name), id)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(decision, back); d != "" {
			t.Fatalf("decision (-want +got):\n%s", d)
		}
	})
}

func TestWhatANounCannotHoldNamesTheField(t *testing.T) {
	long, broken := &durationpb.Duration{Seconds: math.MaxInt64 / 1_000_000_000 * 2}, &durationpb.Duration{Seconds: 1, Nanos: -1}
	for _, c := range []struct {
		kind  api.Kind
		m     proto.Message
		field string
	}{
		{api.KindAgent, &navev1.AgentSpec{IdleTimeout: long}, "spec.idle_timeout"},
		{api.KindAgent, &navev1.AgentSpec{TurnLimit: broken}, "spec.turn_limit"},
		{api.KindAgent, &navev1.AgentSpec{ApprovalHold: broken}, "spec.approval_hold"},
		{api.KindAgent, &navev1.AgentSpec{ApprovalExpiry: long}, "spec.approval_expiry"},
		{api.KindAgent, &navev1.AgentSpec{Checkpoint: &navev1.Checkpoint{Interval: broken}}, "spec.checkpoint.interval"},
		{api.KindAgent, &navev1.AgentSpec{StopAfter: "60"}, "spec.stop_after"},
		{api.KindAgent, &navev1.AgentSpec{StopAfter: "-1ns"}, "spec.stop_after"},
		{api.KindAgent, &navev1.AgentSpec{StopAfter: "0s"}, "spec.stop_after"},
		{api.KindAgent, &navev1.AgentSpec{StopAfter: "Never"}, "spec.stop_after"},
		{api.KindEnvironment, &navev1.EnvironmentSpec{Volumes: []*navev1.Volume{{}, {TimeToLive: long}}}, "spec.volumes[1].time_to_live"},
		{api.KindEnvironment, &navev1.AgentSpec{}, "spec"},
		{api.KindGrant, &navev1.AgentSpec{}, "spec"},
		{"Cat", &navev1.AgentSpec{}, "kind"},
	} {
		if _, err := navev1.SpecFromProto(c.kind, c.m); api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != c.field {
			t.Errorf("%s %v: %v, want field %q", c.kind, c.m, err, c.field)
		}
	}
	if _, err := navev1.EncodeSpec(&api.EnvironmentSpec{Image: "\xff"}); api.CodeOf(err) != api.CodeInvalid {
		t.Errorf("text that is not UTF-8 is encoded: %v", err)
	}
	if _, err := navev1.DecodeSpec(api.KindAgent, []byte{0xff}); api.CodeOf(err) != api.CodeInternal {
		t.Errorf("bytes that are no spec are decoded: %v", err)
	}
}

func TestStopAfter(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "never": api.StopNever, "60s": time.Minute, "1m30s": 90 * time.Second} {
		s, err := navev1.SpecFromProto(api.KindAgent, &navev1.AgentSpec{StopAfter: text})
		if err != nil || s.(*api.AgentSpec).StopAfter != want {
			t.Errorf("%q is %v, %v; want %v", text, s, err, want)
		}
	}
}

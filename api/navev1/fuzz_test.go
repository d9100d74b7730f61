package navev1_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

// seedSpecs are specs of every kind.
func seedSpecs() []api.Spec {
	return []api.Spec{
		&api.EnvironmentSpec{Image: "registry.example/agent:1", Command: []string{"/agent"}, Flavor: "small", WarmPool: 1,
			Volumes: []api.Volume{{Name: "data", Mount: "/data", SizeBytes: 1 << 30, TimeToLive: 3600e9}},
			Env:     []api.EnvVar{{Name: "A", Value: "b"}}, Files: []api.File{{Path: "/etc/x", Content: "y", Mode: 0o644}},
			InitScripts: []api.InitScript{{Name: "i", Script: "true"}}, Egress: []api.EgressRule{{Host: "a.example", Ports: []int{443}}}},
		&api.AgentSpec{Description: "d", Environment: "e", Harness: api.HarnessSpec{Protocol: "acp", Command: []string{"x"}}, Instructions: "do",
			StopAfter: api.StopNever, IdleTimeout: 60e9, MaxDeliveries: 3, Checkpoint: api.Checkpoint{Mode: api.CheckpointInterval, Interval: 60e9},
			Skills: []api.Skill{{Name: "s", Description: "d", Body: "b"}}, MCPServers: []api.MCPServer{{Name: "m", Command: []string{"m"}}}},
		&api.PlacementPolicySpec{Requirements: []api.Requirement{{Key: "region", Operator: "In", Values: []string{"eu"}}}, Stickiness: 10,
			Preferences: []api.Preference{{Weight: 5, Match: []api.Requirement{{Key: "cloud", Operator: "Exists"}}}}},
		&api.GrantSpec{Subject: api.GrantParty{Kind: api.KindAgent, Name: "a"}, Relation: "signal", Object: api.GrantParty{Kind: api.KindAgent, Name: "b"}},
	}
}

// named tells whether an error is one of ours that names a field.
func named(err error) bool {
	var e *api.Error
	return errors.As(err, &e) && e.Field != ""
}

// FuzzSpec: bytes of a spec, as the store and the link have them, are an error or a spec that encodes to what decodes to it
// again, whose defaults and checks fail with a field at most.
func FuzzSpec(f *testing.F) {
	for _, s := range seedSpecs() {
		b, err := navev1.EncodeSpec(s)
		if err != nil {
			f.Fatal(err)
		}
		for kind := range api.Kinds() {
			f.Add(uint8(kind), b)
		}
	}
	f.Add(uint8(0), []byte{0xff})
	f.Fuzz(func(t *testing.T, n uint8, b []byte) {
		kind := api.Kinds()[int(n)%len(api.Kinds())]
		s, err := navev1.DecodeSpec(kind, b)
		if err != nil {
			if c := api.CodeOf(err); c != api.CodeInternal && !named(err) {
				t.Errorf("refused as %s: %v", c, err)
			}
			return
		}
		if s.Kind() != kind {
			t.Fatalf("a %s was read as a %s", kind, s.Kind())
		}
		again, err := navev1.EncodeSpec(s)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		back, err := navev1.DecodeSpec(kind, again)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if d := cmp.Diff(s, back); d != "" {
			t.Errorf("(-first +second):\n%s", d)
		}
		if err := s.Validate(); err != nil && (api.CodeOf(err) != api.CodeInvalid && api.CodeOf(err) != api.CodeLimit || !named(err)) {
			t.Errorf("refused as %s, field %q: %v", api.CodeOf(err), api.FieldOf(err), err)
		}
	})
}

// FuzzDefinitionJSON: a definition that a person sends as JSON is refused with a field, or passes through the nouns and back
// without a change.
func FuzzDefinitionJSON(f *testing.F) {
	for i, s := range seedSpecs() {
		d := api.Definition{Meta: api.Meta{Org: "default", Name: "a", Labels: map[string]string{"a": "b"}, Etag: "7"}, Spec: s}
		b, err := protojson.Marshal(navev1.DefinitionToProto(d))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), string(b))
	}
	f.Add(uint8(1), `{"spec":{"idleTimeout":"315576000000s","stopAfter":"never"}}`)
	f.Add(uint8(1), `{"meta":{"createdAt":"0001-01-01T00:00:00Z"},"spec":{"checkpoint":{}}}`)
	f.Fuzz(func(t *testing.T, n uint8, text string) {
		m := []proto.Message{&navev1.Environment{}, &navev1.Agent{}, &navev1.PlacementPolicy{}, &navev1.Grant{}}[n%4]
		if protojson.Unmarshal([]byte(text), m) != nil {
			return
		}
		d, err := navev1.DefinitionFromProto(m)
		if err != nil {
			if api.CodeOf(err) != api.CodeInvalid || !strings.HasPrefix(api.FieldOf(err), "spec.") {
				t.Errorf("refused as %s, field %q: %v", api.CodeOf(err), api.FieldOf(err), err)
			}
			return
		}
		out := navev1.DefinitionToProto(d)
		if _, err := protojson.Marshal(out); err != nil {
			t.Fatalf("the answer cannot be written: %v", err)
		}
		back, err := navev1.DefinitionFromProto(out)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(d, back); diff != "" {
			t.Errorf("(-first +second):\n%s", diff)
		}
		for _, err := range []error{api.ValidateMeta(d.Meta), d.Spec.Validate()} {
			if err != nil && !named(err) {
				t.Errorf("an error without a field: %v", err)
			}
		}
	})
}

// FuzzAnswers: what a hub sends to a client, events, decisions, clusters and approvals, is an error or a noun that passes
// back to the same message.
func FuzzAnswers(f *testing.F) {
	name := func(id api.ClusterID) string { return string(id) }
	id := func(name string) api.ClusterID { return api.ClusterID(name) }
	seed := func(m proto.Message) {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	seed(navev1.EventToProto(api.Event{Session: "s", Number: 1, Source: api.Source{Epoch: api.Epoch{Incarnation: 1, N: 2}, Attempt: 3}, SourceNumber: 4, Type: "log",
		Cluster: "c", Text: "t", Signals: []uint64{1}, Outcome: "done", Attributes: map[string]string{"a": "b"}}, name))
	seed(navev1.DecisionToProto(api.Decision{Session: "s", Epoch: api.Epoch{Incarnation: 1, N: 1}, Cluster: "c", Summary: "x",
		Candidates: []api.Candidate{{Cluster: "c", Name: "c", Chosen: true, Terms: []api.ScoreTerm{{Name: "t", Value: 1}}}}}, name))
	seed(navev1.ClusterToProto(api.Cluster{ID: "i", Org: "o", Name: "n", Taints: []api.Taint{{Key: "k", Effect: "NoSchedule"}},
		Status: api.ClusterStatus{Sessions: 1, Capacity: api.Capacity{Flavors: []api.FlavorCapacity{{Flavor: "f", Total: 2, Used: 1}}}}}))
	seed(navev1.ApprovalToProto(api.Approval{Org: "o", ID: "i", Options: []api.ApprovalOption{{ID: "a", Name: "n", Kind: "allow_once"}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e navev1.Event
		if proto.Unmarshal(b, &e) == nil {
			if got, err := navev1.EventFromProto(&e, id); err == nil {
				back, err := navev1.EventFromProto(navev1.EventToProto(got, name), id)
				if err != nil || cmp.Diff(got, back) != "" {
					t.Errorf("event %v: %s", err, cmp.Diff(got, back))
				}
			} else if !named(err) {
				t.Error(err)
			}
		}
		var d navev1.Decision
		if proto.Unmarshal(b, &d) == nil {
			if _, err := navev1.DecisionFromProto(&d, id); err != nil && !named(err) {
				t.Error(err)
			}
		}
		var c navev1.Cluster
		if proto.Unmarshal(b, &c) == nil {
			got := navev1.ClusterFromProto(&c)
			if diff := cmp.Diff(got, navev1.ClusterFromProto(navev1.ClusterToProto(got))); diff != "" {
				t.Errorf("cluster:\n%s", diff)
			}
		}
		var a navev1.Approval
		if proto.Unmarshal(b, &a) == nil {
			got := navev1.ApprovalFromProto(&a)
			if diff := cmp.Diff(got, navev1.ApprovalFromProto(navev1.ApprovalToProto(got))); diff != "" {
				t.Errorf("approval:\n%s", diff)
			}
		}
	})
}

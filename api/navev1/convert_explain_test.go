package navev1_test

import (
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

func TestResolvedSaysEverything(t *testing.T) {
	r := api.ResolvedRevision{AgentName: "a", AgentRevision: 1, EnvironmentRevision: 2, PolicyRevision: 3, Agent: &api.AgentSpec{
		Environment: "e", PlacementPolicy: "p", Harness: api.HarnessSpec{Protocol: api.ProtocolACP, Command: []string{"run"}}, Model: api.ModelRef{Name: "m"},
		MCPServers: []api.MCPServer{{Name: "tools"}}, Skills: []api.Skill{{Name: "s"}}}}
	m := navev1.ResolvedToProto(r, &api.EnvironmentSpec{Image: "i", Flavor: "f"}, 4, true).ProtoReflect()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); !m.Has(f) && f.Name() != "image_digest" { // nothing looks tags up
			t.Errorf("%s is not said", f.Name())
		}
	}
	// What cannot be read any more: name and revisions stay.
	r.Agent = nil
	seen := map[protoreflect.Name]bool{}
	navev1.ResolvedToProto(r, nil, 0, true).ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		seen[f.Name()] = true
		return true
	})
	for _, name := range []protoreflect.Name{"pinned", "agent", "agent_revision", "environment_revision", "placement_policy_revision"} {
		if !seen[name] {
			t.Errorf("%s of a revision that is gone is not said", name)
		}
	}
}

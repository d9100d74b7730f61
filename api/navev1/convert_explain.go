package navev1

import "github.com/nave-dev/nave/api"

// ResolvedToProto returns the message of what a session runs, or would run. env is the environment as it is in the cluster,
// nil when it is not known; override is which of its overrides applies there, from 1. What a tag means is not looked up.
func ResolvedToProto(r api.ResolvedRevision, env *api.EnvironmentSpec, override int, pinned bool) *Resolved {
	m := &Resolved{Pinned: pinned, Agent: r.AgentName, AgentRevision: r.AgentRevision, EnvironmentRevision: r.EnvironmentRevision,
		PlacementPolicyRevision: r.PolicyRevision, Override: int32(override)}
	if env != nil {
		m.Image, m.Flavor = env.Image, env.Flavor
	}
	a := r.Agent
	if a == nil {
		return m
	}
	m.Environment, m.PlacementPolicy = a.Environment, a.PlacementPolicy
	m.HarnessProtocol, m.Command, m.Model = string(a.Harness.Protocol), clone(a.Harness.Command), a.Model.Name
	m.McpServers = each(a.MCPServers, func(s api.MCPServer) string { return s.Name })
	m.Skills = each(a.Skills, func(s api.Skill) string { return s.Name })
	return m
}

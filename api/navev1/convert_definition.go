package navev1

import (
	"fmt"
	"time"

	"github.com/nave-dev/nave/api"
)

// stopNever is what StopNever is called on the wire.
const stopNever = "never"

func environmentToProto(s *api.EnvironmentSpec) *EnvironmentSpec {
	return &EnvironmentSpec{
		Image: s.Image, Command: clone(s.Command), Flavor: s.Flavor, RuntimeClass: s.RuntimeClass,
		Volumes: each(s.Volumes, func(v api.Volume) *Volume {
			return &Volume{Name: v.Name, Mount: v.Mount, SizeBytes: v.SizeBytes, Class: v.Class, TimeToLive: durationToProto(v.TimeToLive), Ephemeral: v.Ephemeral}
		}),
		Env:         each(s.Env, envToProto),
		Files:       each(s.Files, func(f api.File) *File { return &File{Path: f.Path, Content: f.Content, Mode: f.Mode} }),
		InitScripts: each(s.InitScripts, func(i api.InitScript) *InitScript { return &InitScript{Name: i.Name, Script: i.Script} }),
		PullSecrets: clone(s.PullSecrets), WarmPool: int32(s.WarmPool),
		Egress: each(s.Egress, func(r api.EgressRule) *EgressRule {
			return &EgressRule{Host: r.Host, Ports: each(r.Ports, func(p int) int32 { return int32(p) })}
		}),
		Overrides: each(s.Overrides, func(o api.Override) *Override {
			return &Override{Clusters: each(o.Clusters, requirementToProto), Image: o.Image, Flavor: o.Flavor, StorageClass: o.StorageClass, RuntimeClass: o.RuntimeClass}
		}),
	}
}

func environmentFromProto(m *EnvironmentSpec) (*api.EnvironmentSpec, error) {
	var volumes []api.Volume
	for i, v := range m.GetVolumes() {
		ttl, err := DurationFromProto(fmt.Sprintf("spec.volumes[%d].time_to_live", i), v.GetTimeToLive())
		if err != nil {
			return nil, err
		}
		volumes = append(volumes, api.Volume{Name: v.GetName(), Mount: v.GetMount(), SizeBytes: v.GetSizeBytes(), Class: v.GetClass(), TimeToLive: ttl, Ephemeral: v.GetEphemeral()})
	}
	return &api.EnvironmentSpec{
		Image: m.GetImage(), Command: clone(m.GetCommand()), Flavor: m.GetFlavor(), RuntimeClass: m.GetRuntimeClass(),
		Volumes: volumes,
		Env:     each(m.GetEnv(), envFromProto),
		Files: each(m.GetFiles(), func(f *File) api.File {
			return api.File{Path: f.GetPath(), Content: f.GetContent(), Mode: f.GetMode()}
		}),
		InitScripts: each(m.GetInitScripts(), func(i *InitScript) api.InitScript {
			return api.InitScript{Name: i.GetName(), Script: i.GetScript()}
		}),
		PullSecrets: clone(m.GetPullSecrets()), WarmPool: int(m.GetWarmPool()),
		Egress: each(m.GetEgress(), func(r *EgressRule) api.EgressRule {
			return api.EgressRule{Host: r.GetHost(), Ports: each(r.GetPorts(), func(p int32) int { return int(p) })}
		}),
		Overrides: each(m.GetOverrides(), func(o *Override) api.Override {
			return api.Override{Clusters: each(o.GetClusters(), requirementFromProto), Image: o.GetImage(), Flavor: o.GetFlavor(),
				StorageClass: o.GetStorageClass(), RuntimeClass: o.GetRuntimeClass()}
		}),
	}, nil
}

func envToProto(e api.EnvVar) *EnvVar {
	return &EnvVar{Name: e.Name, Value: e.Value, Secret: e.Secret}
}

func envFromProto(m *EnvVar) api.EnvVar {
	return api.EnvVar{Name: m.GetName(), Value: m.GetValue(), Secret: m.GetSecret()}
}

func requirementToProto(r api.Requirement) *Requirement {
	return &Requirement{Key: r.Key, Operator: string(r.Operator), Values: clone(r.Values)}
}

func requirementFromProto(m *Requirement) api.Requirement {
	return api.Requirement{Key: m.GetKey(), Operator: api.Operator(m.GetOperator()), Values: clone(m.GetValues())}
}

func agentToProto(s *api.AgentSpec) *AgentSpec {
	m := &AgentSpec{
		Description: s.Description, Environment: s.Environment, Instructions: s.Instructions,
		McpServers: each(s.MCPServers, func(x api.MCPServer) *McpServer {
			return &McpServer{Name: x.Name, Image: x.Image, Command: clone(x.Command), Env: each(x.Env, envToProto), Port: int32(x.Port), Stdio: x.Stdio}
		}),
		Skills:          each(s.Skills, func(k api.Skill) *Skill { return &Skill{Name: k.Name, Description: k.Description, Body: k.Body} }),
		PlacementPolicy: s.PlacementPolicy,
		IdleTimeout:     durationToProto(s.IdleTimeout), TurnLimit: durationToProto(s.TurnLimit),
		OnSignal: string(s.OnSignal), StopAfter: stopAfterToProto(s.StopAfter), OnStateLoss: string(s.OnStateLoss),
		ApprovalHold: durationToProto(s.ApprovalHold), ApprovalExpiry: durationToProto(s.ApprovalExpiry), MaxDeliveries: int32(s.MaxDeliveries),
	}
	// A message that says nothing is left out, so that equal specs have one encoding.
	if s.Harness.Protocol != "" || len(s.Harness.Command) > 0 {
		m.Harness = &Harness{Protocol: string(s.Harness.Protocol), Command: clone(s.Harness.Command)}
	}
	if s.Model != (api.ModelRef{}) {
		m.Model = &Model{Name: s.Model.Name, Provider: s.Model.Provider}
	}
	if s.Checkpoint != (api.Checkpoint{}) {
		m.Checkpoint = &Checkpoint{Mode: string(s.Checkpoint.Mode), Interval: durationToProto(s.Checkpoint.Interval)}
	}
	return m
}

func agentFromProto(m *AgentSpec) (*api.AgentSpec, error) {
	s := &api.AgentSpec{
		Description: m.GetDescription(), Environment: m.GetEnvironment(),
		Harness:      api.HarnessSpec{Protocol: api.Protocol(m.GetHarness().GetProtocol()), Command: clone(m.GetHarness().GetCommand())},
		Instructions: m.GetInstructions(),
		Model:        api.ModelRef{Name: m.GetModel().GetName(), Provider: m.GetModel().GetProvider()},
		MCPServers: each(m.GetMcpServers(), func(x *McpServer) api.MCPServer {
			return api.MCPServer{Name: x.GetName(), Image: x.GetImage(), Command: clone(x.GetCommand()), Env: each(x.GetEnv(), envFromProto), Port: int(x.GetPort()), Stdio: x.GetStdio()}
		}),
		Skills: each(m.GetSkills(), func(k *Skill) api.Skill {
			return api.Skill{Name: k.GetName(), Description: k.GetDescription(), Body: k.GetBody()}
		}),
		PlacementPolicy: m.GetPlacementPolicy(), OnSignal: api.OnSignal(m.GetOnSignal()), OnStateLoss: api.OnStateLoss(m.GetOnStateLoss()),
		MaxDeliveries: int(m.GetMaxDeliveries()), Checkpoint: api.Checkpoint{Mode: api.CheckpointMode(m.GetCheckpoint().GetMode())},
	}
	var err error
	if s.IdleTimeout, err = DurationFromProto("spec.idle_timeout", m.GetIdleTimeout()); err != nil {
		return nil, err
	}
	if s.TurnLimit, err = DurationFromProto("spec.turn_limit", m.GetTurnLimit()); err != nil {
		return nil, err
	}
	if s.StopAfter, err = stopAfterFromProto(m.GetStopAfter()); err != nil {
		return nil, err
	}
	if s.ApprovalHold, err = DurationFromProto("spec.approval_hold", m.GetApprovalHold()); err != nil {
		return nil, err
	}
	if s.ApprovalExpiry, err = DurationFromProto("spec.approval_expiry", m.GetApprovalExpiry()); err != nil {
		return nil, err
	}
	if s.Checkpoint.Interval, err = DurationFromProto("spec.checkpoint.interval", m.GetCheckpoint().GetInterval()); err != nil {
		return nil, err
	}
	return s, nil
}

func stopAfterToProto(d time.Duration) string {
	switch d {
	case 0:
		return ""
	case api.StopNever:
		return stopNever
	}
	return d.String()
}

// stopAfterFromProto refuses zero and less: only "never" means never, and only leaving it out means the default.
func stopAfterFromProto(s string) (time.Duration, error) {
	switch s {
	case "":
		return 0, nil
	case stopNever:
		return api.StopNever, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, api.Invalid("spec.stop_after", "%.40q: want a duration from 8s to 24h such as \"60s\", or %q", s, stopNever)
	}
	return d, nil
}

func policyToProto(s *api.PlacementPolicySpec) *PlacementPolicySpec {
	return &PlacementPolicySpec{
		Requirements: each(s.Requirements, requirementToProto),
		Tolerations: each(s.Tolerations, func(t api.Toleration) *Toleration {
			return &Toleration{Key: t.Key, Operator: t.Operator, Value: t.Value, Effect: string(t.Effect)}
		}),
		Preferences: each(s.Preferences, func(p api.Preference) *Preference {
			return &Preference{Weight: int32(p.Weight), Match: each(p.Match, requirementToProto)}
		}),
		Stickiness: int32(s.Stickiness),
	}
}

func policyFromProto(m *PlacementPolicySpec) *api.PlacementPolicySpec {
	return &api.PlacementPolicySpec{
		Requirements: each(m.GetRequirements(), requirementFromProto),
		Tolerations: each(m.GetTolerations(), func(t *Toleration) api.Toleration {
			return api.Toleration{Key: t.GetKey(), Operator: t.GetOperator(), Value: t.GetValue(), Effect: api.Effect(t.GetEffect())}
		}),
		Preferences: each(m.GetPreferences(), func(p *Preference) api.Preference {
			return api.Preference{Weight: int(p.GetWeight()), Match: each(p.GetMatch(), requirementFromProto)}
		}),
		Stickiness: int(m.GetStickiness()),
	}
}

func grantToProto(s *api.GrantSpec) *GrantSpec {
	return &GrantSpec{Subject: partyToProto(s.Subject), Relation: string(s.Relation), Object: partyToProto(s.Object)}
}

// partyToProto leaves an empty party out.
func partyToProto(p api.GrantParty) *GrantParty {
	if p == (api.GrantParty{}) {
		return nil
	}
	return &GrantParty{Kind: string(p.Kind), Name: p.Name}
}

func grantFromProto(m *GrantSpec) *api.GrantSpec {
	return &api.GrantSpec{Subject: partyFromProto(m.GetSubject()), Relation: api.Relation(m.GetRelation()), Object: partyFromProto(m.GetObject())}
}

func partyFromProto(m *GrantParty) api.GrantParty {
	return api.GrantParty{Kind: api.Kind(m.GetKind()), Name: m.GetName()}
}

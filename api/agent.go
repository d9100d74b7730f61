package api

import (
	"fmt"
	"time"
)

// AgentSpec is the definition of an agent.
type AgentSpec struct {
	Description     string
	Environment     string // name of an environment of the same organization
	Harness         HarnessSpec
	Instructions    string
	Model           ModelRef
	MCPServers      []MCPServer
	Skills          []Skill
	PlacementPolicy string        // name of a placement policy; empty places anywhere
	IdleTimeout     time.Duration // without work for this long the session sleeps; default 5 min, 1 s to 24 h
	TurnLimit       time.Duration // a turn that takes longer is ended; default 1 h, 1 s to 7 days
	OnSignal        OnSignal      // what a signal does during a turn; default wait
	StopAfter       time.Duration // without the hub for this long the agent is stopped; default 60 s, 8 s to 24 h; StopNever
	OnStateLoss     OnStateLoss   // what to do when the state cannot be restored; default fail
	ApprovalHold    time.Duration // an open approval keeps the workload for this long; default 30 min, 1 s to 7 days
	ApprovalExpiry  time.Duration // an approval that nobody answers ends after this long; default 24 h, at least ApprovalHold, at most 30 days
	MaxDeliveries   int           // failures caused by the agent before a signal becomes a dead letter; default 5, 1 to 100
	Checkpoint      Checkpoint
}

// StopNever as StopAfter lets a session go on without the hub for ever; it is never replaced without a person.
const StopNever time.Duration = -1

// Protocol is how the harness drives the agent.
type Protocol string

// The protocols.
const (
	ProtocolACP     Protocol = "acp"     // Agent Client Protocol over standard input and output
	ProtocolCommand Protocol = "command" // one run of a program per turn
)

// HarnessSpec says how the agent program is driven.
type HarnessSpec struct {
	Protocol Protocol
	Command  []string // program and arguments
}

// ModelRef names a model of a provider.
type ModelRef struct {
	Name     string
	Provider string
}

// MCPServer is a tool server beside the agent: exactly one of Port and Stdio.
type MCPServer struct {
	Name    string
	Image   string
	Command []string
	Env     []EnvVar
	Port    int
	Stdio   bool
}

// Skill is a text that teaches the agent something.
type Skill struct {
	Name        string
	Description string
	Body        string
}

// OnSignal says what a signal does that arrives during a turn.
type OnSignal string

// The values of OnSignal.
const (
	OnSignalWait      OnSignal = "wait"
	OnSignalInterrupt OnSignal = "interrupt"
)

// OnStateLoss says what happens when the last checkpoint cannot be restored.
type OnStateLoss string

// The values of OnStateLoss.
const (
	OnStateLossFail     OnStateLoss = "fail"     // a start failure with a reason; a person decides
	OnStateLossContinue OnStateLoss = "continue" // go on with less, and tell the agent
)

// CheckpointMode says when the state directory is saved.
type CheckpointMode string

// The checkpoint modes.
const (
	CheckpointTurn     CheckpointMode = "turn"
	CheckpointInterval CheckpointMode = "interval"
	CheckpointIdle     CheckpointMode = "idle"
)

// Checkpoint says when the state directory is saved.
type Checkpoint struct {
	Mode     CheckpointMode // default turn
	Interval time.Duration  // with mode interval: 10 s to 24 h
}

// Kind implements [Spec].
func (*AgentSpec) Kind() Kind { return KindAgent }

// Refs implements [Spec].
func (s *AgentSpec) Refs() []Ref {
	refs := []Ref{{KindEnvironment, s.Environment, "spec.environment"}}
	if s.PlacementPolicy != "" {
		refs = append(refs, Ref{KindPlacementPolicy, s.PlacementPolicy, "spec.placement_policy"})
	}
	return refs
}

// Validate implements [Spec].
func (s *AgentSpec) Validate() error {
	var c checks
	c.text("spec.description", s.Description)
	c.do(ValidateName("spec.environment", s.Environment))
	c.that(s.Harness.Protocol == ProtocolACP || s.Harness.Protocol == ProtocolCommand, "spec.harness.protocol", "%.80q: want %q or %q", s.Harness.Protocol, ProtocolACP, ProtocolCommand)
	c.do(validateCommand("spec.harness.command", s.Harness.Command, true))
	c.text("spec.instructions", s.Instructions)
	c.that(printableKey(s.Model.Name, 256), "spec.model.name", "%.40q is not a model's name: use at most 256 bytes of UTF-8 without control characters", s.Model.Name)
	c.do(validateOptionalName("spec.model.provider", s.Model.Provider))
	c.that(s.Model.Provider == "" || s.Model.Name != "", "spec.model.name", "is empty: name the provider's model")
	c.do(validateMCPServers(s.MCPServers))
	c.list("spec.skills", len(s.Skills))
	unique(&c, "spec.skills", s.Skills, func(k Skill) string { return k.Name })
	for i, k := range s.Skills {
		f := fmt.Sprintf("spec.skills[%d]", i)
		c.do(ValidateName(f+".name", k.Name))
		c.that(k.Description != "" && len(k.Description) <= 1024, f+".description", "%d bytes: want 1 to 1024, agents choose a skill by it", len(k.Description))
		c.text(f+".description", k.Description)
		c.that(k.Body != "", f+".body", "is empty: give the skill's text")
		c.text(f+".body", k.Body)
	}
	c.do(validateOptionalName("spec.placement_policy", s.PlacementPolicy))
	c.duration("spec.idle_timeout", s.IdleTimeout, time.Second, 24*time.Hour)
	c.duration("spec.turn_limit", s.TurnLimit, time.Second, 7*24*time.Hour)
	c.that(s.OnSignal == "" || s.OnSignal == OnSignalWait || s.OnSignal == OnSignalInterrupt, "spec.on_signal", "%.80q: want %q or %q", s.OnSignal, OnSignalWait, OnSignalInterrupt)
	if s.StopAfter != StopNever {
		c.duration("spec.stop_after", s.StopAfter, 8*time.Second, 24*time.Hour)
	}
	c.that(s.OnStateLoss == "" || s.OnStateLoss == OnStateLossFail || s.OnStateLoss == OnStateLossContinue, "spec.on_state_loss", "%.80q: want %q or %q", s.OnStateLoss, OnStateLossFail, OnStateLossContinue)
	c.duration("spec.approval_hold", s.ApprovalHold, time.Second, 7*24*time.Hour)
	c.duration("spec.approval_expiry", s.ApprovalExpiry, time.Second, 30*24*time.Hour)
	if d := s.WithDefaults(); c.err == nil {
		c.that(d.ApprovalExpiry >= d.ApprovalHold, "spec.approval_expiry", "%v: want at least spec.approval_hold, %v", d.ApprovalExpiry, d.ApprovalHold)
	}
	c.that(s.MaxDeliveries >= 0 && s.MaxDeliveries <= 100, "spec.max_deliveries", "%d: want 1 to 100, or leave it out for the default", s.MaxDeliveries)
	c.do(validateCheckpoint(s.Checkpoint))
	return c.err
}

func validateCheckpoint(cp Checkpoint) error {
	var c checks
	switch cp.Mode {
	case "", CheckpointTurn, CheckpointIdle:
		c.that(cp.Interval == 0, "spec.checkpoint.interval", "is used with mode %q only: leave it out", CheckpointInterval)
	case CheckpointInterval:
		c.that(cp.Interval >= 10*time.Second && cp.Interval <= 24*time.Hour, "spec.checkpoint.interval", "%v: want 10s to 24h", cp.Interval)
	default:
		c.that(false, "spec.checkpoint.mode", "%.80q: want %q, %q or %q", cp.Mode, CheckpointTurn, CheckpointInterval, CheckpointIdle)
	}
	return c.err
}

func validateMCPServers(servers []MCPServer) error {
	var c checks
	c.list("spec.mcp_servers", len(servers))
	unique(&c, "spec.mcp_servers", servers, func(m MCPServer) string { return m.Name })
	for i, m := range servers {
		f := fmt.Sprintf("spec.mcp_servers[%d]", i)
		c.do(ValidateName(f+".name", m.Name))
		c.do(validateImage(f+".image", m.Image))
		c.that(m.Image != "" || len(m.Command) > 0, f+".command", "is empty and there is no image: give one of them")
		c.do(validateCommand(f+".command", m.Command, false))
		c.do(validateEnv(f+".env", m.Env))
		c.that(m.Port >= 0 && m.Port <= 65535, f+".port", "%d: want 1 to 65535", m.Port)
		c.that(m.Stdio != (m.Port != 0), f+".port", "give a port or stdio, exactly one of them")
	}
	return c.err
}

// WithDefaults returns the spec with every default filled in. What is stored is what the user wrote; defaults are applied
// when a revision is resolved.
func (s *AgentSpec) WithDefaults() *AgentSpec {
	out := *s
	out.IdleTimeout = orDefault(s.IdleTimeout, 5*time.Minute)
	out.TurnLimit = orDefault(s.TurnLimit, time.Hour)
	out.OnSignal = orDefault(s.OnSignal, OnSignalWait)
	out.StopAfter = orDefault(s.StopAfter, time.Minute)
	out.OnStateLoss = orDefault(s.OnStateLoss, OnStateLossFail)
	out.ApprovalHold = orDefault(s.ApprovalHold, 30*time.Minute)
	out.ApprovalExpiry = orDefault(s.ApprovalExpiry, max(24*time.Hour, out.ApprovalHold))
	out.MaxDeliveries = orDefault(s.MaxDeliveries, 5)
	out.Checkpoint.Mode = orDefault(s.Checkpoint.Mode, CheckpointTurn)
	return &out
}

// ResolvedRevision closes an agent's revision over everything that it refers to. It is fixed for an epoch. Agent has its
// defaults; Environment is as defined, the spoke's cluster picks its override.
type ResolvedRevision struct {
	AgentID             ObjectID
	AgentName           string
	AgentRevision       uint64
	EnvironmentRevision uint64
	PolicyRevision      uint64 // 0 without a policy
	Agent               *AgentSpec
	Environment         *EnvironmentSpec
	Policy              *PlacementPolicySpec // nil places anywhere
}

package description

import (
	"cmp"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Of renders what the harness of a workload needs to know of its session and revision, and nothing else of them. Where things
// lie (cluster, home, workspace, temp, path, socket, exit file, state) is left to the runtime.
func Of(w spoke.WorkloadSpec) *harnessv1.Workload {
	agent, env := w.Revision.Agent.WithDefaults(), w.Revision.Environment
	d := &harnessv1.Workload{
		Id: w.ID.String(), Organization: string(w.Org), Session: string(w.ID.Session), Key: w.Key, Agent: w.Revision.AgentName,
		Protocol: string(agent.Harness.Protocol), Command: agent.Harness.Command,
		Instructions: agent.Instructions, Model: agent.Model.Name,
		TurnLimit: durationpb.New(agent.TurnLimit), OnSignal: string(agent.OnSignal), Flavor: cmp.Or(env.Flavor, api.DefaultFlavor),
		StateLatest: string(w.State.Latest), StateSaved: string(w.State.Saved),
		OnStateLoss: string(cmp.Or(w.State.OnLoss, agent.OnStateLoss)), CheckpointMode: string(cmp.Or(w.State.Mode, agent.Checkpoint.Mode)),
		CheckpointInterval: durationpb.New(cmp.Or(w.State.Interval, agent.Checkpoint.Interval)),
		ApprovalHold:       durationpb.New(agent.ApprovalHold), Env: Variables(env.Env),
	}
	for _, m := range agent.MCPServers {
		d.McpServers = append(d.McpServers, &harnessv1.McpServer{Name: m.Name, Command: m.Command, Env: Variables(m.Env)})
	}
	for _, k := range agent.Skills {
		d.Skills = append(d.Skills, &harnessv1.Skill{Name: k.Name, Description: k.Description, Body: k.Body})
	}
	for _, f := range env.Files {
		d.Files = append(d.Files, &harnessv1.File{Path: f.Path, Content: f.Content, Mode: f.Mode})
	}
	for _, s := range env.InitScripts {
		d.InitScripts = append(d.InitScripts, &harnessv1.InitScript{Name: s.Name, Script: s.Script})
	}
	return d
}

// Variables renders variables that have values. Those of secrets have none here: a runtime refuses them or brings them otherwise.
func Variables(env []api.EnvVar) []*harnessv1.EnvVar {
	var out []*harnessv1.EnvVar
	for _, e := range env {
		out = append(out, &harnessv1.EnvVar{Name: e.Name, Value: e.Value})
	}
	return out
}

package process

import (
	"fmt"
	"maps"
	"slices"

	"github.com/nave-dev/nave/api"
)

// Refuse implements [spoke.Runtime]. The revision's environment has the cluster's override applied.
func (r *Runtime) Refuse(rev *api.ResolvedRevision) error {
	env, agent := rev.Environment, rev.Agent
	_, offered := r.c.Flavors[flavor(env)]
	rules := []struct {
		broken bool
		field  string
		remedy string
	}{
		{env.Image != "", "spec.image", "local processes run on the host: leave it out, or place the session in a cluster with pods"},
		{len(env.Command) > 0, "spec.command", "there is no image whose entry point it could replace: use spec.harness.command of the agent"},
		{!offered, "spec.flavor", fmt.Sprintf("%q is not offered here: use one of %v", flavor(env), slices.Sorted(maps.Keys(r.c.Flavors)))},
		{env.RuntimeClass != "", "spec.runtime_class", "local processes have none: leave it out"},
		{len(env.Volumes) > 0, "spec.volumes", "local processes have none: use the session's home and workspace"},
		{len(env.PullSecrets) > 0, "spec.pull_secrets", "no image is pulled: leave them out"},
		{env.WarmPool > 0, "spec.warm_pool", "local processes are not kept ready: leave it out"},
		{len(env.Egress) > 0, "spec.egress", "the network of local processes is not limited: leave it out"},
		{len(agent.MCPServers) > 0 && agent.Harness.Protocol != api.ProtocolACP, "spec.mcp_servers", fmt.Sprintf("agents of protocol %q are not told of tool servers: leave them out", agent.Harness.Protocol)},
		{agent.Model.Provider != "", "spec.model.provider", "no provider is reached through Nave here: leave it out"},
	}
	for _, rule := range rules {
		if rule.broken {
			return unsupported(rule.field, rule.remedy)
		}
	}
	for i, m := range agent.MCPServers {
		f := fmt.Sprintf("spec.mcp_servers[%d]", i)
		switch {
		case m.Image != "":
			return unsupported(f+".image", "tool servers are started by the agent on the host: give a command")
		case m.Port != 0:
			return unsupported(f+".port", "tool servers are started by the agent: use stdio")
		}
		if err := refuseSecrets(f+".env", m.Env); err != nil {
			return err
		}
	}
	return refuseSecrets("spec.env", env.Env)
}

func refuseSecrets(field string, env []api.EnvVar) error {
	for i, e := range env {
		if e.Secret != "" {
			return unsupported(fmt.Sprintf("%s[%d].secret", field, i), "secrets are not handed out here: give a value")
		}
	}
	return nil
}

func unsupported(field, remedy string) error {
	return &api.Error{Code: api.CodeUnsupported, Field: field, Err: fmt.Errorf("the process runtime cannot honour it: %s", remedy)}
}

func flavor(env *api.EnvironmentSpec) string {
	if env.Flavor == "" {
		return api.DefaultFlavor
	}
	return env.Flavor
}

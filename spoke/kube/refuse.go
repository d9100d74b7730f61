package kube

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/nave-dev/nave/api"
)

// Refuse implements [spoke.Runtime]. The revision's environment has the cluster's override applied.
func (r *Runtime) Refuse(rev *api.ResolvedRevision) error { return refuse(rev, r.c.Settings) }

func refuse(rev *api.ResolvedRevision, s Settings) error {
	env, agent := rev.Environment, rev.Agent
	_, offered := s.Flavors[flavorOf(env)]
	rules := []struct {
		broken bool
		field  string
		remedy string
	}{
		{imageOf(env, s) == "", "spec.image", "a pod needs one and the operator of this cluster has set none for those without: give an image"},
		{len(env.Command) > 0, "spec.command", "the harness is the first program of a pod: use spec.harness.command of the agent"},
		{!offered, "spec.flavor", fmt.Sprintf("%q is not offered here: use one of %v", flavorOf(env), slices.Sorted(maps.Keys(s.Flavors)))},
		{env.RuntimeClass != "" && !slices.Contains(s.RuntimeClasses, env.RuntimeClass), "spec.runtime_class", fmt.Sprintf("%q is not offered here: %s", env.RuntimeClass, oneOf(s.RuntimeClasses))},
		{len(env.PullSecrets) > 0, "spec.pull_secrets", "secrets are not handed to the cluster: let its operator give the service account of sessions a pull secret, and leave them out"},
		{env.WarmPool > 0, "spec.warm_pool", "pods are not kept ready: leave it out"},
		{len(env.Egress) > 0, "spec.egress", "the cluster's network cannot be limited by names of hosts: let its operator list networks under egress, and leave it out"},
		{len(agent.MCPServers) > 0 && agent.Harness.Protocol != api.ProtocolACP, "spec.mcp_servers", fmt.Sprintf("agents of protocol %q are not told of tool servers: leave them out", agent.Harness.Protocol)},
		{agent.Model.Provider != "", "spec.model.provider", "no provider is reached through Nave here: leave it out"},
	}
	for _, rule := range rules {
		if rule.broken {
			return unsupported(rule.field, rule.remedy)
		}
	}
	if err := refuseVolumes(env, s); err != nil {
		return err
	}
	if err := refuseServers(agent.MCPServers); err != nil {
		return err
	}
	return refuseSecrets("spec.env", env.Env)
}

func oneOf(offered []string) string {
	if len(offered) == 0 {
		return "none is: leave it out"
	}
	return fmt.Sprintf("use one of %v, or leave it out", offered)
}

// taken are directories of a pod in which no volume can be mounted: they are the kernel's, or hold what every pod has.
var taken = []string{"/dev", "/proc", "/sys", "/nave", "/etc", "/tmp", "/var/run/secrets", "/run/secrets"}

func refuseVolumes(env *api.EnvironmentSpec, s Settings) error {
	for i, v := range env.Volumes {
		f := fmt.Sprintf("spec.volumes[%d]", i)
		if v.Class != "" && !slices.Contains(s.StorageClasses, v.Class) {
			return unsupported(f+".class", fmt.Sprintf("%q is not offered here: %s", v.Class, oneOf(s.StorageClasses)))
		}
		if v.Mount == dirState {
			continue
		}
		for _, dir := range taken {
			if v.Mount == dir || strings.HasPrefix(v.Mount, dir+"/") || strings.HasPrefix(dir, path.Clean(v.Mount)+"/") {
				return unsupported(f+".mount", fmt.Sprintf("%s is in use: mount it elsewhere, or at %s to keep home and workspace", dir, dirState))
			}
		}
	}
	return nil
}

func refuseServers(servers []api.MCPServer) error {
	ports := map[int]string{}
	for i, m := range servers {
		f := fmt.Sprintf("spec.mcp_servers[%d]", i)
		switch {
		case m.Image != "" && m.Port == 0:
			return unsupported(f+".stdio", "a server with an image runs in a container of its own: let it listen and give its port")
		case m.Image == "" && m.Port != 0:
			return unsupported(f+".port", "a server without an image is started by the agent: use stdio, or give an image")
		case m.Port != 0 && ports[m.Port] != "":
			return unsupported(f+".port", fmt.Sprintf("%d is that of server %q, and the containers of a pod share their ports: use another", m.Port, ports[m.Port]))
		case m.Image != "" && len(sidecarPrefix+m.Name) > 63:
			return unsupported(f+".name", fmt.Sprintf("is too long for a container: use at most %d bytes", 63-len(sidecarPrefix)))
		}
		ports[m.Port] = m.Name
		if err := refuseSecrets(f+".env", m.Env); err != nil {
			return err
		}
	}
	return nil
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
	return &api.Error{Code: api.CodeUnsupported, Field: field, Err: fmt.Errorf("the Kubernetes runtime cannot honour it: %s", remedy)}
}

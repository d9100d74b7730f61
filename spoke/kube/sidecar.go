package kube

import (
	"cmp"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/nave-dev/nave/api"
)

// sidecarPrefix is what the container of a tool server is called, before its name.
const sidecarPrefix = "mcp-"

// sidecarsOf renders the tool servers that have an image of their own: containers that start before the harness and end after
// it. They have their own environment and temporary files, and neither the pod's token nor the session's state.
func sidecarsOf(servers []api.MCPServer, digests map[string]string, s Settings) (containers []corev1.Container, volumes []corev1.Volume) {
	always := corev1.ContainerRestartPolicyAlways
	for _, m := range servers {
		if m.Image == "" {
			continue
		}
		c := corev1.Container{
			Name: sidecarPrefix + m.Name, Image: cmp.Or(digests[m.Image], m.Image), ImagePullPolicy: s.Pods.PullPolicy, Command: literals(m.Command), RestartPolicy: &always,
			Resources: s.Sidecar.resources(), SecurityContext: restricted(),
			VolumeMounts:             []corev1.VolumeMount{{Name: sidecarPrefix + m.Name, MountPath: dirTemp}},
			TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError, // what it said last is why it ended
		}
		for _, e := range m.Env {
			c.Env = append(c.Env, corev1.EnvVar{Name: e.Name, Value: literal(e.Value)})
		}
		containers = append(containers, c)
		volumes = append(volumes, corev1.Volume{Name: c.Name, VolumeSource: corev1.VolumeSource{EmptyDir: new(corev1.EmptyDirVolumeSource)}})
	}
	return containers, volumes
}

// brokenServers says how tool servers ended that end by themselves, one line or more each; empty when all of them run.
func brokenServers(pod *corev1.Pod) string {
	var all []string
	for _, c := range pod.Status.InitContainerStatuses {
		if !strings.HasPrefix(c.Name, sidecarPrefix) {
			continue
		}
		if text := serverEnd(c); text != "" {
			all = append(all, "container "+c.Name+" failed: "+text)
		}
	}
	return strings.Join(all, "\n")
}

// serverEnd says how a tool server ended before it was started anew; empty when it was not. That it ends with its pod is in order.
func serverEnd(c corev1.ContainerStatus) string {
	t := c.LastTerminationState.Terminated
	if t == nil || t.Reason == unknownEnd {
		return ""
	}
	_, log := lastWords(t.Message)
	return strings.TrimSpace(exitCode(t) + "\n" + log)
}

// literal keeps the kubelet from replacing $(NAME) in a value.
func literal(s string) string { return strings.ReplaceAll(s, "$", "$$") }

func literals(in []string) []string {
	out := make([]string, 0, len(in))
	for _, s := range in {
		out = append(out, literal(s))
	}
	return out
}

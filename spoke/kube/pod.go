package kube

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// containerHarness is the container of the harness and its agent.
const (
	containerHarness = "harness"
	containerInstall = "install"
)

// tokenLife is how long a token of a pod is good, in seconds: the least that Kubernetes gives out. The kubelet renews it.
const tokenLife = 600

// defaultGrace is what a pod gets to end by itself when the platform ends it, in seconds.
const defaultGrace = 30

// podSpec is what a pod is made of, beside the settings.
type podSpec struct {
	spoke.WorkloadSpec
	Claim     *corev1.ConfigMap // that owns it
	Digests   map[string]string // of images, by how the revision names them; the others are run as it names them
	Authority []byte            // PEM, of the spoke's door
	Volume    bool              // the harness comes as an image volume
}

// podOf renders the pod of a workload. It is admitted under the restricted Pod Security Standard.
func podOf(w podSpec, s Settings) *corev1.Pod {
	env := w.Revision.Environment
	no, yes, grace := false, true, int64(defaultGrace)
	always := corev1.FSGroupChangeOnRootMismatch
	size := s.Flavors[flavorOf(env)].resources()
	volumes, mounts := volumesOf(w.ID.Session, env)
	own, at := ownVolumes(w, s, mounts)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: w.Claim.Name, Namespace: w.Claim.Namespace,
			Labels:      merged(s.Pods.Labels, w.Claim.Labels),
			Annotations: merged(s.Pods.Annotations, w.Claim.Annotations),
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "v1", Kind: "ConfigMap", Name: w.Claim.Name, UID: w.Claim.UID, // not a controller: drains take it as a bare pod
			}},
		},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, ServiceAccountName: s.Pods.ServiceAccount, AutomountServiceAccountToken: &no,
			EnableServiceLinks: &no, TerminationGracePeriodSeconds: &grace,
			NodeSelector: s.Pods.NodeSelector, Tolerations: s.Pods.Tolerations,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: &yes, RunAsUser: &s.Pods.User, RunAsGroup: &s.Pods.User, FSGroup: &s.Pods.User, FSGroupChangePolicy: &always,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: containerHarness, Image: cmp.Or(w.Digests[imageOf(env, s)], imageOf(env, s)), ImagePullPolicy: s.Pods.PullPolicy,
				Command: []string{fileHarness, "pod"},
				Env: []corev1.EnvVar{
					{Name: harnessv1.EnvWorkload, Value: w.ID.String()},
					{Name: harnessv1.EnvSpoke, Value: s.Service},
					{Name: harnessv1.EnvAuthority, Value: string(w.Authority)},
					{Name: harnessv1.EnvToken, Value: fileToken},
					{Name: harnessv1.EnvExit, Value: fileExit},
				},
				Resources: size, SecurityContext: restricted(), VolumeMounts: slices.Concat(at, mounts),
				TerminationMessagePath: fileExit,
				// The end of the log is the message of a harness that died without one: no second question, no right to read logs.
				TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
			}},
			Volumes: slices.Concat(own, volumes),
		},
	}
	if env.RuntimeClass != "" {
		pod.Spec.RuntimeClassName = &env.RuntimeClass
	}
	if !w.Volume {
		pod.Spec.InitContainers = []corev1.Container{{
			Name: containerInstall, Image: s.Harness.Image, ImagePullPolicy: s.Pods.PullPolicy,
			Command:         []string{"/nave-harness", "install", fileHarness},
			Resources:       size, // the greater of the two counts, not their sum
			SecurityContext: restricted(), VolumeMounts: []corev1.VolumeMount{{Name: "bin", MountPath: dirBin}},
			TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		}}
	}
	sidecars, temp := sidecarsOf(w.Revision.Agent.MCPServers, w.Digests, s)
	pod.Spec.InitContainers = append(pod.Spec.InitContainers, sidecars...)
	pod.Spec.Volumes = append(pod.Spec.Volumes, temp...)
	return pod
}

// ownVolumes are those of every pod, and where the harness's container has them.
func ownVolumes(w podSpec, s Settings, theirs []corev1.VolumeMount) (volumes []corev1.Volume, mounts []corev1.VolumeMount) {
	add := func(name, path string, source corev1.VolumeSource, readOnly bool) {
		if slices.ContainsFunc(theirs, func(m corev1.VolumeMount) bool { return m.MountPath == path }) {
			return
		}
		volumes = append(volumes, corev1.Volume{Name: name, VolumeSource: source})
		mounts = append(mounts, corev1.VolumeMount{Name: name, MountPath: path, ReadOnly: readOnly})
	}
	empty := func() corev1.VolumeSource { return corev1.VolumeSource{EmptyDir: new(corev1.EmptyDirVolumeSource)} }
	bin := empty()
	if w.Volume {
		bin = corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: s.Harness.Image, PullPolicy: s.Pods.PullPolicy}}
	}
	life := int64(tokenLife)
	add("bin", dirBin, bin, true)
	add("state", dirState, empty(), false)
	add("temp", dirTemp, empty(), false)
	add("identity", dirIdentity, corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
			Audience: harnessv1.Audience, ExpirationSeconds: &life, Path: "token",
		}}},
	}}, true)
	return volumes, mounts
}

// restricted is what the restricted Pod Security Standard asks of a container, and a root that cannot be written.
func restricted() *corev1.SecurityContext {
	no, yes := false, true
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

// resources are what a container of the size asks for and gets at most.
func (f Flavor) resources() corev1.ResourceRequirements {
	r := corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: *f.CPU, corev1.ResourceMemory: *f.Memory},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: *f.Memory},
	}
	if f.CPULimit != nil {
		r.Limits[corev1.ResourceCPU] = *f.CPULimit
	}
	if f.EphemeralStorage != nil {
		r.Requests[corev1.ResourceEphemeralStorage], r.Limits[corev1.ResourceEphemeralStorage] = *f.EphemeralStorage, *f.EphemeralStorage
	}
	return r
}

// imageOf is the image of an environment's pods.
func imageOf(env *api.EnvironmentSpec, s Settings) string { return cmp.Or(env.Image, s.Pods.Image) }

func flavorOf(env *api.EnvironmentSpec) string { return cmp.Or(env.Flavor, api.DefaultFlavor) }

package kube

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

func makePod(t *testing.T, w podSpec, s Settings) *corev1.Pod {
	t.Helper()
	c, err := claimOf(w.WorkloadSpec, s, "01CLUSTER", "nave-default", w.Digests[imageOf(w.Revision.Environment, s)])
	if err != nil {
		t.Fatal(err)
	}
	c.UID = types.UID("claim-uid")
	w.Claim = c
	return podOf(w, s)
}

func TestPod(t *testing.T) {
	s := settingsOf(t, "pods: {labels: {team: a}, annotations: {note: b}, node_selector: {disk: ssd}, tolerations: [{key: gpu, operator: Exists}]}\nruntime_classes: [gvisor]")
	w := podSpec{WorkloadSpec: specOf(), Authority: []byte("PEM")}
	w.Revision.Environment.RuntimeClass = "gvisor"
	p := makePod(t, w, s)
	if p.Name != w.ID.String() || p.OwnerReferences[0].UID != "claim-uid" || p.Labels["team"] != "a" || p.Labels[LabelSession] != "01k84mcrbe02142csag2rhf73c" || p.Annotations["note"] != "b" {
		t.Errorf("metadata %+v", p.ObjectMeta)
	}
	if p.Spec.NodeSelector["disk"] != "ssd" || len(p.Spec.Tolerations) != 1 || *p.Spec.RuntimeClassName != "gvisor" || p.Spec.RestartPolicy != corev1.RestartPolicyNever || *p.Spec.AutomountServiceAccountToken || *p.Spec.EnableServiceLinks {
		t.Errorf("spec %+v", p.Spec)
	}
	h := p.Spec.Containers[0]
	env := map[string]string{}
	for _, e := range h.Env {
		env[e.Name] = e.Value
	}
	want := map[string]string{
		harnessv1.EnvWorkload: w.ID.String(), harnessv1.EnvSpoke: "nave-spoke.nave-system.svc:7443", harnessv1.EnvAuthority: "PEM",
		harnessv1.EnvToken: "/nave/identity/token", harnessv1.EnvExit: "/dev/termination-log",
	}
	if diff := cmp.Diff(want, env); diff != "" {
		t.Errorf("environment of the harness (-want +got):\n%s", diff)
	}
	if !slices.Equal(h.Command, []string{"/nave/bin/nave-harness", "pod"}) || h.Image != "registry.example/agent:1" {
		t.Errorf("command %v of image %s", h.Command, h.Image)
	}
	// The token is in the harness's container alone; a tool server sees neither it nor the state.
	for _, c := range p.Spec.InitContainers {
		for _, m := range c.VolumeMounts {
			if m.Name == "identity" || m.Name == "state" {
				t.Errorf("container %s sees %s", c.Name, m.MountPath)
			}
		}
	}
	names := []string{}
	for _, c := range p.Spec.InitContainers {
		names = append(names, c.Name)
	}
	if !slices.Equal(names, []string{"install", "mcp-search"}) {
		t.Fatalf("init containers %v", names)
	}
	side := p.Spec.InitContainers[1]
	if *side.RestartPolicy != corev1.ContainerRestartPolicyAlways || !slices.Equal(side.Command, []string{"serve", "$$(HOME)"}) || side.Env[0].Value != "$$5" {
		t.Errorf("tool server %+v", side)
	}
	// Nothing of the agent is in the pod: it is asked for.
	text := p.String()
	for _, part := range []string{"be good", "a key", "mcp-files", "--acp"} {
		if strings.Contains(text, part) {
			t.Errorf("the pod says %q", part)
		}
	}
}

func TestPodByDigestAndImageVolume(t *testing.T) {
	s := settingsOf(t, "")
	p := makePod(t, podSpec{WorkloadSpec: specOf(), Digests: map[string]string{
		"registry.example/agent:1": "registry.example/agent@sha256:1", "registry.example/search:2": "registry.example/search@sha256:2",
	}, Volume: true}, s)
	if got := p.Spec.InitContainers[0].Image; got != "registry.example/search@sha256:2" {
		t.Errorf("the tool server runs %s", got)
	}
	if p.Spec.Containers[0].Image != "registry.example/agent@sha256:1" || p.Annotations[annotationDigest] != "registry.example/agent@sha256:1" || p.Annotations[annotationImage] != "registry.example/agent:1" {
		t.Errorf("image %s, annotations %v", p.Spec.Containers[0].Image, p.Annotations)
	}
	if v := p.Spec.Volumes[0]; v.Image == nil || v.Image.Reference != s.Harness.Image || len(p.Spec.InitContainers) != 1 {
		t.Errorf("volume %+v, init containers %d", v, len(p.Spec.InitContainers))
	}
}

func TestVolumes(t *testing.T) {
	w := specOf()
	w.Revision.Environment.Volumes = []api.Volume{
		{Name: "state", Mount: "/nave/state", SizeBytes: 1 << 30, Class: "fast", TimeToLive: time.Hour},
		{Name: "scratch", Mount: "/scratch", SizeBytes: 1 << 20, Ephemeral: true},
	}
	p := makePod(t, podSpec{WorkloadSpec: w}, settingsOf(t, "storage_classes: [fast]"))
	at := map[string]string{}
	for _, m := range p.Spec.Containers[0].VolumeMounts {
		if at[m.MountPath] != "" {
			t.Errorf("%s is mounted twice", m.MountPath)
		}
		at[m.MountPath] = m.Name
	}
	for _, v := range p.Spec.Volumes {
		switch v.Name {
		case at["/nave/state"]:
			if v.PersistentVolumeClaim == nil || v.PersistentVolumeClaim.ClaimName != "01k84mcrbe02142csag2rhf73c-state" {
				t.Errorf("state is %+v", v)
			}
		case at["/scratch"]:
			if v.EmptyDir == nil || v.EmptyDir.SizeLimit.Value() != 1<<20 {
				t.Errorf("scratch is %+v", v)
			}
		}
	}
	claims := volumeClaims(w.ID.Session, w.Revision.Environment, "01CLUSTER", "nave-default")
	if len(claims) != 1 {
		t.Fatalf("%d claims", len(claims))
	}
	c := claims[0]
	if c.Name != "01k84mcrbe02142csag2rhf73c-state" || *c.Spec.StorageClassName != "fast" || c.Annotations[annotationLive] != "1h0m0s" || c.Labels[LabelCluster] != "01cluster" || len(c.OwnerReferences) != 0 {
		t.Errorf("claim %+v", c)
	}
}

func TestRefuse(t *testing.T) {
	s := settingsOf(t, "storage_classes: [fast]\nruntime_classes: [gvisor]")
	if err := refuse(specOf().Revision, s); err != nil {
		t.Fatalf("a plain revision: %v", err)
	}
	type env = api.EnvironmentSpec
	type agent = api.AgentSpec
	volume := func(v api.Volume) func(*env, *agent) { return func(e *env, _ *agent) { e.Volumes = []api.Volume{v} } }
	server := func(m api.MCPServer) func(*env, *agent) {
		return func(_ *env, a *agent) { a.MCPServers = []api.MCPServer{{Name: "z", Image: "z", Port: 9}, m} }
	}
	for _, tt := range []struct {
		field string
		spoil func(*env, *agent)
	}{
		{"spec.image", func(e *env, _ *agent) { e.Image = "" }},
		{"spec.command", func(e *env, _ *agent) { e.Command = []string{"x"} }},
		{"spec.flavor", func(e *env, _ *agent) { e.Flavor = "huge" }},
		{"spec.runtime_class", func(e *env, _ *agent) { e.RuntimeClass = "kata" }},
		{"spec.pull_secrets", func(e *env, _ *agent) { e.PullSecrets = []string{"x"} }},
		{"spec.warm_pool", func(e *env, _ *agent) { e.WarmPool = 1 }},
		{"spec.egress", func(e *env, _ *agent) { e.Egress = []api.EgressRule{{Host: "a.example"}} }},
		{"spec.env[1].secret", func(e *env, _ *agent) { e.Env = append(e.Env, api.EnvVar{Name: "T", Secret: "a/b"}) }},
		{"spec.model.provider", func(_ *env, a *agent) { a.Model = api.ModelRef{Name: "m", Provider: "p"} }},
		{"spec.mcp_servers", func(_ *env, a *agent) { a.Harness.Protocol = api.ProtocolCommand }},
		{"spec.mcp_servers[1].stdio", server(api.MCPServer{Name: "a", Image: "x", Stdio: true})},
		{"spec.mcp_servers[1].port", server(api.MCPServer{Name: "a", Command: []string{"x"}, Port: 80})},
		{"spec.mcp_servers[1].port", server(api.MCPServer{Name: "a", Image: "x", Port: 9})},
		{"spec.mcp_servers[1].name", server(api.MCPServer{Name: strings.Repeat("a", 60), Image: "x", Port: 80})},
		{"spec.mcp_servers[1].env[0].secret", server(api.MCPServer{Name: "a", Image: "x", Port: 80, Env: []api.EnvVar{{Name: "T", Secret: "a/b"}}})},
		{"spec.volumes[0].class", volume(api.Volume{Name: "v", Mount: "/data", Class: "slow"})},
		{"spec.volumes[0].mount", volume(api.Volume{Name: "v", Mount: "/nave"})},
		{"spec.volumes[0].mount", volume(api.Volume{Name: "v", Mount: "/nave/bin"})},
		{"spec.volumes[0].mount", volume(api.Volume{Name: "v", Mount: "/tmp"})},
		{"spec.volumes[0].mount", volume(api.Volume{Name: "v", Mount: "/proc/x"})},
		{"spec.volumes[0].mount", volume(api.Volume{Name: "v", Mount: "/run"})},
	} {
		w := specOf()
		tt.spoil(w.Revision.Environment, w.Revision.Agent)
		err := refuse(w.Revision, s)
		if api.CodeOf(err) != api.CodeUnsupported || api.FieldOf(err) != tt.field || !strings.Contains(err.Error(), ": ") {
			t.Errorf("%s: %v (field %q)", tt.field, err, api.FieldOf(err))
		}
	}
	for name, spoil := range map[string]func(*env, *agent){
		"the operator's image":  func(e *env, _ *agent) { e.Image = "" },
		"an offered class":      func(e *env, _ *agent) { e.RuntimeClass = "gvisor" },
		"a volume":              volume(api.Volume{Name: "v", Mount: "/data", Class: "fast"}),
		"a volume of the state": volume(api.Volume{Name: "v", Mount: "/nave/state"}),
	} {
		w := specOf()
		spoil(w.Revision.Environment, w.Revision.Agent)
		s := s
		s.Pods.Image = "registry.example/default:1"
		if err := refuse(w.Revision, s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPeriod(t *testing.T) {
	thirty := int64(30)
	deletedPod := podWith(deleted(noon.Add(30*time.Second)), func(p *corev1.Pod) { p.DeletionGracePeriodSeconds = &thirty })
	for _, tt := range []struct {
		name           string
		pod            *corev1.Pod
		stopAt, stopBy time.Time
		now            time.Time
		grace          time.Duration
		want           int64
		needed         bool
	}{
		{"the first time", podWith(), time.Time{}, time.Time{}, noon, 30 * time.Second, 30, true},
		{"in parts of a second", podWith(), time.Time{}, time.Time{}, noon, 1500 * time.Millisecond, 2, true},
		{"at once is not before it is dead", podWith(), time.Time{}, time.Time{}, noon, 0, 1, true},
		{"again, the same", deletedPod, noon, noon.Add(30 * time.Second), noon.Add(10 * time.Second), 30 * time.Second, 0, false},
		{"again, shorter", deletedPod, noon, noon.Add(30 * time.Second), noon.Add(10 * time.Second), 5 * time.Second, 15, true},
		{"again, at once", deletedPod, noon, noon.Add(30 * time.Second), noon.Add(10 * time.Second), 0, 10, true},
		{"again, no shorter than what is left", deletedPod, noon, noon.Add(30 * time.Second), noon.Add(29 * time.Second), 5 * time.Second, 0, false},
		{"of somebody else, shorter", deletedPod, time.Time{}, time.Time{}, noon.Add(10 * time.Second), 5 * time.Second, 15, true},
		{"asked before, and not deleted", podWith(), noon, noon.Add(30 * time.Second), noon.Add(10 * time.Second), 30 * time.Second, 30, true},
	} {
		got, needed := period(tt.pod, tt.stopAt, tt.stopBy, tt.now, tt.grace)
		if got != tt.want || needed != tt.needed {
			t.Errorf("%s: %d, %v; want %d, %v", tt.name, got, needed, tt.want, tt.needed)
		}
	}
}

func TestTotal(t *testing.T) {
	f := size("500m", "1Gi", 10)
	quota := func(name corev1.ResourceName, hard, used string) corev1.ResourceQuota {
		return corev1.ResourceQuota{Status: corev1.ResourceQuotaStatus{Hard: corev1.ResourceList{name: resource.MustParse(hard)}, Used: corev1.ResourceList{name: resource.MustParse(used)}}}
	}
	scoped := quota("pods", "1", "1")
	scoped.Spec.Scopes = []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating}
	for _, tt := range []struct {
		name   string
		quotas []corev1.ResourceQuota
		used   int
		want   int
	}{
		{"no quota", nil, 3, 10},
		{"of pods", []corev1.ResourceQuota{quota("pods", "5", "3")}, 3, 5},
		{"full", []corev1.ResourceQuota{quota("pods", "3", "3")}, 3, 3},
		{"over", []corev1.ResourceQuota{quota("pods", "2", "3")}, 3, 3},
		{"of memory", []corev1.ResourceQuota{quota("limits.memory", "6Gi", "3Gi")}, 3, 6},
		{"of processors, in parts", []corev1.ResourceQuota{quota("requests.cpu", "2900m", "1500m")}, 3, 5},
		{"the least counts", []corev1.ResourceQuota{quota("pods", "9", "3"), quota("memory", "4Gi", "3Gi")}, 3, 4},
		{"of something else", []corev1.ResourceQuota{quota("services", "0", "0")}, 3, 10},
		{"of other pods", []corev1.ResourceQuota{scoped}, 3, 10},
	} {
		got := total(f, map[string]int{"ns": tt.used}, []string{"ns"}, map[string][]corev1.ResourceQuota{"ns": tt.quotas})
		if got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestStripKeepsWhatIsLookedAt(t *testing.T) {
	p := makePod(t, podSpec{WorkloadSpec: specOf(), Authority: []byte("PEM")}, settingsOf(t, ""))
	p.Spec.NodeName, p.ManagedFields = "n1", []metav1.ManagedFieldsEntry{{Manager: "x"}}
	before := p.DeepCopy()
	got := strip(p).(*corev1.Pod)
	if got.ManagedFields != nil || len(got.Spec.Volumes) > 0 || len(got.Spec.Containers[0].Env) > 0 {
		t.Errorf("kept: %+v", got)
	}
	for _, end := range []change{ends(137, "OOMKilled", ""), running(), deleted(noon.Add(-time.Hour))} {
		end(before)
		end(got)
		if diff := cmp.Diff(observe(before, false, noon), observe(got, false, noon)); diff != "" {
			t.Errorf("it is seen otherwise (-before +after):\n%s", diff)
		}
	}
}

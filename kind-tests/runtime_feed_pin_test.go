//go:build kindtests

package kindtests

import (
	"context"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/kube"
)

// testPinned: the first pod of a revision that says which image it runs decides for all that begin after that, over the end of all
// pods and of the process, wherever the tag points by then.
func testPinned(ctx context.Context, t *testing.T, b *apiBench) {
	const (
		tag    = "registry.example/agent:1"
		digest = "registry.example/agent@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
		tool   = "registry.example/search@sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
		moved  = "registry.example/agent@sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
	)
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	runs := func(id string) corev1.PodStatus {
		return corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "harness", ImageID: id, State: running}},
			InitContainerStatuses: []corev1.ContainerStatus{{Name: "mcp-search", ImageID: tool, State: running}, {Name: "install", ImageID: moved}}}
	}
	session := func() spoke.WorkloadSpec {
		w := session()
		w.Revision.Agent.MCPServers = []api.MCPServer{{Name: "search", Image: "registry.example/search:1", Port: 8931}}
		return w
	}
	image := func(rt *kube.Runtime, w spoke.WorkloadSpec) string {
		b.startWorkload(ctx, rt, w)
		p := b.pod(ctx, w.ID)
		server, want := p.Spec.InitContainers[len(p.Spec.InitContainers)-1].Image, "registry.example/search:1"
		if p.Spec.Containers[0].Image != tag {
			want = tool
		}
		if server != want {
			t.Errorf("beside %s runs the tool server %s, want %s", p.Spec.Containers[0].Image, server, want)
		}
		return p.Spec.Containers[0].Image
	}
	pins := func() []corev1.ConfigMap {
		list, err := b.Client.CoreV1().ConfigMaps(b.namespace).List(ctx, metav1.ListOptions{LabelSelector: kube.LabelName + "=nave-image," + kube.LabelCluster + "=" + strings.ToLower(b.cluster)})
		if err != nil {
			t.Fatal(err)
		}
		return list.Items
	}
	rt, first, second := b.ready(ctx, b.config(b.spoke)), session(), session()
	for _, w := range []spoke.WorkloadSpec{first, second} { // nobody knows the digest before one runs
		if got := image(rt, w); got != tag {
			t.Errorf("a first start runs %s", got)
		}
	}
	b.become(ctx, first.ID, runs(digest))
	third := session()
	await(ctx, t, "later pods run the digest", func() bool { third = session(); return image(rt, third) == digest })
	b.become(ctx, second.ID, runs(moved)) // its node pulled later
	await(ctx, t, "the digest is kept", func() bool { return len(pins()) == 2 })
	if got := image(rt, session()); got != digest {
		t.Errorf("after another pod ran something else a start runs %s", got)
	}
	newer := session()
	newer.Revision.AgentRevision++
	if got := image(rt, newer); got != tag {
		t.Errorf("another revision runs %s", got)
	}
	// Another value, while pods of both images run.
	again := b.ready(ctx, b.config(b.spoke))
	if got := image(again, session()); got != digest {
		t.Errorf("another value runs %s", got)
	}
	// Another value, when nothing of the revision is left.
	none := int64(0)
	if err := b.Client.CoreV1().Pods(b.namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &none}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "nothing is left of the workloads", func() bool {
		ws, err := rt.List(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range ws {
			if w.State == spoke.WorkloadEnded {
				if err := rt.Stop(ctx, w.ID, 0); err != nil {
					t.Fatal(err)
				}
			}
		}
		return len(ws) == 0
	})
	alone := b.ready(ctx, b.config(b.spoke))
	if got := image(alone, session()); got != digest {
		t.Errorf("a value that found no pod runs %s", got)
	}
	// One write for each image of a revision, beside those of each life.
	made := func(kind string) int {
		return len(b.requests.of(func(q *http.Request) bool { return q.Method == http.MethodPost && strings.HasSuffix(q.URL.Path, kind) }))
	}
	if claims, pods := made("/configmaps"), made("/pods"); claims != pods+2 {
		t.Errorf("%d starts made %d config maps, want two more", pods, claims)
	}
	// Somebody deletes what is kept.
	was := pins()[0]
	if err := b.Client.CoreV1().ConfigMaps(b.namespace).Delete(ctx, was.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "it is kept again", func() bool { p := pins(); return len(p) == 2 && p[0].UID != was.UID && p[1].UID != was.UID })
	if got := image(b.ready(ctx, b.config(b.spoke)), session()); got != digest {
		t.Errorf("after it was deleted a start runs %s", got)
	}
}

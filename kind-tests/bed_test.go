//go:build kindtests

package kindtests

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/internal/testcluster"
)

// hub is an HTTP server on the bridge that counts who asked.
type hub struct {
	port string

	mu    sync.Mutex
	asked map[string]int // by path
}

func (h *hub) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked[r.URL.Path]++
}

func (h *hub) count(who string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked["/"+who]
}

// listen serves on the hub's address until the test ends.
func listen(t testing.TB, at netip.Addr) *hub {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	h := &hub{port: port, asked: make(map[string]int)}
	server := &http.Server{Handler: h}
	g := run.NewGroup(context.Background())
	g.Go("serve", func(context.Context) error {
		_ = server.Serve(l) // until it is closed
		return nil
	})
	t.Cleanup(func() {
		_ = server.Close()
		_ = g.Wait()
	})
	return h
}

// grows waits until a cluster's pod has been heard again.
func (h *hub) grows(ctx context.Context, t testing.TB, who string) {
	t.Helper()
	before := h.count(who)
	await(ctx, t, "the pod of "+who+" reaches the hub", func() bool { return h.count(who) > before })
}

// container is what must not change while a pod lives.
type container struct {
	ID       string
	Restarts int32
}

func containerOf(p *corev1.Pod) container {
	s := p.Status.ContainerStatuses[0]
	return container{s.ContainerID, s.RestartCount}
}

func TestABedHasTwoClusters(t *testing.T) {
	ctx := limited(t)
	bed := start(ctx, t, 2)
	h := listen(t, bed.HubAddress())
	one, two := bed.Clusters[0], bed.Clusters[1]

	// One by the address, the other by the name.
	here, there := watch(ctx, t, one), watch(ctx, t, two)
	pod := here.run(ctx, t, probe("probe", "http://"+net.JoinHostPort(bed.HubAddress().String(), h.port)+"/"+one.Name))
	there.run(ctx, t, probe("probe", "http://"+net.JoinHostPort(testcluster.HubName, h.port)+"/"+two.Name))
	h.grows(ctx, t, one.Name)
	h.grows(ctx, t, two.Name)

	// The address of a service and its name: the pod does not know the authority of who answers, and says so.
	here.run(ctx, t, probe("service", "https://kubernetes.default.svc.cluster.local/"))
	await(ctx, t, "a pod reaches a service", func() bool { return strings.Contains(strings.Join(here.says(ctx, t, "service"), "\n"), "x509:") })

	// A partition: the pod says that it reaches nothing, the hub hears nothing of it, and the other cluster is not touched.
	if err := one.Cut(ctx); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the pod of the cut cluster does not reach the hub", func() bool { return deaf(here.says(ctx, t, "probe"), 1) })
	heard := h.count(one.Name)
	h.grows(ctx, t, two.Name)
	await(ctx, t, "the pod goes on asking in vain", func() bool { return deaf(here.says(ctx, t, "probe"), 3) })
	if now := h.count(one.Name); now != heard {
		t.Errorf("the hub heard %d questions through a cut link", now-heard)
	}
	if err := one.Heal(ctx); err != nil {
		t.Fatal(err)
	}
	h.grows(ctx, t, one.Name)

	// The kubelet and containerd die; the pod lives on and is theirs again.
	was := containerOf(pod)
	if err := one.KillKubelet(); err != nil {
		t.Fatal(err)
	}
	h.grows(ctx, t, one.Name)
	if err := one.StartKubelet(ctx); err != nil {
		t.Fatal(err)
	}
	here.run(ctx, t, probe("after-kubelet", "http://"+net.JoinHostPort(testcluster.HubName, h.port)+"/after-kubelet"))
	h.grows(ctx, t, "after-kubelet")
	if diff := cmp.Diff(was, containerOf(here.seen("probe"))); diff != "" {
		t.Errorf("the pod's container changed over a crash of the kubelet (-before +after):\n%s", diff)
	}
	if err := one.KillContainerd(); err != nil {
		t.Fatal(err)
	}
	h.grows(ctx, t, one.Name)
	if err := one.StartContainerd(ctx); err != nil {
		t.Fatal(err)
	}
	here.run(ctx, t, probe("after-containerd", "http://"+net.JoinHostPort(testcluster.HubName, h.port)+"/after-containerd"))
	if diff := cmp.Diff(was, containerOf(here.seen("probe"))); diff != "" {
		t.Errorf("the pod's container changed over a crash of containerd (-before +after):\n%s", diff)
	}
	h.grows(ctx, t, one.Name)
}

// deaf reports whether a pod's last n answers are that it reached nothing.
func deaf(lines []string, n int) bool {
	if len(lines) < n {
		return false
	}
	for _, line := range lines[len(lines)-n:] {
		if !strings.HasPrefix(line, "not reached") {
			return false
		}
	}
	return true
}

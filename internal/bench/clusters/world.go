package clusters

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/images"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/internal/testcluster"
	"github.com/nave-dev/nave/spoke/kube"
	"github.com/nave-dev/nave/spoke/kube/tenant"
)

// Names of what a benchmark puts on a cluster.
const (
	namespaceOfSpoke = "nave-system"
	namespaceOfOrg   = "nave-default"
	imageOfAgents    = testcluster.Registry + "/bench/agent:1"
)

// busyboxProgram is Debian's static one, which the clusters need too.
const busyboxProgram = "/bin/busybox"

// limit of one wait, on a machine that compiles beside it.
const limit = time.Minute

// world is a hub on this machine, a real cluster, and a spoke beside it whose sessions are pods.
type world struct {
	*federation.Federation
	b       *measure.Bench
	bed     *testcluster.Bed
	cluster *testcluster.Cluster
	client  *client.Client
	stamp   images.Stamp
	spoke   *federation.Process
	seen    *observer
	spoken  spoken
	group   *run.Group
	serial  atomic.Int64 // of keys and names
}

// newWorld brings everything up but the spoke. What it returns is to be closed, with an error too.
func newWorld(ctx context.Context, b *measure.Bench) (*world, error) {
	w := &world{b: b, group: run.NewGroup(ctx)}
	bin, err := testcluster.Programs(ctx, b.Log)
	if err != nil {
		return w, err
	}
	if w.Federation, err = federation.New(federation.Config{Bin: b.Bin, Dir: b.Dir}); err != nil {
		return w, err
	}
	if w.bed, err = testcluster.Start(ctx, testcluster.Config{Clusters: 1, Bin: bin, Log: b.Log}); err != nil {
		return w, err
	}
	w.cluster = w.bed.Clusters[0]
	at := w.bed.HubAddress().String()
	if _, err := w.StartHub(ctx, "--listen", net.JoinHostPort(at, "0"), "--grpc-listen", net.JoinHostPort(at, "0"), "--overlay-listen", at, "--allow-exposed", "--log-level", "info"); err != nil {
		return w, err
	}
	if w.client, err = w.Client(); err != nil {
		return w, err
	}
	for _, step := range []func(context.Context) error{w.load, w.furnish, func(ctx context.Context) error { return w.Join(ctx, w.cluster.Name) }} {
		if err := step(ctx); err != nil {
			return w, err
		}
	}
	w.seen, err = observe(w.group, w.cluster.Client, namespaceOfOrg)
	return w, err
}

// close ends everything.
func (w *world) close() error {
	w.group.Stop()
	errs := []error{w.group.Wait()}
	if w.client != nil {
		w.client.Close()
	}
	if w.Federation != nil {
		errs = append(errs, w.Stop())
	}
	if w.bed != nil {
		errs = append(errs, w.bed.Stop())
	}
	return errors.Join(errs...)
}

// inWorld runs something in a world of its own.
func inWorld(ctx context.Context, b *measure.Bench, do func(context.Context, *world) error) error {
	w, err := newWorld(ctx, b)
	if err == nil {
		err = do(ctx, w)
	}
	if err != nil && w.spoke != nil {
		out := w.spoke.Output()
		err = fmt.Errorf("%w; the spoke says:\n%s", err, out[max(0, len(out)-4000):])
	}
	return errors.Join(err, w.close())
}

// load makes the images of harness and agent, and gives them to the node.
func (w *world) load(ctx context.Context) error {
	scratch, err := w.b.Subdir("images")
	if err != nil {
		return err
	}
	authorities, err := images.FindAuthorities()
	if err != nil {
		return err
	}
	w.stamp = images.Stamp{Registry: testcluster.Registry + "/nave", Version: "bench", Authorities: authorities}
	const name = "nave-harness"
	i, err := images.Named(name)
	if err != nil {
		return err
	}
	packed, err := i.Pack(runtime.GOARCH, map[string]string{name: w.Bin(name)}, w.stamp, scratch)
	if err != nil {
		return err
	}
	harness, agent := filepath.Join(scratch, "harness.tar"), filepath.Join(scratch, "agent.tar")
	if err := packed.WriteArchive(harness, w.stamp, scratch); err != nil {
		return err
	}
	image := testcluster.Image{Name: imageOfAgents, Files: map[string]string{}}
	for _, applet := range []string{"sh", "sleep", "cat", "dd"} {
		image.Files["/bin/"+applet] = busyboxProgram
	}
	if err := image.WriteArchive(agent); err != nil {
		return err
	}
	return errors.Join(w.cluster.LoadImage(ctx, harness), w.cluster.LoadImage(ctx, agent))
}

// furnish makes what a spoke expects of its operator.
func (w *world) furnish(ctx context.Context) error {
	_, err := w.cluster.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceOfSpoke}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return furnishOrganization(ctx, w.cluster)
}

// furnishOrganization makes the namespace of the organization and what belongs into it, as the chart does.
func furnishOrganization(ctx context.Context, c *testcluster.Cluster) error {
	objects, err := tenant.Objects(tenant.Spec{Organization: api.DefaultOrg, Namespace: namespaceOfOrg, SpokeNamespace: namespaceOfSpoke,
		SpokeServiceAccount: "nave-spoke", SpokePort: 7443, SpokeLabels: map[string]string{"app.kubernetes.io/name": "nave-spoke"}})
	if err != nil {
		return err
	}
	admin, err := dynamic.NewForConfig(c.Rest)
	if err != nil {
		return err
	}
	for _, o := range objects {
		content, err := kruntime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return err
		}
		u := &unstructured.Unstructured{Object: content}
		resource, _ := meta.UnsafeGuessKindToResource(u.GroupVersionKind())
		var at dynamic.ResourceInterface = admin.Resource(resource)
		if u.GetNamespace() != "" {
			at = admin.Resource(resource).Namespace(u.GetNamespace())
		}
		if _, err := at.Create(ctx, u, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("make %s %s: %w", u.GetKind(), u.GetName(), err)
		}
	}
	return nil
}

// settings is the file of what is said of the cluster.
func (w *world) settings(service string, delivery kube.Delivery) []byte {
	return fmt.Appendf(nil, `service: %s
namespaces: {organizations: {default: %s}}
harness: {image: %s, delivery: %s}
flavors: {small: {cpu: 20m, memory: 64Mi, count: 64}}
start_limit: 60s
`, service, namespaceOfOrg, w.stamp.Reference("nave-harness"), delivery)
}

// begin starts the spoke, anew when one runs, on the host: its door is on the bridge, where pods reach it. A kubeconfig may be another one
// than the administrator's.
func (w *world) begin(ctx context.Context, delivery kube.Delivery, kubeconfig string) error {
	if err := w.endSpoke(ctx); err != nil {
		return err
	}
	door, err := freePort(w.bed.HubAddress())
	if err != nil {
		return err
	}
	file := w.Path("settings.yaml")
	if err := os.WriteFile(file, w.settings(door, delivery), 0o600); err != nil {
		return err
	}
	w.spoke, err = w.StartSpoke(w.cluster.Name, "--runtime", "kubernetes", "--kubernetes", file, "--kubeconfig", kubeconfig, "--namespace", namespaceOfSpoke, "--door-listen", door)
	if err != nil {
		return err
	}
	return w.await(ctx, "the cluster is live", func() (bool, error) {
		x, err := w.client.Clusters.Get(ctx, &navev1.GetRequest{Name: w.cluster.Name})
		return x.GetStatus().GetHealth() == string(api.HealthLive), err
	})
}

func (w *world) endSpoke(ctx context.Context) error {
	if w.spoke == nil {
		return nil
	}
	p := w.spoke
	w.spoke = nil
	return p.End(ctx)
}

// freePort is a port on an address that nobody listens on now.
func freePort(at netip.Addr) (string, error) {
	l, err := net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// await waits for a condition, and gives up when a program of the federation has ended.
func (w *world) await(ctx context.Context, what string, is func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %v", limit))
	defer cancel()
	return w.Await(ctx, what, is)
}

// define applies one definition.
func (w *world) define(ctx context.Context, name, kind string, spec map[string]any) error {
	text, err := json.Marshal(map[string]any{"apiVersion": "nave.dev/v1", "kind": kind, "metadata": map[string]any{"name": name}, "spec": spec})
	if err != nil {
		return err
	}
	file := w.Path(name + "-" + kind + ".json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	_, err = w.Nave(ctx, "apply", "-f", file)
	return err
}

// agent defines an agent that runs a script in the image.
func (w *world) agent(ctx context.Context, name, script, idle string) error {
	if err := w.define(ctx, name, "Environment", map[string]any{"flavor": "small", "image": imageOfAgents}); err != nil {
		return err
	}
	return w.define(ctx, name, "Agent", map[string]any{"environment": name, "idle_timeout": idle, "turn_limit": "60s", "stop_after": "60s",
		"harness": map[string]any{"protocol": "command", "command": []string{"/bin/sh", "-c", script}}})
}

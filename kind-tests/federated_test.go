//go:build kindtests

package kindtests

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/images"
	"github.com/nave-dev/nave/internal/testcluster"
	"github.com/nave-dev/nave/spoke/kube/tenant"
)

// Names of what the tests put on clusters.
const (
	namespaceOfSpoke = "nave-system"
	namespaceOfOrg   = "nave-default"
	imageOfAgents    = testcluster.Registry + "/test/agent:1"
	classOfVolumes   = "by-hand" // of volumes of sessions: a test makes them
)

// ofTests is the stamp of the images that tests make of the programs in bin/.
func ofTests(t testing.TB) images.Stamp {
	t.Helper()
	authorities, err := images.FindAuthorities()
	if err != nil {
		t.Fatal(err)
	}
	return images.Stamp{Registry: testcluster.Registry + "/nave", Version: "test", Authorities: authorities}
}

// federated is a federation whose clusters are those of a bed.
type federated struct {
	*federation.Federation
	t      testing.TB
	ctx    context.Context
	bed    *testcluster.Bed
	client *client.Client
	spokes map[string]*federation.Process // those that run on the host

	manages bool   // the spokes make the namespaces of organizations
	volumes string // folder of the volumes of spokes in clusters; it goes after the clusters
}

// federate starts a bed and a hub outside of it, registers its clusters and gives them images and namespaces. Spokes are started by
// the test.
func federate(ctx context.Context, t testing.TB, clusters int) *federated {
	t.Helper()
	return makeFederation(ctx, t, making{bed: testcluster.Config{Clusters: clusters}})
}

// federateAs is federate with spokes that make the namespaces of organizations, or do not.
func federateAs(ctx context.Context, t testing.TB, clusters int, manages bool) *federated {
	t.Helper()
	return makeFederation(ctx, t, making{bed: testcluster.Config{Clusters: clusters}, manages: manages})
}

// federateWith is federate with another way of making what a spoke expects of its operator.
func federateWith(ctx context.Context, t testing.TB, clusters int, furnish func(*federated, *testcluster.Cluster)) *federated {
	t.Helper()
	return makeFederation(ctx, t, making{bed: testcluster.Config{Clusters: clusters}, furnish: furnish})
}

// federateOn is federate with more to say about the clusters and the hub.
func federateOn(ctx context.Context, t testing.TB, bed testcluster.Config, hub ...string) *federated {
	t.Helper()
	return makeFederation(ctx, t, making{bed: bed, hub: hub})
}

// making is how a federation is made.
type making struct {
	bed     testcluster.Config
	hub     []string // further arguments
	manages bool     // spokes make the namespaces of organizations
	furnish func(*federated, *testcluster.Cluster)
}

func makeFederation(ctx context.Context, t testing.TB, of making) *federated {
	t.Helper()
	bin, err := filepath.Abs(filepath.Join("..", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "nk") // short: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	f, err := federation.New(federation.Config{Bin: bin, Dir: dir, Show: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	volumes := t.TempDir()
	w := &federated{Federation: f, t: t, ctx: ctx, bed: startWith(ctx, t, of.bed), spokes: map[string]*federation.Process{}, manages: of.manages, volumes: volumes}
	t.Cleanup(w.end)
	at := w.bed.HubAddress().String()
	args := []string{"--listen", net.JoinHostPort(at, "0"), "--grpc-listen", net.JoinHostPort(at, "0"), "--overlay-listen", at, "--allow-exposed", "--log-level", "info"}
	if _, err := w.StartHub(ctx, append(args, of.hub...)...); err != nil {
		t.Fatal(err)
	}
	if w.client, err = w.Client(); err != nil {
		t.Fatal(err)
	}
	w.load()
	for _, c := range w.bed.Clusters {
		w.must(w.Join(ctx, c.Name, "cloud="+c.Name))
		if of.furnish != nil {
			of.furnish(w, c)
		} else {
			w.furnish(c)
		}
	}
	return w
}

func (w *federated) end() {
	if w.client != nil {
		w.client.Close()
	}
	if err := w.Stop(); err != nil {
		w.t.Error(err)
	}
	if w.t.Failed() {
		logs, _ := filepath.Glob(w.Path("*.log"))
		for _, file := range logs {
			text, err := os.ReadFile(file)
			to := filepath.Join(kept(w.t), filepath.Base(file))
			if err == nil && os.MkdirAll(filepath.Dir(to), 0o755) == nil {
				err = os.WriteFile(to, text, 0o644)
			}
			w.t.Logf("the log of %s is kept in %s (%v)", filepath.Base(file), to, err)
		}
	}
}

func (w *federated) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// load makes the images of harness, spoke and agent, and gives them to every node.
func (w *federated) load() {
	w.t.Helper()
	scratch := w.t.TempDir()
	var archives []string
	stamp := ofTests(w.t)
	for _, name := range []string{"nave-harness", "nave-spoke"} {
		i, err := images.Named(name)
		w.must(err)
		packed, err := i.Pack(runtime.GOARCH, map[string]string{name: w.Bin(name)}, stamp, scratch)
		w.must(err)
		file := filepath.Join(scratch, name+".tar")
		w.must(packed.WriteArchive(file, stamp, scratch))
		archives = append(archives, file)
	}
	agent := testcluster.Image{Name: imageOfAgents, Files: map[string]string{}}
	for _, applet := range []string{"busybox", "sh", "sleep", "cat", "echo", "grep", "mkdir", "tail", "env", "id", "sed", "nc"} {
		agent.Files["/bin/"+applet] = busyboxProgram
	}
	file := filepath.Join(scratch, "agent.tar")
	w.must(agent.WriteArchive(file))
	for _, c := range w.bed.Clusters {
		for _, a := range append(archives, file) {
			w.must(c.LoadImage(w.ctx, a))
		}
	}
}

// busyboxProgram is Debian's static one: `make kind-tests-deps` gets it.
const busyboxProgram = "/bin/busybox"

// furnish makes in a cluster what a spoke expects of its operator: the objects that the chart makes too.
func (w *federated) furnish(c *testcluster.Cluster) {
	w.t.Helper()
	_, err := c.Client.CoreV1().Namespaces().Create(w.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespaceOfSpoke}}, metav1.CreateOptions{})
	w.must(err)
	if w.manages {
		objects, err := tenant.ClusterObjects(tenant.Managing{Name: "nave-spoke-managing", SpokeNamespace: namespaceOfSpoke, SpokeServiceAccount: spokeName, Prefix: "nave-"})
		w.operator(c).make(w.ctx, w.t, objects, err)
		return
	}
	w.furnishOrganization(c)
}

// furnishOrganization makes the namespace of the organization and what belongs into it.
func (w *federated) furnishOrganization(c *testcluster.Cluster) {
	w.t.Helper()
	objects, err := tenant.Objects(tenant.Spec{Organization: api.DefaultOrg, Namespace: namespaceOfOrg, SpokeNamespace: namespaceOfSpoke, SpokeServiceAccount: spokeName,
		SpokePort: doorPort, SpokeLabels: spokeLabels})
	w.operator(c).make(w.ctx, w.t, objects, err)
}

// operator makes objects in a cluster as its operator does.
func (w *federated) operator(c *testcluster.Cluster) *tenants {
	w.t.Helper()
	admin, err := dynamic.NewForConfig(c.Rest)
	w.must(err)
	return &tenants{plane: &plane{Cluster: c}, admin: admin}
}

// settings is the file of what is said of a cluster whose harnesses dial an address.
func (w *federated) settings(service string) []byte {
	namespaces := "organizations: {default: " + namespaceOfOrg + "}"
	if w.manages {
		namespaces = "manage: true"
	}
	return fmt.Appendf(nil, `service: %s
namespaces: {%s}
harness: {image: %s}
flavors:
  small: {cpu: 50m, memory: 128Mi, count: 20}
  huge: {cpu: "1000", memory: 128Mi, count: 1}
storage_classes: [%s]
start_limit: 15s
`, service, namespaces, ofTests(w.t).Reference("nave-harness"), classOfVolumes)
}

// outside starts a cluster's spoke on the host: its door is on the bridge, where pods reach it.
func (w *federated) outside(c *testcluster.Cluster, more ...string) {
	w.t.Helper()
	door := freePort(w.t, w.bed.HubAddress())
	file := w.Path(c.Name + ".settings.yaml")
	w.must(os.WriteFile(file, w.settings(door), 0o600))
	p, err := w.StartSpoke(c.Name, append([]string{"--runtime", "kubernetes", "--kubernetes", file, "--kubeconfig", c.Kubeconfig, "--namespace", namespaceOfSpoke, "--door-listen", door}, more...)...)
	w.must(err)
	w.spokes[c.Name] = p
}

// freePort is a port on an address that nobody listens on now.
func freePort(t testing.TB, at netip.Addr) string {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// live waits until the hub hears a cluster.
func (w *federated) live(clusters ...*testcluster.Cluster) {
	w.t.Helper()
	for _, c := range clusters {
		w.await(c.Name+" is live", func() (bool, error) {
			x, err := w.client.Clusters.Get(w.ctx, &navev1.GetRequest{Name: c.Name})
			return x.GetStatus().GetHealth() == string(api.HealthLive), err
		})
	}
}

// await waits for a condition, and gives up when a program of the federation has ended. The error says what is there instead; with the
// condition it says nothing.
func (w *federated) await(what string, is func() (bool, error)) {
	w.t.Helper()
	ctx, cancel := context.WithTimeoutCause(w.ctx, waitLimit, fmt.Errorf("not within %v", waitLimit))
	defer cancel()
	if err := w.Await(ctx, what, func() (bool, error) {
		good, err := is()
		if good {
			err = nil
		}
		return good, err
	}); err != nil {
		w.t.Fatal(err)
	}
}

// agentScript is the agent: it counts its turns in its home, says what it sees, and does what the first word of the payload asks.
const agentScript = `set -eu
in=$(cat)
n=0; if [ -e "$HOME/turns" ]; then n=$(cat "$HOME/turns"); fi
n=$((n+1)); echo $n > "$HOME/turns"
echo "turn $n"
case "$in" in
*'"payload":"count'*) i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo "line $i"; sleep 0.5; done ;;
*'"payload":"once'*) if [ ! -e /tmp/never ] && echo "$in" | grep -q '"delivery":1[,}]' && [ $n = 1 ]; then echo waits; sleep 300; fi ;;
*'"payload":"eat'*) echo eats; tail /dev/zero ;;
*'"payload":"env'*) env; id ;;
esac
echo "done $n"
`

// applyAt is apply for one cluster.
func (w *federated) applyAt(c *testcluster.Cluster, agent, image, flavor string) {
	w.t.Helper()
	w.define(agent, "PlacementPolicy", map[string]any{"requirements": []any{map[string]any{"key": "cloud", "operator": "In", "values": []string{c.Name}}}})
	w.apply(agent, image, flavor, map[string]any{"placement_policy": agent})
}

// define applies one definition.
func (w *federated) define(name, kind string, spec map[string]any) {
	w.t.Helper()
	text, err := json.Marshal(map[string]any{"apiVersion": "nave.dev/v1", "kind": kind, "metadata": map[string]any{"name": name}, "spec": spec})
	w.must(err)
	file := w.Path(name + "-" + kind + ".json")
	w.must(os.WriteFile(file, text, 0o600))
	_, err = w.Nave(w.ctx, "apply", "-f", file)
	w.must(err)
}

// apply defines an agent that runs the script in an image, on a flavor.
func (w *federated) apply(agent, image, flavor string, more map[string]any) {
	w.t.Helper()
	w.applyIn(agent, map[string]any{"flavor": flavor, "image": image}, more)
}

// applyIn is apply with all of the environment.
func (w *federated) applyIn(agent string, environment, more map[string]any) {
	w.t.Helper()
	spec := map[string]any{"environment": agent, "harness": map[string]any{"protocol": "command", "command": []string{"/bin/sh", "-c", agentScript}},
		"idle_timeout": "1s", "turn_limit": "300s", "max_deliveries": 3, "stop_after": "120s"}
	for k, v := range more {
		spec[k] = v
	}
	w.define(agent, "Environment", environment)
	w.define(agent, "Agent", spec)
}

// signal sends a signal, says which session has it, and when the hub had taken it.
func (w *federated) signal(agent, key, payload string) (session string, accepted time.Time) {
	w.t.Helper()
	a, err := w.client.Sessions.Signal(w.ctx, &navev1.SignalRequest{Agent: agent, Key: key, Payload: []byte(payload)})
	w.must(err)
	return a.GetSessionId(), time.Now()
}

// log reads a session's log from its beginning, and fails when it has gaps or doubles.
func (w *federated) log(session string) eventLog {
	w.t.Helper()
	stream, err := w.client.Sessions.Events(w.ctx, &navev1.EventsRequest{SessionId: session})
	w.must(err)
	var out eventLog
	for stream.Receive() {
		e := stream.Msg()
		if out = append(out, e); e.GetNumber() != uint64(len(out)) {
			w.t.Fatalf("event %d has the number %d", len(out), e.GetNumber())
		}
	}
	w.must(stream.Err())
	return out
}

// said waits until a session's agent has said a line.
func (w *federated) said(session, line string) {
	w.t.Helper()
	w.await(fmt.Sprintf("session %s says %q", session, line), func() (bool, error) {
		log := w.log(session)
		for _, m := range log.messages() {
			if m == line {
				return true, nil
			}
		}
		return false, fmt.Errorf("the log:\n%s", log)
	})
}

// phase waits until a session is in a phase.
func (w *federated) phase(session string, want api.Phase) *navev1.Session {
	w.t.Helper()
	var s *navev1.Session
	w.await(fmt.Sprintf("session %s is %s", session, want), func() (ok bool, err error) {
		if s, err = w.client.Sessions.Get(w.ctx, &navev1.GetSessionRequest{Id: session}); err != nil {
			return false, err
		}
		return s.GetPhase() == string(want), fmt.Errorf("it is %v", s)
	})
	return s
}

// pods are those of a session that exist in a cluster.
func (w *federated) pods(c *testcluster.Cluster, session string) []corev1.Pod {
	w.t.Helper()
	list, err := c.Client.CoreV1().Pods(namespaceOfOrg).List(w.ctx, metav1.ListOptions{})
	w.must(err)
	var out []corev1.Pod
	for _, p := range list.Items {
		if strings.HasPrefix(p.Name, strings.ToLower(session)+"-") {
			out = append(out, p)
		}
	}
	return out
}

// sleeps waits until a session rests and nothing of it is left in a cluster: no pod and no claim.
func (w *federated) sleeps(c *testcluster.Cluster, session string) {
	w.t.Helper()
	w.phase(session, api.PhaseDormant)
	w.await("nothing is left of session "+session, func() (bool, error) {
		claims, err := c.Client.CoreV1().ConfigMaps(namespaceOfOrg).List(w.ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		left := len(w.pods(c, session))
		for _, m := range claims.Items {
			if strings.HasPrefix(m.Name, strings.ToLower(session)+"-") {
				left++
			}
		}
		return left == 0, fmt.Errorf("%d pods and claims are left", left)
	})
}

// eventLog is a log.
type eventLog []*navev1.Event

func (es eventLog) messages() (out []string) {
	for _, e := range es {
		if e.GetType() == string(api.EventMessage) {
			out = append(out, e.GetText())
		}
	}
	return out
}

// of returns the events of a type.
func (es eventLog) of(typ api.EventType) (out eventLog) {
	for _, e := range es {
		if e.GetType() == string(typ) {
			out = append(out, e)
		}
	}
	return out
}

// outcomes lists the turn records: signals and how each turn ended.
func (es eventLog) outcomes() (out []string) {
	for _, e := range es.of(api.EventTurnDone) {
		out = append(out, fmt.Sprint(e.GetSignals(), " ", e.GetOutcome()))
	}
	return out
}

// String shows a log, one line an event.
func (es eventLog) String() string {
	var b bytes.Buffer
	for _, e := range es {
		fmt.Fprintf(&b, "%4d %-6s/%d %-18s %-6s %v %.200s\n", e.GetNumber(), e.GetSource(), e.GetSourceNumber(), e.GetType(), e.GetOutcome(), e.GetSignals(), e.GetText())
	}
	return b.String()
}

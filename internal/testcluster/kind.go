package testcluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// BackendEnv says which backend makes clusters: local or kind. Without it: kind where the program and a container engine that
// answers are there, else local.
const BackendEnv = "NAVE_TESTCLUSTER_BACKEND"

// Backends.
const (
	BackendLocal = "local" // from source, in network namespaces
	BackendKind  = "kind"  // kind's nodes, in a container engine
)

// kindLimit bounds one command of kind; the first one pulls the image of a node.
const kindLimit = 10 * time.Minute

// chooseBackend says which backend makes the clusters here.
func chooseBackend(ctx context.Context) (string, error) {
	switch b := os.Getenv(BackendEnv); b {
	case BackendLocal:
		return b, nil
	case BackendKind:
		if why := kindMissing(ctx); why != "" {
			return "", fmt.Errorf("%s=%s: %s", BackendEnv, b, why)
		}
		return b, nil
	case "":
		if kindMissing(ctx) == "" {
			return BackendKind, nil
		}
		return BackendLocal, nil
	default:
		return "", fmt.Errorf("%s is %q, want %s or %s", BackendEnv, b, BackendLocal, BackendKind)
	}
}

// kindMissing says what kind needs and is not there; empty when nothing is missing.
func kindMissing(ctx context.Context) string {
	for _, program := range []string{"kind", "docker"} {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is not on PATH"
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	if _, err := tool(ctx, nil, "docker", "info", "--format", "{{.ServerVersion}}"); err != nil {
		return "the container engine does not answer: " + err.Error()
	}
	return ""
}

// tool runs a program of the machine and returns what it printed.
func tool(ctx context.Context, env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, kindLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), cmp.Or(context.Cause(ctx), err), strings.TrimSpace(problems.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// kind is the backend that has each cluster made by kind: one container is control plane and node.
type kind struct {
	*Cluster
	name      string     // of kind's cluster
	container string     // id of the node
	hub       netip.Addr // gateway of the bed's network
}

var _ backend = (*kind)(nil)

// Names of kind and of the engine hold the id, as all of a bed's do.
func (n names) kindCluster(i int) string { return "nave-" + n.id + "-" + cloud(i) }
func (n names) kindNetwork() string      { return "nave-" + n.id }

// startKind makes the bed's network and its clusters.
func (b *Bed) startKind(ctx context.Context, cfg Config) error {
	network := b.names.kindNetwork()
	if _, err := tool(ctx, nil, "docker", "network", "create", "--label", BedEnv+"="+b.ID, network); err != nil {
		return err
	}
	gateway, err := tool(ctx, nil, "docker", "network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}", network)
	if err != nil {
		return err
	}
	if b.kindHub, err = netip.ParseAddr(gateway); err != nil {
		return fmt.Errorf("gateway of the network %s: %w", network, err)
	}
	for i := range cfg.Clusters { // one after the other: kind itself uses all of a small machine
		dir := b.names.clusterDir(i)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		k := &kind{name: b.names.kindCluster(i), hub: b.kindHub}
		k.Cluster = &Cluster{Name: cloud(i), Dir: dir, Kubeconfig: filepath.Join(dir, "admin.kubeconfig"), log: b.log, backend: k, node: k.name + "-control-plane"}
		b.Clusters = append(b.Clusters, k.Cluster)
		if err := k.up(ctx, network, cfg.Bin.images()); err != nil {
			return err
		}
	}
	return nil
}

// up makes one cluster and gives it what those from source have too: the hub's name and the images of tests.
func (k *kind) up(ctx context.Context, network string, images []string) error {
	_, err := tool(ctx, []string{"KIND_EXPERIMENTAL_DOCKER_NETWORK=" + network}, "kind", "create", "cluster", "--name", k.name,
		"--kubeconfig", k.Kubeconfig, "--wait", startLimit.String())
	if err != nil {
		return err
	}
	if k.container, err = tool(ctx, nil, "docker", "inspect", "--format", "{{.Id}}", k.Node()); err != nil {
		return err
	}
	if k.Rest, err = clientcmd.BuildConfigFromFlags("", k.Kubeconfig); err != nil {
		return err
	}
	k.Rest.QPS, k.Rest.Burst = 500, 1000
	if k.Client, err = kubernetes.NewForConfig(k.Rest); err != nil {
		return err
	}
	if err := k.nameHub(ctx); err != nil {
		return err
	}
	for _, image := range images {
		if err := k.load(ctx, image); err != nil {
			return err
		}
	}
	return nil
}

// nameHub puts the hub's name into the cluster's DNS and starts it anew.
func (k *kind) nameHub(ctx context.Context) error {
	maps := k.Client.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	m, err := maps.Get(ctx, "coredns", metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("read the configuration of the DNS: %w", err)
	}
	if m.Data["Corefile"], err = withHost(m.Data["Corefile"], k.hub, HubName); err != nil {
		return err
	}
	if _, err := maps.Update(ctx, m, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("write the configuration of the DNS: %w", err)
	}
	return k.Client.CoreV1().Pods(metav1.NamespaceSystem).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
}

// withHost adds a name to the first server of a configuration of CoreDNS.
func withHost(corefile string, at netip.Addr, name string) (string, error) {
	first, rest, ok := strings.Cut(corefile, "{\n")
	if !ok {
		return "", fmt.Errorf("the configuration of the DNS is not understood: %q", corefile)
	}
	return fmt.Sprintf("%s{\n    hosts {\n        %s %s\n        fallthrough\n    }\n%s", first, at, name, rest), nil
}

// cut drops what passes between pods and the hub. The node's own packets are left alone: the test's access to the API server comes
// from the same address.
func (k *kind) cut(ctx context.Context) error {
	return errors.Join(k.heal(ctx), k.onRules(ctx, "iptables -I FORWARD $direction %s -j DROP"))
}

func (k *kind) heal(ctx context.Context) error {
	return k.onRules(ctx, "while iptables -D FORWARD $direction %s -j DROP 2>/dev/null; do :; done") // until there is none
}

// onRules runs a command for what goes to the hub and for what comes from it; %s is its address.
func (k *kind) onRules(ctx context.Context, command string) error {
	_, err := k.inNode(ctx, "sh", "-ec", fmt.Sprintf("for direction in -d -s; do "+command+"; done", k.hub))
	return err
}

// staticAPI is where the kubelet finds the API server, and staticAway where it does not.
const (
	staticAPI  = "/etc/kubernetes/manifests/kube-apiserver.yaml"
	staticAway = "/etc/kubernetes/kube-apiserver.yaml"
)

func (k *kind) kill(component string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	script := "systemctl kill --signal=KILL --kill-whom=main %[1]s || true; systemctl stop %[1]s" // stopped before systemd starts it again
	if component == APIServer {
		script = "if [ -e " + staticAPI + " ]; then mv " + staticAPI + " " + staticAway + "; fi; pkill -KILL -x %[1]s || true"
	}
	_, err := k.inNode(ctx, "sh", "-ec", fmt.Sprintf(script, component))
	return err
}

func (k *kind) revive(ctx context.Context, component string) error {
	script := "systemctl start " + component // containerd's unit is started when it answers
	if component == APIServer {
		script = "if [ -e " + staticAway + " ]; then mv " + staticAway + " " + staticAPI + "; fi"
	}
	if _, err := k.inNode(ctx, "sh", "-ec", script); err != nil || component == Containerd {
		return err
	}
	return k.awaitNode(ctx)
}

func (k *kind) killNode(ctx context.Context) error {
	_, err := tool(ctx, nil, "docker", "kill", k.Node())
	return err
}

func (k *kind) startNode(ctx context.Context) error {
	if _, err := tool(ctx, nil, "docker", "start", k.Node()); err != nil {
		return err
	}
	return k.awaitNode(ctx)
}

// awaitNode waits until the API server says of the kubelet, in a lease that is younger than this wait, that its node is ready.
func (k *kind) awaitNode(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("the node is not ready within %v", startLimit))
	defer cancel()
	began := time.Now()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		lease, err := k.Client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, k.Node(), metav1.GetOptions{})
		if err == nil && lease.Spec.RenewTime != nil && lease.Spec.RenewTime.After(began) {
			var node *corev1.Node
			if node, err = k.Client.CoreV1().Nodes().Get(ctx, k.Node(), metav1.GetOptions{}); err == nil && nodeReady(node) == corev1.ConditionTrue {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// ofPods goes by the id of the node's container, which is in the path of every control group below it.
func (k *kind) ofPods(group string) bool {
	return strings.Contains(group, k.container) && strings.Contains(group, "kubepods")
}

func (k *kind) logs(ctx context.Context, dir string) error {
	_, err := tool(ctx, nil, "kind", "export", "logs", dir, "--name", k.name)
	return err
}

func (k *kind) load(ctx context.Context, archive string) error {
	_, err := tool(ctx, nil, "kind", "load", "image-archive", archive, "--name", k.name)
	return err
}

func (k *kind) registry(ctx context.Context, host, hosts string) error {
	_, err := k.inNode(ctx, "sh", "-c", `mkdir -p "$1" && printf %s "$2" > "$1/hosts.toml"`, "sh", "/etc/containerd/certs.d/"+host, hosts)
	return err
}

func (k *kind) inNode(ctx context.Context, args ...string) (string, error) {
	return tool(ctx, nil, "docker", append([]string{"exec", k.Node()}, args...)...)
}

// removeKind deletes clusters and network of a bed, when there is a container engine.
func removeKind(ctx context.Context, n names) error {
	left, err := kindOf(ctx, n)
	if err != nil || len(left) == 0 {
		return err
	}
	var errs []error
	for i := range maxClusters {
		if slices.Contains(left, n.kindCluster(i)+"-control-plane") {
			_, err := tool(ctx, nil, "kind", "delete", "cluster", "--name", n.kindCluster(i))
			errs = append(errs, err)
		}
	}
	if slices.Contains(left, n.kindNetwork()) {
		_, err := tool(ctx, nil, "docker", "network", "rm", n.kindNetwork())
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// kindOf lists containers and networks that carry the bed's id; nothing where there is no container engine.
func kindOf(ctx context.Context, n names) ([]string, error) {
	if kindMissing(ctx) != "" {
		return nil, nil
	}
	filter := "name=" + n.kindNetwork()
	containers, err := tool(ctx, nil, "docker", "ps", "--all", "--filter", filter, "--format", "{{.Names}}")
	if err != nil {
		return nil, err
	}
	networks, err := tool(ctx, nil, "docker", "network", "ls", "--filter", filter, "--format", "{{.Name}}")
	return append(strings.Fields(containers), strings.Fields(networks)...), err
}

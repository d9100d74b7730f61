package testcluster

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nave-dev/nave/internal/testcluster/keeper"
)

// Limits of waits. Two clusters need five seconds on an idle machine of two processors.
const (
	look       = 50 * time.Millisecond
	startLimit = 3 * time.Minute // of one component, on a machine that compiles beside it
	askLimit   = 5 * time.Second // of one question
)

// Cluster is one running cluster. Its methods may be called by several goroutines, but those that kill and start the same
// component are called one after the other.
type Cluster struct {
	// Name is c1, c2, ….
	Name string
	// Kubeconfig is the path of the administrator's configuration, good for every process of this machine.
	Kubeconfig string
	// Rest and Client are the administrator's access. They go by a link that Cut leaves alone.
	Rest   *rest.Config
	Client *kubernetes.Clientset
	// Dir is the cluster's folder: logs are in Dir/log, those of pods in Dir/pods.
	Dir string

	log     *slog.Logger
	backend backend
	node    string
}

// source is the backend that makes a cluster from programs built from source, in a network namespace.
type source struct {
	*Cluster
	names   names
	cfg     Config
	bin     Bin
	keeper  *keeper.Keeper
	pki     *authority
	address netip.Addr // of API server and node, inside the namespace
	outside netip.Addr // of the API server for the test
	port    int        // of the API server
	etcd    [2]int     // ports of etcd on its loopback, for clients and peers
	netns   string     // path; empty: a control plane without one

	index   int
	network network

	running map[string]*keeper.Process // by component
}

// Node is the name of the cluster's only node.
func (c *Cluster) Node() string { return c.node }

// start starts a component. Its output goes to log/NAME.log, a later start's too.
func (c *source) start(name string, args ...string) error {
	env := []string{
		c.names.environment(),
		"PATH=" + c.bin.Dir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + c.Dir, "TMPDIR=" + c.Dir, "LANG=C.UTF-8",
		RunEnv + "=" + runLabel(c.names.id),
	}
	p, err := c.keeper.Start(keeper.Spec{
		Name: c.Name + " " + name, Args: append([]string{c.bin.path(name)}, args...), Env: env, Dir: c.Dir,
		Log: filepath.Join(c.Dir, "log", name+".log"), Netns: c.netns,
	})
	if err != nil {
		return err
	}
	c.running[name] = p
	return nil
}

// runLabel is the run that a process belongs to: the one that this process belongs to, or the bed.
func runLabel(id string) string {
	if run := os.Getenv(RunEnv); run != "" {
		return run
	}
	return id
}

// kill ends a component as a crash does.
func (c *source) kill(name string) error {
	p := c.running[name]
	if p == nil {
		return fmt.Errorf("%s of %s was not started", name, c.Name)
	}
	return p.Kill()
}

// await asks until there is no error, as long as the component lives that is waited for.
func (c *source) await(ctx context.Context, component, what string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not within %v", startLimit))
	defer cancel()
	tick := time.NewTicker(look)
	defer tick.Stop()
	p := c.running[component]
	for {
		one, done := context.WithTimeout(ctx, askLimit)
		err := ask(one)
		done()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.Done():
			return fmt.Errorf("%s: %s ended (%s):\n%s", c.Name, component, p.How(), tail(p.Log))
		case <-ctx.Done():
			return fmt.Errorf("%s: wait for %s: %w: %w\n%s", c.Name, what, context.Cause(ctx), err, tail(p.Log))
		}
	}
}

// tail returns the end of a log.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}

// kubeconfig writes the configuration of a certificate's owner, and returns its path.
func (c *source) kubeconfig(file, cert string, server netip.Addr) (string, error) {
	crt, err1 := os.ReadFile(c.pki.path(cert + ".crt"))
	key, err2 := os.ReadFile(c.pki.path(cert + ".key"))
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	path := filepath.Join(c.Dir, file+".kubeconfig")
	b64 := base64.StdEncoding.EncodeToString
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: %[1]s
clusters: [{name: %[1]s, cluster: {server: "https://%[2]s", certificate-authority-data: %[3]s}}]
users: [{name: %[1]s, user: {client-certificate-data: %[4]s, client-key-data: %[5]s}}]
contexts: [{name: %[1]s, context: {cluster: %[1]s, user: %[1]s}}]
`, c.Name, netip.AddrPortFrom(server, uint16(c.port)), b64(c.pki.pem), b64(crt), b64(key))
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// connect makes the administrator's client.
func (c *source) connect() error {
	var err error
	if c.Kubeconfig, err = c.kubeconfig("admin", "admin", c.outside); err != nil {
		return err
	}
	if c.Rest, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
		return err
	}
	c.Rest.QPS, c.Rest.Burst = 500, 1000 // tests ask much at once
	c.Client, err = kubernetes.NewForConfig(c.Rest)
	return err
}

// Cut makes a partition: nothing passes between the cluster and the hub's bridge, in either direction. The test's own access
// stays.
func (c *Cluster) Cut(ctx context.Context) error {
	c.log.Info("cutting a cluster off", "cluster", c.Name)
	return c.backend.cut(ctx)
}

// Heal undoes Cut.
func (c *Cluster) Heal(ctx context.Context) error {
	c.log.Info("healing a cluster", "cluster", c.Name)
	return c.backend.heal(ctx)
}

// KillKubelet ends the kubelet as a crash does. Pods run on.
func (c *Cluster) KillKubelet() error { return c.backend.kill(Kubelet) }

// StartKubelet starts the kubelet and returns when it answers and the node is ready.
func (c *Cluster) StartKubelet(ctx context.Context) error { return c.backend.revive(ctx, Kubelet) }

// KillContainerd ends containerd as a crash does. Containers run on.
func (c *Cluster) KillContainerd() error { return c.backend.kill(Containerd) }

// StartContainerd starts containerd and returns when it answers.
func (c *Cluster) StartContainerd(ctx context.Context) error {
	return c.backend.revive(ctx, Containerd)
}

// KillAPIServer ends the API server as a crash does. Pods run on; etcd does too.
func (c *Cluster) KillAPIServer() error { return c.backend.kill(APIServer) }

// StartAPIServer starts the API server and returns when it is ready. Its address and what it knows are as before.
func (c *Cluster) StartAPIServer(ctx context.Context) error { return c.backend.revive(ctx, APIServer) }

// LoadImage gives the node an image from an archive: an OCI layout or what docker save writes, as a tar file.
func (c *Cluster) LoadImage(ctx context.Context, archive string) error {
	return c.backend.load(ctx, archive)
}

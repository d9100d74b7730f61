package testcluster

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// begin makes what the cluster is told by, and starts etcd and the API server.
func (c *source) begin(ctx context.Context) error {
	if err := c.prepare(); err != nil {
		return err
	}
	if err := c.startEtcd(); err != nil {
		return err
	}
	return c.startAPI(ctx)
}

// prepare makes folders, certificates and configurations.
func (c *source) prepare() error {
	for _, dir := range []string{"log", "pods"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, dir), 0o755); err != nil {
			return err
		}
	}
	var err error
	if c.pki, err = newAuthority(filepath.Join(c.Dir, "pki"), c.Name+"-ca"); err != nil {
		return err
	}
	server := []netip.Addr{c.address, c.outside, netip.MustParseAddr(serviceOfAPI), netip.MustParseAddr("127.0.0.1")}
	for _, s := range []subject{
		{file: "apiserver", name: "kube-apiserver", addrs: server, hosts: []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"}},
		{file: "admin", name: "admin", groups: []string{"system:masters"}},
		{file: "controllers", name: "system:kube-controller-manager"},
		{file: "scheduler", name: "system:kube-scheduler"},
		{file: "kubelet", name: "system:node:" + c.Node(), groups: []string{"system:nodes"}, hosts: []string{c.Node()}, addrs: []netip.Addr{c.address}},
		{file: "proxy", name: "system:kube-proxy"},
		{file: "dns", name: "admin", groups: []string{"system:masters"}},
		{file: "kwok", name: "kwok", groups: []string{"system:masters"}},
		{file: "front-proxy", name: "front-proxy"},
	} {
		if err := c.pki.issue(s); err != nil {
			return err
		}
		switch s.file {
		case "controllers", "scheduler", "kubelet", "proxy", "dns", "kwok":
			if _, err := c.kubeconfig(s.file, s.file, c.address); err != nil {
				return err
			}
		}
	}
	return c.connect()
}

func (c *source) etcdURL() string { return fmt.Sprintf("http://127.0.0.1:%d", c.etcd[0]) }

func (c *source) startEtcd() error {
	client, peer := c.etcdURL(), fmt.Sprintf("http://127.0.0.1:%d", c.etcd[1])
	return c.start("etcd", "--data-dir", filepath.Join(c.Dir, "etcd"), "--unsafe-no-fsync", "--log-level", "warn",
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
}

// startAPI starts the API server and returns when it is ready.
func (c *source) startAPI(ctx context.Context) error {
	pki := c.pki.path
	args := []string{
		"--etcd-servers=" + c.etcdURL(), fmt.Sprintf("--secure-port=%d", c.port),
		"--advertise-address=" + c.address.String(), "--service-cluster-ip-range=" + serviceNet,
		"--client-ca-file=" + pki("ca.crt"), "--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + pki("sa.pub"), "--service-account-signing-key-file=" + pki("sa.key"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--kubelet-preferred-address-types=InternalIP", // the node's name resolves nowhere
		"--kubelet-client-certificate=" + pki("admin.crt"), "--kubelet-client-key=" + pki("admin.key"),
		"--requestheader-client-ca-file=" + pki("ca.crt"), "--requestheader-allowed-names=front-proxy",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + pki("front-proxy.crt"), "--proxy-client-key-file=" + pki("front-proxy.key"),
	}
	if t := c.cfg.Toleration; t > 0 {
		args = append(args, fmt.Sprintf("--default-not-ready-toleration-seconds=%d", t/time.Second), fmt.Sprintf("--default-unreachable-toleration-seconds=%d", t/time.Second))
	}
	if c.address.IsLoopback() {
		args = append(args, "--bind-address="+c.address.String(), "--endpoint-reconciler-type=none") // loopback may be no endpoint
	}
	if err := c.start("kube-apiserver", args...); err != nil {
		return err
	}
	return c.await(ctx, "kube-apiserver", "the API server", func(ctx context.Context) error {
		_, err := c.Client.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
}

// startControllers starts the controller manager and the scheduler and returns when pods may be made.
func (c *source) startControllers(ctx context.Context) error {
	access := func(name string) []string {
		config := filepath.Join(c.Dir, name+".kubeconfig")
		args := []string{"--kubeconfig=" + config, "--authentication-kubeconfig=" + config, "--authorization-kubeconfig=" + config,
			"--bind-address=127.0.0.1", "--leader-elect=false",
			"--kube-api-qps=500", "--kube-api-burst=1000"} // by default the scheduler is slow, and the default service account late
		if c.netns == "" {
			args = append(args, "--secure-port=0") // their own ports may be others' here
		}
		return args
	}
	nodes := []string{fmt.Sprintf("--allocate-node-cidrs=%t", c.netns != "")} // kwok gives addresses itself
	if c.cfg.NodeGrace > 0 {
		nodes = append(nodes, "--node-monitor-grace-period="+c.cfg.NodeGrace.String(), "--node-monitor-period=1s")
	}
	if err := c.start("kube-controller-manager", append(append(access("controllers"), nodes...),
		"--flex-volume-plugin-dir="+filepath.Join(c.Dir, "volumeplugins"), "--use-service-account-credentials=true", "--controllers=*", "--controller-start-interval=0",
		"--service-account-private-key-file="+c.pki.path("sa.key"), "--root-ca-file="+c.pki.path("ca.crt"),
		"--cluster-signing-cert-file="+c.pki.path("ca.crt"), "--cluster-signing-key-file="+c.pki.path("ca.key"),
		"--cluster-cidr="+podNet, "--service-cluster-ip-range="+serviceNet)...); err != nil {
		return err
	}
	if err := c.start("kube-scheduler", access("scheduler")...); err != nil {
		return err
	}
	return c.await(ctx, "kube-controller-manager", "the default service account", func(ctx context.Context) error {
		_, err := c.Client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// freePorts finds ports of loopback that nobody listens on.
func freePorts(n int) ([]int, error) {
	var out []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at the end, so that they differ
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out, nil
}

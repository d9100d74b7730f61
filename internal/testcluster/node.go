package testcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// containerdConfig: %[1]s is the cluster's folder, %[2]s that of the programs, %[3]s the image of a pod's first process.
const containerdConfig = `version = 3
root = "%[1]s/images"
state = "%[1]s/run"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.erofs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "%[1]s/cd.sock"
[ttrpc]
  address = "%[1]s/cd.sock.ttrpc"
[plugins."io.containerd.shim.v1.manager"]
  socket_dir = "%[1]s/s"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "%[3]s"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "%[1]s/registries"
[plugins."io.containerd.cri.v1.runtime"]
  # Who may not lower its score would fail to start containers.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["%[2]s/cni"]
    conf_dir = "%[1]s/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      BinaryName = "%[2]s/runc"
      SystemdCgroup = false
      Root = "%[1]s/runc"
`

// cniConfig: %[1]s is the cluster's folder, %[2]s the range of pods.
const cniConfig = `{"cniVersion": "1.0.0", "name": "pods", "plugins": [
 {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "ipMasqBackend": "nftables", "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": "%[1]s/ipam", "ranges": [[{"subnet": "%[2]s"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": true}}]}
`

// kubeletConfig: %[1]s is the cluster's folder, %[2]s the node's address, %[3]s the control group, %[4]d the seconds of its lease.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /%[3]s
cgroupsPerQOS: true
enforceNodeAllocatable: [pods]
containerRuntimeEndpoint: unix://%[1]s/cd.sock
address: %[2]s
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %[1]s/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: %[1]s/pki/kubelet.crt
tlsPrivateKeyFile: %[1]s/pki/kubelet.key
failSwapOn: false
clusterDNS: [%[2]s]
clusterDomain: cluster.local
resolvConf: %[1]s/resolv.conf
podLogsDir: %[1]s/pods
volumePluginDir: %[1]s/volumeplugins
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi}
healthzBindAddress: 127.0.0.1
maxPods: 200
serializeImagePulls: false
nodeStatusUpdateFrequency: 4s
nodeLeaseDurationSeconds: %[4]d
shutdownGracePeriod: 0s
`

// corefile: %[1]s is the cluster's folder, %[2]s the node's address, %[3]s the hub's, %[4]s the hub's name.
const corefile = `.:53 {
  bind %[2]s
  errors
  kubernetes cluster.local {
    kubeconfig %[1]s/dns.kubeconfig
  }
  hosts {
    %[3]s %[4]s
    fallthrough
  }
  cache 5
}
`

// makeNode starts containerd with the images, the kubelet, kube-proxy and DNS, and returns when the node is ready.
func (c *source) makeNode(ctx context.Context, images []string) error {
	for path, text := range map[string]string{
		"containerd.toml":      fmt.Sprintf(containerdConfig, c.Dir, c.bin.Dir, PauseImage),
		"cni/10-pods.conflist": fmt.Sprintf(cniConfig, c.Dir, podRange),
		"kubelet.yaml":         fmt.Sprintf(kubeletConfig, c.Dir, c.address, c.names.cgroup()+"/"+c.Name, c.cfg.leaseSeconds()),
		"Corefile":             fmt.Sprintf(corefile, c.Dir, c.address, c.network.hub(), HubName),
		"resolv.conf":          refusing, // nothing outside is to be found, and at once
	} {
		path = filepath.Join(c.Dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := c.startContainerd(ctx); err != nil {
		return err
	}
	for _, image := range images {
		if err := c.load(ctx, image); err != nil {
			return err
		}
	}
	if err := c.allowProxy(ctx); err != nil {
		return err
	}
	if err := c.startNetwork(); err != nil {
		return err
	}
	return c.startKubelet(ctx)
}

// startNetwork starts kube-proxy and DNS.
func (c *source) startNetwork() error {
	if err := c.start("kube-proxy", "--kubeconfig", filepath.Join(c.Dir, "proxy.kubeconfig"), "--proxy-mode", "nftables",
		"--hostname-override", c.Node(), "--bind-address", c.address.String(), "--cluster-cidr", podNet,
		// Limits of connections are the machine's, and not to be written from a namespace.
		"--conntrack-max-per-core", "0", "--conntrack-tcp-timeout-established", "0s", "--conntrack-tcp-timeout-close-wait", "0s"); err != nil {
		return err
	}
	return c.start("coredns", "-conf", filepath.Join(c.Dir, "Corefile"))
}

// allowProxy gives kube-proxy the rights that Kubernetes has ready for it.
func (c *source) allowProxy(ctx context.Context) error {
	_, err := c.Client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "testcluster-proxy"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:node-proxier"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "system:kube-proxy"}},
	}, metav1.CreateOptions{})
	return err
}

// startContainerd starts containerd and returns when it answers.
func (c *source) startContainerd(ctx context.Context) error {
	if err := c.start("containerd", "-c", filepath.Join(c.Dir, "containerd.toml")); err != nil {
		return err
	}
	return c.await(ctx, "containerd", "containerd", func(ctx context.Context) error { return c.ctr(ctx, "version") })
}

// startKubelet starts the kubelet and returns when it answers and the node is ready.
func (c *source) startKubelet(ctx context.Context) error {
	if err := c.start("kubelet", "--config", filepath.Join(c.Dir, "kubelet.yaml"), "--kubeconfig", filepath.Join(c.Dir, "kubelet.kubeconfig"),
		"--root-dir", filepath.Join(c.Dir, "kubelet"), "--cert-dir", filepath.Join(c.Dir, "kubelet-pki"),
		"--hostname-override", c.Node(), "--node-ip", c.address.String()); err != nil {
		return err
	}
	return c.await(ctx, "kubelet", "the node", func(ctx context.Context) error {
		// The node's condition may be of a kubelet that was killed: this one must answer itself.
		if _, err := c.Client.CoreV1().RESTClient().Get().Resource("nodes").Name(c.Node()).SubResource("proxy", "healthz").DoRaw(ctx); err != nil {
			return err
		}
		node, err := c.Client.CoreV1().Nodes().Get(ctx, c.Node(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		if nodeReady(node) != corev1.ConditionTrue {
			return errors.New("the node is not ready")
		}
		return nil
	})
}

func (c *source) load(ctx context.Context, archive string) error {
	return c.ctr(ctx, "images", "import", archive)
}

// ctr calls containerd's own client.
func (c *source) ctr(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.bin.path("ctr"), append([]string{"-a", filepath.Join(c.Dir, "cd.sock"), "-n", "k8s.io"}, args...)...)
	cmd.Env = []string{c.names.environment(), "PATH=" + os.Getenv("PATH"), "TMPDIR=" + c.Dir}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: ctr %s: %w: %s", c.Name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

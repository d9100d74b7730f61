//go:build kindtests

package kindtests

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/internal/testcluster"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/door"
	"github.com/nave-dev/nave/spoke/kube"
	"github.com/nave-dev/nave/spoke/runtimetest"
)

// Images of the tests of the runtime.
const (
	harnessImage = testcluster.Registry + "/nave/harness:1"
	agentImage   = testcluster.Registry + "/nave/agent:1" // has a shell
)

const (
	sessions = "nave-default" // namespace of sessions
	podUser  = 65532
)

// TestRuntime is the conformance suite over pods, with the harness brought by an init container and by an image volume.
func TestRuntime(t *testing.T) {
	ctx := limited(t)
	b := newRuntimeBed(ctx, t)
	for _, d := range []kube.Delivery{kube.DeliveryInit, kube.DeliveryVolume} {
		t.Run(string(d), func(t *testing.T) {
			runtimetest.Run(t, func(t *testing.T) runtimetest.Config { return b.config(ctx, t, d) })
		})
	}
}

// runtimeBed is a cluster with images and a namespace for sessions.
type runtimeBed struct {
	*testcluster.Cluster
	hub netip.Addr
	n   atomic.Int64 // clusters' ids given out
}

func newRuntimeBed(ctx context.Context, t *testing.T) *runtimeBed {
	t.Helper()
	bed := start(ctx, t, 1)
	b := &runtimeBed{Cluster: bed.Clusters[0], hub: bed.HubAddress()}
	b.image(ctx, t, testcluster.Image{Name: harnessImage, Files: map[string]string{"/nave-harness": buildHarness(ctx, t)}})
	shell := busybox(t)
	files := map[string]string{}
	for _, name := range []string{"sh", "cat", "echo", "sleep", "setsid", "touch"} {
		files["/bin/"+name], files["/"+name] = shell, shell // the PATH of the image is its root
	}
	b.image(ctx, t, testcluster.Image{Name: agentImage, Files: files})
	if _, err := b.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: sessions, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Client.CoreV1().ServiceAccounts(sessions).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "nave-session"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return b
}

// image gives the node an image.
func (b *runtimeBed) image(ctx context.Context, t *testing.T, i testcluster.Image) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := i.WriteArchive(file); err != nil {
		t.Fatal(err)
	}
	if err := b.LoadImage(ctx, file); err != nil {
		t.Fatal(err)
	}
}

// buildHarness builds the harness as a static program.
func buildHarness(ctx context.Context, t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nave-harness")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", file, "github.com/nave-dev/nave/cmd/nave-harness")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the harness: %v\n%s", err, out)
	}
	return file
}

// busybox finds a static shell.
func busybox(t *testing.T) string {
	t.Helper()
	file, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatalf("%v: apt-get install busybox-static", err)
	}
	return file
}

// config is a runtime of a cluster id of its own, with a door on the bridge.
func (b *runtimeBed) config(ctx context.Context, t *testing.T, d kube.Delivery) runtimetest.Config {
	t.Helper()
	c, authority := b.kube(t, d)
	class := c.Settings.StorageClasses[0]
	rt := b.runtime(ctx, t, c)
	dr := newDoor(t, c, authority, rt)
	b.volumes(ctx, t, class, 2)
	return runtimetest.Config{
		Runtime: rt, Door: dr, Again: func() spoke.Runtime { return b.runtime(ctx, t, c) },
		KillHarness: killHarness, Running: runningInPods, Image: agentImage,
		Volumes: []api.Volume{{Name: "state", Mount: "/nave/state", SizeBytes: 1 << 20, Class: class}},
	}
}

// kube configures a runtime.
func (b *runtimeBed) kube(t *testing.T, d kube.Delivery) (kube.Config, *door.Authority) {
	t.Helper()
	authority, err := door.OpenAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cluster := fmt.Sprintf("01TEST%d", b.n.Add(1))
	class := strings.ToLower(cluster) // of volumes that are gone with the test
	return kube.Config{
		Rest: b.Rest, Authority: authority.PEM(), Cluster: func() string { return cluster }, Log: logger(t),
		Settings: kube.Settings{
			Service: freeAddress(t, b.hub), Namespaces: kube.Namespaces{Organizations: map[api.OrgID]string{api.DefaultOrg: sessions}},
			Harness: kube.Harness{Image: harnessImage, Delivery: d}, Pods: kube.Pods{User: podUser, PullPolicy: corev1.PullNever},
			Flavors:        map[string]kube.Flavor{api.DefaultFlavor: {CPU: quantity("10m"), Memory: quantity("128Mi"), Count: 20}},
			StorageClasses: []string{class},
		},
	}, authority
}

// newDoor makes the door of a runtime, at the address that its pods dial.
func newDoor(t *testing.T, c kube.Config, authority *door.Authority, rt *kube.Runtime) *door.Door {
	t.Helper()
	d, err := door.New(door.Config{
		Remote: &door.Remote{Listen: c.Settings.Service, Certificate: authority.Certificate, Verify: verify, Describe: rt.Describe},
		Vault:  runtimetest.NoCheckpoints{}, Log: c.Log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// runtime makes a runtime and runs it until the test ends.
func (b *runtimeBed) runtime(ctx context.Context, t *testing.T, c kube.Config) *kube.Runtime {
	t.Helper()
	rt, err := kube.New(c)
	if err != nil {
		t.Fatal(err)
	}
	g := run.NewGroup(context.Background())
	g.Go("runtime", rt.Run)
	t.Cleanup(func() {
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Errorf("runtime: %v", err)
		}
	})
	await(ctx, t, "the runtime knows what runs", func() bool { return rt.Ready() == nil })
	return rt
}

// volumes makes volumes by hand: the clusters have nobody who does.
func (b *runtimeBed) volumes(ctx context.Context, t *testing.T, class string, n int) {
	t.Helper()
	for i := range n {
		dir := t.TempDir()
		if err := os.Chown(dir, podUser, podUser); err != nil { // it is not done for volumes of this kind
			t.Fatal(err)
		}
		v := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", class, i)},
			Spec: corev1.PersistentVolumeSpec{
				Capacity:    corev1.ResourceList{corev1.ResourceStorage: *quantity("1Mi")},
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: class,
				PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}},
			},
		}
		if _, err := b.Client.CoreV1().PersistentVolumes().Create(ctx, v, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func quantity(s string) *resource.Quantity { q := resource.MustParse(s); return &q }

// freeAddress is a host:port of the bridge that nobody listens on.
func freeAddress(t testing.TB, at netip.Addr) string {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// verify compares the pod that a token names with the workload, and does not look at the signature.
func verify(_ context.Context, id spoke.WorkloadID, token string) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return api.Errorf(api.CodeUnauthenticated, "not a token")
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return api.Errorf(api.CodeUnauthenticated, "not a token: %v", err)
	}
	var claims struct {
		Kubernetes struct {
			Pod struct{ Name string } `json:"pod"`
		} `json:"kubernetes.io"`
	}
	if err := json.Unmarshal(b, &claims); err != nil {
		return api.Errorf(api.CodeUnauthenticated, "not a token: %v", err)
	}
	if claims.Kubernetes.Pod.Name != id.String() {
		return api.Errorf(api.CodeDenied, "the token is of pod %s", claims.Kubernetes.Pod.Name)
	}
	return nil
}

// killHarness ends the first process of a workload's container. Pods share the kernel of the test.
func killHarness(id spoke.WorkloadID) error {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		env, _ := os.ReadFile(filepath.Join(dir, "environ")) // gone meanwhile
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if !bytes.HasPrefix(line, []byte("/nave/bin/nave-harness\x00pod\x00")) || !bytes.Contains(env, []byte("NAVE_WORKLOAD="+id.String()+"\x00")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return err
		}
		return syscall.Kill(pid, syscall.SIGKILL)
	}
	return fmt.Errorf("no harness of %s runs", id)
}

// runningInPods counts the processes that sleep for as long as the token says.
func runningInPods(token string) (int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	n := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		argv := strings.Split(string(bytes.TrimRight(b, "\x00")), "\x00")
		if strings.Contains(argv[len(argv)-1], token) && filepath.Base(argv[0]) == "sleep" {
			n++
		}
	}
	return n, nil
}

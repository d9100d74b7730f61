//go:build kindtests

package kindtests

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/internal/charts"
	"github.com/nave-dev/nave/internal/realpart"
	"github.com/nave-dev/nave/internal/testcluster"
)

// TestTheHubsChartRunsAHub installs the chart with the embedded parts, does what its notes say, upgrades it and uninstalls it.
func TestTheHubsChartRunsAHub(t *testing.T) {
	ctx := limited(t)
	volume, helm := t.TempDir(), charts.Helm{Path: realpart.Path(t, realpart.Helm), Home: t.TempDir()}
	if err := os.Chmod(volume, 0o777); err != nil { // a volume of a host's folder is not given to a group
		t.Fatal(err)
	}
	bed := start(ctx, t, 1)
	c := bed.Clusters[0]
	loadImage(ctx, t, c, testcluster.Image{Name: "ghcr.io/nave-dev/nave-hub:0.0.0", Entrypoint: []string{"/nave-hub"},
		Files: map[string]string{"/nave-hub": realpart.Path(t, realpart.NaveHub), "/nave-overlay": realpart.Path(t, realpart.NaveOverlay)}})
	reader := compile(ctx, t, readerSource)
	loadImage(ctx, t, c, testcluster.Image{Name: readerImage, Files: map[string]string{"/sleep": reader, "/cat": reader}})
	offerVolume(ctx, t, c, volume)
	if _, err := c.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "nave-hub",
		Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := helm.Run(ctx, append(args, "--namespace", "nave-hub", "--kubeconfig", c.Kubeconfig)...)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	chart := filepath.Join(repository, "charts", "nave-hub")
	notes := run("install", "nave-hub", chart)
	first := hubReady(ctx, t, c, "")
	for name, port := range map[string]string{"nave-hub": "https:7400", "nave-hub-metrics": "http:7402"} {
		scheme, number, _ := strings.Cut(port, ":")
		if out, err := c.Client.CoreV1().Services("nave-hub").ProxyGet(scheme, name, number, "/readyz", nil).DoRaw(ctx); err != nil || string(out) != "ok\n" {
			t.Errorf("the service %s answers %q, %v", name, out, err)
		}
	}
	t.Run("the notes lead to the token", func(t *testing.T) { follow(ctx, t, bed, c, notes, volume) })

	token := content(t, volume, "data", "admin-token")
	run("upgrade", "nave-hub", chart, "--set", "config.lease=5s")
	hubReady(ctx, t, c, string(first.UID))
	if content(t, volume, "data", "admin-token") != token {
		t.Error("the upgraded hub is another one")
	}
	run("uninstall", "nave-hub")
	await(ctx, t, "the hub is gone", func() bool {
		_, err := c.Client.CoreV1().Pods("nave-hub").Get(ctx, "nave-hub-0", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	if claim, err := c.Client.CoreV1().PersistentVolumeClaims("nave-hub").Get(ctx, "data-nave-hub-0", metav1.GetOptions{}); err != nil || claim.DeletionTimestamp != nil {
		t.Errorf("the claim after the release was uninstalled: %v, %v", claim.GetDeletionTimestamp(), err)
	}
}

// TestAHubOnANodeIsReachedFromOutside installs the chart with the embedded overlay on the address of a node, and joins a spoke that is not in the
// cluster.
func TestAHubOnANodeIsReachedFromOutside(t *testing.T) {
	ctx := limited(t)
	volume, helm := t.TempDir(), charts.Helm{Path: realpart.Path(t, realpart.Helm), Home: t.TempDir()}
	dir, nave, spoke := t.TempDir(), realpart.Path(t, realpart.NaveCLI), realpart.Path(t, realpart.NaveSpoke)
	if err := os.Chmod(volume, 0o777); err != nil {
		t.Fatal(err)
	}
	bed := start(ctx, t, 1)
	c := bed.Clusters[0]
	loadImage(ctx, t, c, testcluster.Image{Name: "ghcr.io/nave-dev/nave-hub:0.0.0", Entrypoint: []string{"/nave-hub"},
		Files: map[string]string{"/nave-hub": realpart.Path(t, realpart.NaveHub), "/nave-overlay": realpart.Path(t, realpart.NaveOverlay)}})
	offerVolume(ctx, t, c, volume)
	node, err := c.Client.CoreV1().Nodes().Get(ctx, c.Node(), metav1.GetOptions{})
	if err != nil || len(node.Status.Addresses) == 0 {
		t.Fatalf("the node has no address: %v", err)
	}
	at := node.Status.Addresses[0].Address
	if _, err := helm.Run(ctx, "install", "nave-hub", filepath.Join(repository, "charts", "nave-hub"), "--namespace", "nave-hub", "--create-namespace", "--kubeconfig", c.Kubeconfig,
		"--set", "hostNetwork.enabled=true", "--set", "config.overlay.listen="+at, "--set-json", `config.api.hosts=["`+at+`"]`, "--set-json", `nodeSelector={"kubernetes.io/hostname":"`+c.Node()+`"}`); err != nil {
		t.Fatal(err)
	}
	hubReady(ctx, t, c, "")
	command := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(ctx, nave, args...)
		cmd.Env = append(os.Environ(), "NAVE_CONFIG="+filepath.Join(dir, "nave.yaml"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("nave %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	command("context", "set", "node", "--address", "https://"+at+":7400", "--ca-file", filepath.Join(volume, "data", "ca.pem"), "--token-file", filepath.Join(volume, "data", "admin-token"))
	command("clusters", "register", "outside", "--token-file", filepath.Join(dir, "token"))
	process := exec.CommandContext(ctx, spoke, "run", "--data-dir", filepath.Join(dir, "spoke"), "--join-token-file", filepath.Join(dir, "token"))
	process.Stdout, process.Stderr = t.Output(), t.Output()
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	await(ctx, t, "the spoke is live", func() bool { return strings.Contains(command("clusters"), "Live") })
}

// hubReady waits until another pod of the hub than the given one is ready.
func hubReady(ctx context.Context, t *testing.T, c *testcluster.Cluster, than string) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	is := func(condition corev1.PodConditionType) func() bool {
		return func() bool {
			var err error
			if pod, err = c.Client.CoreV1().Pods("nave-hub").Get(ctx, "nave-hub-0", metav1.GetOptions{}); err != nil || string(pod.UID) == than {
				return false
			}
			for _, k := range pod.Status.Conditions {
				if k.Type == condition && k.Status == corev1.ConditionTrue {
					return true
				}
			}
			return false
		}
	}
	await(ctx, t, "the hub has a node", is(corev1.PodScheduled))
	await(ctx, t, "the hub is ready", is(corev1.PodReady))
	return pod
}

// follow does what the notes say, but for the image, which is not on this machine.
func follow(ctx context.Context, t *testing.T, bed *testcluster.Bed, c *testcluster.Cluster, notes, volume string) {
	file := regexp.MustCompile(`(?m)^  echo '(.*)' > reader\.json$`).FindStringSubmatch(notes)
	debug := regexp.MustCompile(`(?m)^  kubectl (.* debug .*)$`).FindStringSubmatch(notes)
	exec := regexp.MustCompile(`(?m)^  kubectl (.* exec .* cat .*/(admin-token|ca\.pem)) > `).FindAllStringSubmatch(notes, -1)
	if file == nil || debug == nil || len(exec) != 2 {
		t.Fatalf("the notes have other commands:\n%s", notes)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "reader.json"), []byte(file[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := kubectl(ctx, t, c, dir, strings.Fields(strings.Replace(debug[1], "=busybox", "="+readerImage, 1))); err != nil {
		t.Fatalf("kubectl %s: %v\n%s", debug[1], err, out)
	}
	await(ctx, t, "the reader runs", func() bool {
		pod, err := c.Client.CoreV1().Pods("nave-hub").Get(ctx, "nave-hub-0", metav1.GetOptions{})
		return err == nil && len(pod.Status.EphemeralContainerStatuses) == 1 && pod.Status.EphemeralContainerStatuses[0].State.Running != nil
	})
	for _, e := range exec {
		out, err := kubectl(ctx, t, c, dir, strings.Fields(e[1]))
		if err != nil || out != content(t, volume, "data", e[2]) || len(out) < 40 {
			t.Errorf("kubectl %s gives %d bytes, %v", e[1], len(out), err)
		}
	}
}

func kubectl(ctx context.Context, t *testing.T, c *testcluster.Cluster, dir string, args []string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(ctx, filepath.Join(programs(ctx, t).Dir, "kubectl"), args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "HOME="+dir)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	if complaint.Len() > 0 {
		t.Logf("kubectl says: %s", complaint.String())
	}
	return out.String(), err
}

// readerImage stands for busybox in the notes: sleep and cat.
const readerImage = testcluster.Registry + "/nave/reader:1"

const readerSource = `package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if filepath.Base(os.Args[0]) == "sleep" {
		time.Sleep(time.Hour)
	}
	b, err := os.ReadFile(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Stdout.Write(b)
}
`

// compile makes a program.
func compile(ctx context.Context, t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, "program"), filepath.Join(dir, "main.go"))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	return filepath.Join(dir, "program")
}

func loadImage(ctx context.Context, t *testing.T, c *testcluster.Cluster, i testcluster.Image) {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "image.tar")
	if err := i.WriteArchive(archive); err != nil {
		t.Fatal(err)
	}
	if err := c.LoadImage(ctx, archive); err != nil {
		t.Fatal(err)
	}
}

// offerVolume makes a volume of a folder of this machine.
func offerVolume(ctx context.Context, t *testing.T, c *testcluster.Cluster, dir string) {
	t.Helper()
	if _, err := c.Client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "hub"}, Spec: corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("100Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

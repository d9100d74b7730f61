//go:build kindtests

package kindtests

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/internal/realpart"
	"github.com/nave-dev/nave/internal/testcluster"
)

const namespaceOfHub = "nave-hub"

// hubRelease is the hub's chart, in a cluster that has its image and a volume.
type hubRelease struct {
	*release
	volume string // the folder that is the hub's volume
}

func releaseHub(ctx context.Context, t testing.TB, c *testcluster.Cluster, restricted bool, values ...string) *hubRelease {
	t.Helper()
	h := &hubRelease{releaseOf(ctx, t, c, "nave-hub", namespaceOfHub, values...), filepath.Join(t.TempDir(), "volume")}
	loadImage(ctx, t, "nave-hub", c)
	makeNamespace(ctx, t, c, namespaceOfHub, restricted)
	offerVolume(ctx, t, c, "hub", h.volume)
	return h
}

// clusterForHub starts a cluster. Folders of the test go after it: the hub writes to its volume until then.
func clusterForHub(ctx context.Context, t *testing.T) *testcluster.Cluster {
	t.Helper()
	t.TempDir()
	return start(ctx, t, 1).Clusters[0]
}

// kept is what the hub keeps in a file of its data directory.
func (h *hubRelease) kept(name string) string {
	h.t.Helper()
	return content(h.t, h.volume, "data", name)
}

// ready waits until another pod of the hub than the given one is ready.
func (h *hubRelease) ready(than *corev1.Pod) *corev1.Pod {
	h.t.Helper()
	var pod *corev1.Pod
	is := func(condition corev1.PodConditionType) func() bool {
		return func() bool {
			var err error
			if pod, err = h.pod(); err != nil || than != nil && pod.UID == than.UID {
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
	await(h.ctx, h.t, "the hub has a node", is(corev1.PodScheduled))
	await(h.ctx, h.t, "the hub is ready", is(corev1.PodReady))
	return pod
}

func (h *hubRelease) pod() (*corev1.Pod, error) {
	return h.cluster.Client.CoreV1().Pods(h.namespace).Get(h.ctx, "nave-hub-0", metav1.GetOptions{})
}

// says waits until the log to which the notes lead has a text. It is there while the hub starts again and again.
func (h *hubRelease) says(notes, text string) {
	h.t.Helper()
	command := regexp.MustCompile(`(?m)^  kubectl (.* logs .*)$`).FindStringSubmatch(notes)
	if command == nil {
		h.t.Fatalf("the notes do not lead to the log:\n%s", notes)
	}
	await(h.ctx, h.t, fmt.Sprintf("the hub's log says %q", text), func() bool {
		out, _ := h.kubectl(strings.Fields(command[1])...)
		return strings.Contains(out, text)
	})
}

// administers makes the command line of a folder that [release.follow] left use another token, and reports what it says.
func (h *hubRelease) administers(dir, token string) (string, error) {
	h.t.Helper()
	file := filepath.Join(h.t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		h.t.Fatal(err)
	}
	env := append(os.Environ(), "NAVE_CONFIG="+filepath.Join(dir, "nave.yaml"))
	for _, args := range [][]string{{"context", "set", h.chart, "--token-file", file}, {"get", "agents"}} {
		cmd := exec.CommandContext(h.ctx, realpart.Path(h.t, realpart.NaveCLI), args...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			return string(out), err
		}
	}
	return "", nil
}

// waits looks at a hub whose etcd is not there: it says so, and is neither ready nor taken for dead.
func (h *hubRelease) waits(notes string) {
	h.t.Helper()
	h.says(notes, `"a part of the hub does not answer yet","part":"etcd"`)
	await(h.ctx, h.t, "the hub that waits has begun", func() bool {
		pod, err := h.pod()
		if err != nil || len(pod.Status.ContainerStatuses) != 1 {
			return false
		}
		s := pod.Status.ContainerStatuses[0]
		if s.Ready || s.RestartCount > 0 {
			h.t.Fatalf("the hub that waits for its etcd is %+v", s)
		}
		return s.Started != nil && *s.Started
	})
}

// TestTheHubsChartRunsAHub installs the chart for an etcd that is not there, then with the embedded parts, does what its notes say, upgrades it and
// uninstalls it.
func TestTheHubsChartRunsAHub(t *testing.T) {
	ctx := limited(t)
	c := clusterForHub(ctx, t)
	h := releaseHub(ctx, t, c, true)
	h.waits(h.make(install, "--set-json", `config.etcd.endpoints=["http://192.0.2.1:2379"]`))
	notes := h.make(upgrade)
	dir := h.follow(notes, "none") // the notes wait until the hub is ready
	for _, name := range []string{"admin-token", "ca.pem"} {
		if got := content(t, dir, name); got != h.kept(name) || len(got) < 40 {
			t.Errorf("the notes lead to a %s of %d bytes, the hub keeps one of %d", name, len(got), len(h.kept(name)))
		}
	}
	first := h.ready(nil)
	for name, port := range map[string]string{"nave-hub": "https:7400", "nave-hub-metrics": "http:7402"} {
		scheme, number, _ := strings.Cut(port, ":")
		if out, err := c.Client.CoreV1().Services(h.namespace).ProxyGet(scheme, name, number, "/readyz", nil).DoRaw(ctx); err != nil || string(out) != "ok\n" {
			t.Errorf("the service %s answers %q, %v", name, out, err)
		}
	}
	token := h.kept("admin-token")
	h.make(upgrade, "--set", "config.lease=5s")
	h.ready(first)
	if h.kept("admin-token") != token {
		t.Error("the upgraded hub is another one")
	}
	if said := h.refused(upgrade, "--set", "replicas=2"); !strings.Contains(said, "'replicas' not allowed") {
		t.Errorf("two hubs are refused with %s", said)
	}
	h.run("uninstall", h.chart)
	await(ctx, t, "the hub is gone", func() bool {
		_, err := h.pod()
		return apierrors.IsNotFound(err)
	})
	if claim, err := c.Client.CoreV1().PersistentVolumeClaims(h.namespace).Get(ctx, "data-nave-hub-0", metav1.GetOptions{}); err != nil || claim.DeletionTimestamp != nil {
		t.Errorf("the claim after the release was uninstalled: %v, %v", claim.GetDeletionTimestamp(), err)
	}
}

// TestAnOperatorChoosesTheAdministratorsToken, and another one by an upgrade: the former is valid no more. What is no token is refused, and the next
// upgrade mends it.
func TestAnOperatorChoosesTheAdministratorsToken(t *testing.T) {
	ctx := limited(t)
	c := clusterForHub(ctx, t)
	at := addressOf(ctx, t, c)
	h := releaseHub(ctx, t, c, true, "--set", "service.type=NodePort", "--set", "service.nodePort=30400", "--set-json", `config.api.hosts=["`+at+`"]`)
	chosen := func(secret, token string) []string {
		if _, err := c.Client.CoreV1().Secrets(h.namespace).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}, Data: map[string][]byte{"token": []byte(token)}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		return []string{"--set", "secrets.adminToken.existingSecret=" + secret}
	}
	fresh := func() string {
		out, err := exec.CommandContext(ctx, realpart.Path(t, realpart.NaveHub), "new-token").Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	first, second := fresh(), fresh()
	notes := h.make(install, chosen("first", first)...)
	if !strings.Contains(notes, "--address https://"+at+":30400 ") {
		t.Errorf("the notes name another address than %s:30400:\n%s", at, notes)
	}
	dir := h.follow(notes, "east")
	if got := strings.TrimSpace(content(t, dir, "admin-token")); got != first {
		t.Errorf("the hub's administrator has another token than the one that was chosen")
	}
	pod := h.ready(nil)
	h.make(upgrade, chosen("second", second)...)
	pod = h.ready(pod)
	if out, err := h.administers(dir, second); err != nil {
		t.Errorf("the second token: %v\n%s", err, out)
	}
	if out, err := h.administers(dir, first); err == nil || !strings.Contains(out, "malformed, unknown or expired") {
		t.Errorf("the first token after the second was chosen: %v\n%s", err, out)
	}
	notes = h.make(upgrade, chosen("bad", "correct horse battery staple")...)
	h.says(notes, "nave-hub new-token prints one")
	h.make(upgrade, "--set", "secrets.adminToken.existingSecret=second")
	h.ready(pod) // a pod that never gets ready does not stand in its way
	if out, err := h.administers(dir, second); err != nil {
		t.Errorf("the second token in the end: %v\n%s", err, out)
	}
}

// TestAHubOnANodeIsReachedFromOutside installs the chart with the embedded overlay on the address of a node, joins a spoke that is not in the cluster,
// and then tries to give the overlay another address.
func TestAHubOnANodeIsReachedFromOutside(t *testing.T) {
	ctx := limited(t)
	c := clusterForHub(ctx, t)
	at, home := addressOf(ctx, t, c), t.TempDir()
	h := releaseHub(ctx, t, c, false, "--set", "hostNetwork.enabled=true", "--set", "config.overlay.listen="+at, "--set-json", `config.api.hosts=["`+at+`"]`,
		"--set-json", `nodeSelector={"kubernetes.io/hostname":"`+c.Node()+`"}`)
	notes := h.make(install)
	dir := h.follow(notes, "outside")
	process := exec.CommandContext(ctx, realpart.Path(t, realpart.NaveSpoke), "run", "--data-dir", filepath.Join(home, "spoke"), "--join-token-file", filepath.Join(dir, "join.token"))
	process.Stdout, process.Stderr = t.Output(), t.Output()
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	live := func() bool {
		cmd := exec.CommandContext(ctx, realpart.Path(t, realpart.NaveCLI), "clusters")
		cmd.Env = append(os.Environ(), "NAVE_CONFIG="+filepath.Join(dir, "nave.yaml"))
		out, err := cmd.CombinedOutput()
		return err == nil && strings.Contains(string(out), "Live")
	}
	await(ctx, t, "the spoke is live", live)

	// By helm it is refused before anything happens.
	pod := h.ready(nil)
	for set, want := range map[string]string{
		"config.overlay.listen=192.0.2.10":            "leads spokes to 192.0.2.10, and the overlay was made for " + at,
		"config.overlay.advertise=hub.example.com":    "leads spokes to hub.example.com, and the overlay was made for " + at,
		"config.data_dir=/var/lib/nave-hub/elsewhere": "what the hub knows is in /var/lib/nave-hub/data",
	} {
		listen := "config.overlay.listen=" + at
		if strings.Contains(set, "advertise") {
			listen = "config.overlay.listen="
		}
		if said := h.refused(upgrade, "--set", listen, "--set", set); !strings.Contains(said, want) {
			t.Errorf("%s is refused with %s\nwant %q", set, said, want)
		}
	}
	if is, err := h.pod(); err != nil || is.UID != pod.UID {
		t.Errorf("the hub's pod after upgrades that were refused: %v, %v", is.GetUID(), err)
	}
	// Who renders the chart without a look at the cluster learns it from the hub, where the notes say, and the next upgrade mends it.
	rendered := filepath.Join(h.helm.Home, "rendered.yaml")
	if err := os.WriteFile(rendered, []byte(h.make("template", "--set", "config.overlay.listen=192.0.2.10")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := h.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=helm", "-n", h.namespace, "-f", rendered); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	h.says(notes, "was made for "+at)
	h.make(upgrade)
	h.ready(pod)
	await(ctx, t, "the spoke is live again", live)
}

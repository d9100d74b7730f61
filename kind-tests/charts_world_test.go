//go:build kindtests

package kindtests

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/internal/charts"
	"github.com/nave-dev/nave/internal/images"
	"github.com/nave-dev/nave/internal/realpart"
	"github.com/nave-dev/nave/internal/testcluster"
)

// repository is where the charts are.
const repository = ".."

// Ways of helm to make something of a chart.
const (
	install = "install"
	upgrade = "upgrade"
)

// release is a chart that is installed under its own name in a cluster.
type release struct {
	ctx       context.Context
	t         testing.TB
	cluster   *testcluster.Cluster
	helm      charts.Helm
	chart     string // also the release's name
	namespace string
	values    []string // arguments that say them, of every installation and upgrade
}

// releaseOf is a release whose images are those of the programs in bin/.
func releaseOf(ctx context.Context, t testing.TB, c *testcluster.Cluster, chart, namespace string, values ...string) *release {
	t.Helper()
	r := &release{ctx: ctx, t: t, cluster: c, helm: charts.Helm{Path: realpart.Path(t, realpart.Helm), Home: t.TempDir()}, chart: chart, namespace: namespace}
	r.values = append(imageValues(t, "image", chart), values...)
	return r
}

// imageValues say that an image is the one that the tests made.
func imageValues(t testing.TB, value, name string) []string {
	return []string{"--set", value + ".registry=" + testcluster.Registry, "--set", value + ".repository=nave/" + name, "--set", value + ".tag=" + ofTests(t).Tag()}
}

// spokeRelease is the spoke's chart with small flavors.
func spokeRelease(ctx context.Context, t testing.TB, c *testcluster.Cluster, values ...string) *release {
	t.Helper()
	r := releaseOf(ctx, t, c, "nave-spoke", namespaceOfSpoke, imageValues(t, "settings.harness.image", "nave-harness")...)
	r.values = append(append(r.values, "--set-json", `settings.flavors={"small":{"cpu":"50m","memory":"128Mi","count":20},"medium":null,"large":null}`), values...)
	return r
}

func (r *release) folder() string { return filepath.Join(repository, "charts", r.chart) }

// run runs helm and returns what it says.
func (r *release) run(args ...string) string {
	r.t.Helper()
	out, err := r.helm.Run(r.ctx, append(args, "--namespace", r.namespace, "--kubeconfig", r.cluster.Kubeconfig)...)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(out)
}

// make installs or upgrades the release, and returns the notes. What more says counts before the release's values.
func (r *release) make(how string, more ...string) string {
	r.t.Helper()
	return r.run(append(append([]string{how, r.chart, r.folder()}, r.values...), more...)...)
}

// refused is make where the chart does not let it happen; it returns what helm says.
func (r *release) refused(how string, more ...string) string {
	r.t.Helper()
	_, err := r.helm.Run(r.ctx, append(append([]string{how, r.chart, r.folder(), "--namespace", r.namespace, "--kubeconfig", r.cluster.Kubeconfig}, r.values...), more...)...)
	if err == nil {
		r.t.Fatalf("helm does %s with %s", how, strings.Join(more, " "))
	}
	return err.Error()
}

// kubectl runs kubectl in a folder of the release's.
func (r *release) kubectl(args ...string) (string, error) {
	r.t.Helper()
	cmd := exec.CommandContext(r.ctx, filepath.Join(programs(r.ctx, r.t).Dir, "kubectl"), args...)
	cmd.Dir, cmd.Env = r.helm.Home, append(os.Environ(), "KUBECONFIG="+r.cluster.Kubeconfig, "HOME="+r.helm.Home)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	if complaint.Len() > 0 {
		r.t.Logf("kubectl says: %s", complaint.String())
	}
	return out.String(), err
}

var (
	commandOfNotes = regexp.MustCompile(`(?m)^  (\S.*)$`)
	removing       = regexp.MustCompile(`^kubectl ((?:-n \S+ )?delete (?:persistentvolumeclaim|namespace) \S+)$`)
)

// follow runs the commands of notes in a shell, as they are printed, but for those that remove what is kept. A cluster that is to be registered has a
// name. It returns the folder in which they ran.
func (r *release) follow(notes, cluster string) string {
	r.t.Helper()
	dir := r.t.TempDir()
	// What runs beside, such as a tunnel, ends with the shell, and the shell with the test.
	script := []string{"trap 'for p in $(jobs -p); do kill $p; done' EXIT"}
	for _, m := range commandOfNotes.FindAllStringSubmatch(notes, -1) {
		if !removing.MatchString(m[1]) {
			script = append(script, strings.Replace(m[1], "register NAME", "register "+cluster, 1))
		}
	}
	if len(script) < 7 {
		r.t.Fatalf("%d commands are in the notes, at least 6 are known to be:\n%s", len(script)-1, notes)
	}
	cmd := exec.CommandContext(r.ctx, "bash", "-euo", "pipefail", "-c", strings.Join(script, "\n"))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+programs(r.ctx, r.t).Dir+":"+filepath.Dir(realpart.Path(r.t, realpart.NaveCLI))+":"+os.Getenv("PATH"),
		"KUBECONFIG="+r.cluster.Kubeconfig, "HOME="+dir, "NAVE_CONFIG="+filepath.Join(dir, "nave.yaml"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel, cmd.WaitDelay = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }, time.Second
	out, err := cmd.CombinedOutput()
	r.t.Logf("the commands of the notes say:\n%s", out)
	if err != nil {
		r.t.Fatalf("the commands of the notes: %v\n%s", err, strings.Join(script, "\n"))
	}
	return dir
}

// removeAsTold does what notes say for what is kept.
func (r *release) removeAsTold(notes string, commands int) {
	r.t.Helper()
	found := 0
	for _, m := range commandOfNotes.FindAllStringSubmatch(notes, -1) {
		if c := removing.FindStringSubmatch(m[1]); c != nil {
			found++
			if _, err := r.kubectl(strings.Fields(c[1])...); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	if found != commands {
		r.t.Fatalf("the notes have %d commands that remove something, want %d:\n%s", found, commands, notes)
	}
}

// loadImage makes one of Nave's images of the programs in bin/, and gives it to clusters.
func loadImage(ctx context.Context, t testing.TB, name string, clusters ...*testcluster.Cluster) {
	t.Helper()
	i, err := images.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string]string{}
	for _, p := range i.Programs {
		programs[p.Name] = filepath.Join("..", "bin", p.Name)
	}
	scratch, stamp := t.TempDir(), ofTests(t)
	packed, err := i.Pack(runtime.GOARCH, programs, stamp, scratch)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(scratch, name+".tar")
	if err := packed.WriteArchive(file, stamp, scratch); err != nil {
		t.Fatal(err)
	}
	for _, c := range clusters {
		if err := c.LoadImage(ctx, file); err != nil {
			t.Fatal(err)
		}
	}
}

// makeNamespace makes a namespace; a restricted one refuses every pod that is not.
func makeNamespace(ctx context.Context, t testing.TB, c *testcluster.Cluster, name string, restricted bool) {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if restricted {
		n.Labels = map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}
	}
	if _, err := c.Client.CoreV1().Namespaces().Create(ctx, n, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// offerVolume makes a volume of a new folder of this machine, for whatever claim asks for one.
func offerVolume(ctx context.Context, t testing.TB, c *testcluster.Cluster, name, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, images.User, images.User); err != nil { // the kubelet does not change who owns such a folder
		t.Fatal(err)
	}
	if _, err := c.Client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("100Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// addressOf is the address of a cluster's node.
func addressOf(ctx context.Context, t testing.TB, c *testcluster.Cluster) string {
	t.Helper()
	node, err := c.Client.CoreV1().Nodes().Get(ctx, c.Node(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	t.Fatalf("the node has no address: %v", node.Status.Addresses)
	return ""
}

func content(t testing.TB, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

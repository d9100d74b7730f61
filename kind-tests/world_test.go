//go:build kindtests

package kindtests

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/nave-dev/nave/internal/testcluster"
)

const (
	testLimit = 8 * time.Minute // of a test, on a machine that compiles beside it
	waitLimit = time.Minute     // of one condition
	waitLook  = 50 * time.Millisecond
)

func logger(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// limited is a context for one test.
func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), testLimit)
	t.Cleanup(cancel)
	return ctx
}

// programs builds what the clusters consist of, or finds it.
func programs(ctx context.Context, t testing.TB) testcluster.Bin {
	t.Helper()
	bin, err := testcluster.Programs(ctx, logger(t))
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// start brings up a bed. When the test ends the bed is gone, and everything that carries its id; when the test failed, what is
// known of the clusters is kept.
func start(ctx context.Context, t testing.TB, clusters int) *testcluster.Bed {
	t.Helper()
	return startWith(ctx, t, testcluster.Config{Clusters: clusters})
}

// startWith is start with more to say about the clusters.
func startWith(ctx context.Context, t testing.TB, cfg testcluster.Config) *testcluster.Bed {
	t.Helper()
	cfg.Bin, cfg.Log, cfg.Logs = programs(ctx, t), logger(t), kept(t)
	bed, err := testcluster.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, bed) })
	return bed
}

// kept is where the logs of a failed test go.
func kept(t testing.TB) string {
	return filepath.Join("..", ".kind-tests", strings.ReplaceAll(t.Name(), "/", "."))
}

func stop(t testing.TB, bed *testcluster.Bed) {
	if t.Failed() {
		dir := kept(t)
		ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
		defer cancel()
		err := bed.Dump(ctx, dir)
		t.Logf("logs and objects of the clusters are kept in %s (%v)", dir, err)
	}
	if err := bed.Stop(); err != nil {
		t.Error(err)
	}
	if left := left(t, bed.ID); len(left) > 0 {
		t.Errorf("%d things of the bed %s are left:\n%s", len(left), bed.ID, strings.Join(left, "\n"))
	}
}

func left(t testing.TB, id string) []string {
	t.Helper()
	left, err := testcluster.Left("", id)
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// await waits for a condition.
func await(ctx context.Context, t testing.TB, what string, is func() bool) {
	t.Helper()
	within(ctx, t, waitLimit, what, is)
}

// within is await with another limit.
func within(ctx context.Context, t testing.TB, limit time.Duration, what string, is func() bool) {
	t.Helper()
	if !holds(ctx, limit, is) {
		t.Fatalf("not within %v: %s", limit, what)
	}
}

// holds waits for a condition and reports whether it came.
func holds(ctx context.Context, limit time.Duration, is func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(waitLook)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// probe is a pod under every restriction that Kubernetes knows, which asks a URL again and again.
func probe(name, url string) *corev1.Pod {
	yes, no, user, grace := true, false, int64(1000), int64(1)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: &yes, RunAsUser: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "probe", Image: testcluster.ProbeImage, ImagePullPolicy: corev1.PullNever, Args: []string{url},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

// pods is what an informer knows of a cluster's pods.
type pods struct {
	cluster *testcluster.Cluster
	store   cache.Store
}

// watch starts an informer, which ends with the test, before the bed does.
func watch(ctx context.Context, t testing.TB, c *testcluster.Cluster) pods {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	factory := informers.NewSharedInformerFactoryWithOptions(c.Client, 0, informers.WithNamespace(metav1.NamespaceDefault))
	informer := factory.Core().V1().Pods().Informer()
	factory.Start(ctx.Done())
	t.Cleanup(func() { cancel(); factory.Shutdown() })
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		t.Fatalf("%s: the informer did not sync", c.Name)
	}
	return pods{c, informer.GetStore()}
}

// run makes a pod and returns it when it is running.
func (p pods) run(ctx context.Context, t testing.TB, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	began := time.Now()
	if _, err := p.cluster.Client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, fmt.Sprintf("pod %s of %s runs", pod.Name, p.cluster.Name), func() bool {
		is := p.seen(pod.Name)
		return is != nil && is.Status.Phase == corev1.PodRunning && len(is.Status.ContainerStatuses) == 1 && is.Status.ContainerStatuses[0].State.Running != nil
	})
	t.Logf("pod %s of %s runs after %v", pod.Name, p.cluster.Name, time.Since(began).Round(time.Millisecond))
	return p.seen(pod.Name)
}

// seen is the pod as the informer last saw it; nil when it is not there.
func (p pods) seen(name string) *corev1.Pod {
	object, ok, err := p.store.GetByKey(metav1.NamespaceDefault + "/" + name)
	if err != nil || !ok {
		return nil
	}
	return object.(*corev1.Pod)
}

// says returns the lines that a pod has printed, as the cluster's API gives them.
func (p pods) says(ctx context.Context, t testing.TB, name string) []string {
	t.Helper()
	text, err := p.cluster.Client.CoreV1().Pods(metav1.NamespaceDefault).GetLogs(name, &corev1.PodLogOptions{}).DoRaw(ctx)
	if err != nil {
		t.Fatalf("read the log of %s in %s: %v", name, p.cluster.Name, err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// owner is what TestMain runs instead of tests where ownerEnv says so.
const ownerEnv = "NAVE_KIND_TESTS_OWNER"

// possibleEnv makes TestMain say whether clusters are possible, instead.
const possibleEnv = "NAVE_KIND_TESTS_POSSIBLE"

func TestMain(m *testing.M) {
	if os.Getenv(possibleEnv) != "" {
		fmt.Println(testcluster.Possible(context.Background()))
		return
	}
	if os.Getenv(ownerEnv) != "" {
		if err := own(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

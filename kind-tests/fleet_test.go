//go:build kindtests

package kindtests

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/internal/testcluster"
)

// fleet starts a control plane with fake nodes, which ends with the test.
func fleet(ctx context.Context, t testing.TB, cfg testcluster.Config) *testcluster.Bed {
	t.Helper()
	cfg.Bin, cfg.Log, cfg.Logs = programs(ctx, t), logger(t), kept(t)
	bed, err := testcluster.StartFleet(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, bed) })
	return bed
}

// fake is a pod that only kwok looks at.
func fake(name string, fate testcluster.Fate) *corev1.Pod {
	grace := int64(1)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault, Annotations: fate.Annotations()},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{Name: "agent", Image: "127.0.0.1:1/none:1"}, {Name: "beside", Image: "127.0.0.1:1/none:1"}},
		},
	}
}

// truth is what a pod's status says of its fate.
type truth struct {
	Phase           corev1.PodPhase
	Reason          string
	Waiting         string // reason of the first container
	Ended           string
	ExitCode        int32
	Message         string
	Disrupted       string
	Ready           bool
	ContainersKnown int
}

func truthOf(p *corev1.Pod) truth {
	out := truth{Phase: p.Status.Phase, Reason: p.Status.Reason, ContainersKnown: len(p.Status.ContainerStatuses)}
	for _, c := range p.Status.Conditions {
		switch c.Type {
		case corev1.PodReady:
			out.Ready = c.Status == corev1.ConditionTrue
		case corev1.DisruptionTarget:
			out.Disrupted = c.Reason
		}
	}
	if out.ContainersKnown > 0 {
		state := p.Status.ContainerStatuses[0].State
		if w := state.Waiting; w != nil {
			out.Waiting = w.Reason
		}
		if e := state.Terminated; e != nil {
			out.Ended, out.ExitCode, out.Message = e.Reason, e.ExitCode, e.Message
		}
	}
	return out
}

// TestFakePodsMeetTheirFates tries every end that a test of pods' truth may want.
func TestFakePodsMeetTheirFates(t *testing.T) {
	ctx := limited(t)
	c := fleet(ctx, t, testcluster.Config{Nodes: 3}).Clusters[0]
	seen := watch(ctx, t, c)
	said := testcluster.Completed
	said.ContainerMessage = `{"reason":"done: it's \"over\""}`
	lives := truth{Phase: corev1.PodRunning, Ready: true, ContainersKnown: 2}
	fates := map[string]struct {
		fate testcluster.Fate
		is   truth
	}{
		"lives":     {testcluster.Fate{}, lives},
		"oom":       {testcluster.OOMKilled, truth{Phase: corev1.PodFailed, Ended: "OOMKilled", ExitCode: 137, ContainersKnown: 2}},
		"crash":     {testcluster.Crashed, truth{Phase: corev1.PodFailed, Ended: "Error", ExitCode: 1, ContainersKnown: 2}},
		"done":      {said, truth{Phase: corev1.PodSucceeded, Ended: "Completed", Message: said.ContainerMessage, ContainersKnown: 2}},
		"evicted":   {testcluster.Evicted, truth{Phase: corev1.PodFailed, Reason: "Evicted", Ended: "Error", ExitCode: 137, Disrupted: "TerminationByKubelet", ContainersKnown: 2}},
		"shutdown":  {testcluster.NodeShutdown, truth{Phase: corev1.PodFailed, Reason: "Terminated", Ended: "Error", ExitCode: 137, Disrupted: "TerminationByKubelet", ContainersKnown: 2}},
		"late":      {testcluster.DeadlineExceeded, truth{Phase: corev1.PodFailed, Reason: "DeadlineExceeded", Ended: "Error", ExitCode: 137, ContainersKnown: 2}},
		"unstarted": {testcluster.StartFailed, truth{Phase: corev1.PodFailed, Ended: "StartError", ExitCode: 128, Message: "failed to create containerd task", ContainersKnown: 2}},
		"image":     {testcluster.ImagePullBackOff, truth{Phase: corev1.PodPending, Waiting: "ImagePullBackOff", ContainersKnown: 2}},
		"config":    {testcluster.BadConfig, truth{Phase: corev1.PodPending, Waiting: "CreateContainerConfigError", ContainersKnown: 2}},
		"creating":  {testcluster.StillCreating, truth{Phase: corev1.PodPending, Waiting: "ContainerCreating", ContainersKnown: 2}},
		"refused":   {testcluster.OutOfMemory, truth{Phase: corev1.PodFailed, Reason: "OutOfmemory"}},
	}
	for name, want := range fates {
		if _, err := c.Client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, fake(name, want.fate), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range fates {
		var diff string
		if !holds(ctx, waitLimit, func() bool {
			p := seen.seen(name)
			if p == nil {
				return false
			}
			diff = cmp.Diff(want.is, truthOf(p))
			return diff == ""
		}) {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestAFateMayComeLater changes what becomes of a pod that is there.
func TestAFateMayComeLater(t *testing.T) {
	ctx := limited(t)
	c := fleet(ctx, t, testcluster.Config{Nodes: 1}).Clusters[0]
	pods := c.Client.CoreV1().Pods(metav1.NamespaceDefault)
	seen := watch(ctx, t, c)
	is := func(name, what string, holds func(*corev1.Pod) bool) {
		t.Helper()
		await(ctx, t, name+" "+what, func() bool { p := seen.seen(name); return p != nil && holds(p) })
	}
	patch := func(name string, annotations map[string]any) {
		t.Helper()
		text, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pods.Patch(ctx, name, types.MergePatchType, text, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	running := func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning }
	for _, p := range []*corev1.Pod{fake("killed", testcluster.Fate{}), fake("freed", testcluster.ImagePullBackOff), fake("lingers", testcluster.Fate{Lingers: 2 * time.Second})} {
		if _, err := pods.Create(ctx, p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}

	is("killed", "runs", running)
	fate := make(map[string]any)
	for k, v := range testcluster.OOMKilled.Annotations() {
		fate[k] = v
	}
	patch("killed", fate)
	is("killed", "was killed", func(p *corev1.Pod) bool { return truthOf(p).Ended == "OOMKilled" })

	// What waits is written once, not again and again, and goes on when the reason is taken away.
	is("freed", "waits", func(p *corev1.Pod) bool { return truthOf(p).Waiting == "ImagePullBackOff" })
	waits := seen.seen("freed").ResourceVersion
	is("lingers", "runs", running)
	began := time.Now()
	if err := pods.Delete(ctx, "lingers", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	is("lingers", "ends", func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
	await(ctx, t, "lingers is gone", func() bool { return seen.seen("lingers") == nil })
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("a pod that lingers for 2 s is gone after %v", took)
	}
	if now := seen.seen("freed").ResourceVersion; now != waits {
		t.Errorf("a pod that waits was written again: version %s, then %s", waits, now)
	}
	patch("freed", map[string]any{"fate.nave.dev/is": nil})
	is("freed", "runs", running)
}

// manyPods is how many pods the fleet's measurement is of, and manyLimit the longest that they may take: the machine compiles beside it.
const (
	manyPods  = 1000
	manyLimit = 4 * time.Minute
)

// TestAFleetHoldsAThousandPods measures how long a thousand pods take, and what the fleet takes of memory.
func TestAFleetHoldsAThousandPods(t *testing.T) {
	ctx := limited(t)
	programs(ctx, t) // not measured
	began := time.Now()
	bed := fleet(ctx, t, testcluster.Config{Nodes: 10})
	c := bed.Clusters[0]
	t.Logf("the fleet of 10 nodes is ready after %v; memory in MiB: %v", time.Since(began).Round(time.Millisecond), memory(t, bed.ID))
	seen := watch(ctx, t, c)
	count := func(is func(*corev1.Pod) bool) (n int) {
		for _, o := range seen.store.List() {
			if is(o.(*corev1.Pod)) {
				n++
			}
		}
		return n
	}
	began = time.Now()
	const makers = 16
	g := run.NewGroup(ctx)
	for m := range makers {
		g.Go("make pods", func(ctx context.Context) error {
			for i := m; i < manyPods; i += makers {
				if _, err := c.Client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, fake(fmt.Sprintf("p%d", i), testcluster.Fate{}), metav1.CreateOptions{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	made := time.Since(began)
	within(ctx, t, manyLimit, "all pods are ready", func() bool {
		return count(func(p *corev1.Pod) bool { return truthOf(p).Ready }) == manyPods
	})
	t.Logf("%d pods: made after %v, Ready after %v; memory in MiB: %v", manyPods, made.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), memory(t, bed.ID))
	nodes := make(map[string]int)
	for _, o := range seen.store.List() {
		nodes[o.(*corev1.Pod).Spec.NodeName]++
	}
	if len(nodes) != 10 {
		t.Errorf("the pods are on %d nodes, want 10: %v", len(nodes), nodes)
	}
	began = time.Now()
	if err := c.Client.CoreV1().Pods(metav1.NamespaceDefault).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	within(ctx, t, manyLimit, "all pods are gone", func() bool { return len(seen.store.ListKeys()) == 0 })
	t.Logf("all gone after %v", time.Since(began).Round(time.Millisecond))
}

// memory is what the processes of a bed hold, in MiB, by program; what they share is divided among them.
func memory(t testing.TB, id string) map[string]int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]int)
	for _, f := range files {
		env, _ := os.ReadFile(f) // what ends meanwhile holds nothing
		if !strings.Contains("\x00"+string(env), "\x00"+testcluster.BedEnv+"="+id+"\x00") {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "cmdline"))
		program, _, _ := strings.Cut(string(line), "\x00")
		rollup, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "smaps_rollup"))
		for l := range strings.Lines(string(rollup)) {
			if rest, ok := strings.CutPrefix(l, "Pss:"); ok {
				kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
				if err != nil {
					t.Fatal(err)
				}
				out[filepath.Base(program)] += kib / 1024
				out["all"] += kib / 1024
			}
		}
	}
	return out
}

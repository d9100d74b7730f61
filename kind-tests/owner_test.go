//go:build kindtests

package kindtests

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nave-dev/nave/internal/testcluster"
)

// own starts a bed with a pod, says so on standard output, and waits for an end that comes by SIGKILL.
func own() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	bin, err := testcluster.Programs(ctx, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	bed, err := testcluster.Start(ctx, testcluster.Config{Clusters: 1, Bin: bin, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	client := bed.Clusters[0].Client.CoreV1().Pods(metav1.NamespaceDefault)
	if _, err := client.Create(ctx, probe("probe", "http://"+testcluster.HubName+"/"), metav1.CreateOptions{}); err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	tick := time.NewTicker(waitLook)
	defer tick.Stop()
	for {
		pod, err := client.Get(limit, "probe", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if pod.Status.Phase == corev1.PodRunning {
			break
		}
		<-tick.C
	}
	fmt.Println(bed.ID, bed.Keeper(), bed.HubAddress(), bed.Clusters[0].Kubeconfig)
	<-ctx.Done()
	return bed.Stop()
}

// TestWhatAKilledOwnerLeavesIsSwept kills the owner of a bed, and the owner together with the keeper of its processes.
func TestWhatAKilledOwnerLeavesIsSwept(t *testing.T) {
	for _, test := range []struct {
		name   string
		keeper bool // killed too
	}{{"owner", false}, {"owner and keeper", true}} {
		t.Run(test.name, func(t *testing.T) {
			ctx := limited(t)
			programs(ctx, t)
			owner := launch(ctx, t)
			owner.comesUp(t)
			id := owner.id
			if test.keeper {
				if err := syscall.Kill(owner.keeper, syscall.SIGKILL); err != nil { // a child of a child that lives: the id is its own
					t.Fatal(err)
				}
			}
			owner.crash(t)

			if !test.keeper {
				await(ctx, t, "the keeper ends the processes", func() bool { return kinds(left(t, id))["process"] == 0 })
			}
			found := kinds(left(t, id))
			want := []string{"network", "interface", "control", "folder"}
			if test.keeper {
				want = append(want, "process")
			}
			for _, kind := range want {
				if found[kind] == 0 {
					t.Errorf("the kill left nothing of the kind %q: this test shows nothing", kind)
				}
			}
			next := start(ctx, t, 1)
			if next.ID == id {
				t.Fatal("the next bed has the id of the dead one")
			}
			if rest := left(t, id); len(rest) > 0 {
				t.Errorf("the next start left:\n%s", strings.Join(rest, "\n"))
			}
		})
	}
}

// TestBedsOfSeveralProcesses has two beds at the same time, whose owners are two processes, and two more owners that are killed while
// they start theirs.
func TestBedsOfSeveralProcesses(t *testing.T) {
	ctx := limited(t)
	programs(ctx, t)
	one, two := launch(ctx, t), launch(ctx, t)
	one.comesUp(t)
	two.comesUp(t)
	if one.id == two.id || one.hub == two.hub {
		t.Fatalf("two beds have the ids %s and %s, the addresses %s and %s", one.id, two.id, one.hub, two.hub)
	}
	one.works(ctx, t)
	two.works(ctx, t)

	var dead []string
	for _, at := range []string{"keeper.log", "c1/log/kube-apiserver.log"} {
		third := launch(ctx, t)
		var id string
		await(ctx, t, "a third bed has "+at, func() bool {
			id = bedOf(third.Process.Pid)
			_, err := os.Stat(filepath.Join(filepath.Dir(filepath.Dir(filepath.Dir(one.kubeconfig))), id, at))
			return id != "" && err == nil
		})
		third.crash(t)
		if found := kinds(left(t, id)); found["folder"] == 0 || found["network"] == 0 {
			t.Errorf("the kill left %v: this test shows nothing", found)
		}
		dead = append(dead, id)
	}
	two.ends(t)
	if rest := left(t, two.id); len(rest) > 0 {
		t.Errorf("the second bed left:\n%s", strings.Join(rest, "\n"))
	}
	next := start(ctx, t, 1)
	for _, id := range dead {
		if rest := left(t, id); len(rest) > 0 {
			t.Errorf("the next start left:\n%s", strings.Join(rest, "\n"))
		}
	}
	if next.HubAddress().String() == one.hub {
		t.Errorf("the next bed has the address of a living one, %s", one.hub)
	}
	one.works(ctx, t)
	one.ends(t)
	if rest := left(t, one.id); len(rest) > 0 {
		t.Errorf("the first bed left:\n%s", strings.Join(rest, "\n"))
	}
}

// owner is a process that owns a bed.
type owner struct {
	*exec.Cmd
	out        *bufio.Reader
	id         string
	keeper     int
	hub        string
	kubeconfig string
}

// launch starts an owner. It ends with the test at the latest.
func launch(ctx context.Context, t *testing.T) *owner {
	t.Helper()
	o := &owner{Cmd: exec.CommandContext(ctx, os.Args[0])}
	o.Env = append(os.Environ(), ownerEnv+"=1")
	o.Stderr = t.Output()
	out, err := o.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	o.out = bufio.NewReader(out)
	if err := o.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = o.Process.Kill() // ended before, as a rule
		_ = o.Wait()
	})
	return o
}

// comesUp waits until the owner's bed is there.
func (o *owner) comesUp(t *testing.T) {
	t.Helper()
	line, err := o.out.ReadString('\n')
	if err != nil {
		t.Fatalf("the owner did not come up: %v: %v", err, o.Wait())
	}
	if _, err := fmt.Sscan(line, &o.id, &o.keeper, &o.hub, &o.kubeconfig); err != nil {
		t.Fatalf("the owner said %q: %v", line, err)
	}
}

// crash kills the owner.
func (o *owner) crash(t *testing.T) {
	t.Helper()
	if err := o.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = o.Wait() // killed
}

// ends lets the owner stop its bed.
func (o *owner) ends(t *testing.T) {
	t.Helper()
	if err := o.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := o.Wait(); err != nil {
		t.Errorf("the owner of %s: %v", o.id, err)
	}
}

// works asks the bed's cluster, with the owner's own access, whether its node is ready and its pod runs.
func (o *owner) works(ctx context.Context, t *testing.T) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	pod, err := client.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, "probe", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ready, _ := nodeIs(ctx, t, &testcluster.Cluster{Client: client}, pod.Spec.NodeName)
	if pod.Status.Phase != corev1.PodRunning || ready != corev1.ConditionTrue {
		t.Errorf("bed %s: the pod is %s, its node's readiness %s", o.id, pod.Status.Phase, ready)
	}
}

// bedOf finds the bed of a process by the label of its children; empty before it has any.
func bedOf(pid int) string {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		children, _ := os.ReadFile(list) // a thread that has ended has none
		for _, child := range strings.Fields(string(children)) {
			env, _ := os.ReadFile(filepath.Join("/proc", child, "environ"))
			for kv := range strings.SplitSeq(string(env), "\x00") {
				if id, ok := strings.CutPrefix(kv, testcluster.BedEnv+"="); ok {
					return id
				}
			}
		}
	}
	return ""
}

// kinds counts what is left by the first word.
func kinds(left []string) map[string]int {
	out := make(map[string]int)
	for _, l := range left {
		kind, _, _ := strings.Cut(l, " ")
		out[kind]++
	}
	return out
}

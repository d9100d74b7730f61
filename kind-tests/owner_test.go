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
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
	fmt.Println(bed.ID, bed.Keeper())
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
			id, keeper, owner := abandon(ctx, t)
			if test.keeper {
				if err := syscall.Kill(keeper, syscall.SIGKILL); err != nil { // a child of a child that lives: the id is its own
					t.Fatal(err)
				}
			}
			if err := owner.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = owner.Wait() // killed

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

// abandon starts an owner in a process of its own.
func abandon(ctx context.Context, t *testing.T) (id string, keeper int, owner *exec.Cmd) {
	t.Helper()
	owner = exec.CommandContext(ctx, os.Args[0])
	owner.Env = append(os.Environ(), ownerEnv+"=1")
	owner.Stderr = t.Output()
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the owner did not come up: %v: %v", err, owner.Wait())
	}
	id, pid, _ := strings.Cut(strings.TrimSpace(line), " ")
	if keeper, err = strconv.Atoi(pid); err != nil {
		t.Fatalf("the owner said %q", line)
	}
	return id, keeper, owner
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

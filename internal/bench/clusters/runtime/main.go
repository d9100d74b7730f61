// Command runtime is the part of a spoke that knows pods, in a process of its own: the runtime, its informers, and the look that a spoke
// has at them every second. What it holds is what a spoke holds for its workloads, without journal, overlay and link.
//
// It says "ready N" when the runtime has told for the first time which N workloads there are, and runs until it is killed. It must not
// be imported. Its goroutines end with it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/kube"
)

// lookEvery is how often a spoke looks.
const lookEvery = time.Second

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "runtime: want KUBECONFIG SETTINGS AUTHORITY CLUSTER")
		os.Exit(2)
	}
	if err := program(context.Background(), os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "runtime:", err)
		os.Exit(1)
	}
}

func program(ctx context.Context, kubeconfig, settings, authority, cluster string) error {
	access, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	access.UserAgent = "nave-spoke/bench"
	pem, err := os.ReadFile(authority)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(settings)
	if err != nil {
		return err
	}
	var s kube.Settings
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	rt, err := kube.New(kube.Config{Rest: access, Settings: s, Authority: pem, Cluster: func() string { return cluster }, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	g := run.NewGroup(ctx)
	g.Go("runtime", rt.Run)
	g.Go("look", func(ctx context.Context) error { return look(ctx, rt) })
	return g.Wait()
}

// look asks as a spoke does, and sooner until there is an answer.
func look(ctx context.Context, rt *kube.Runtime) error {
	every, ready := 10*time.Millisecond, false
	for {
		all, err := rt.List(ctx)
		if _, capErr := rt.Capacity(ctx); err == nil && capErr == nil && !ready {
			fmt.Printf("ready %d\n", len(all))
			every, ready = lookEvery, true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}

// Command bench-kube measures sessions that are pods, on real clusters, each figure beside the least that it could cost there.
//
//	bench-kube [--run NAME,...] [--quick] [--page FILE]
//
// It needs root, as the clusters do, and the programs of bin/. The way of a figure is that of package drive; what is measured
// is in package clusters. It must not be imported, and has no goroutines of its own.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/nave-dev/nave/internal/bench/clusters"
	"github.com/nave-dev/nave/internal/bench/drive"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := drive.Config{Name: "bench-kube", Target: "bench-kube", Scenarios: clusters.Scenarios}.Run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-kube:", err)
		os.Exit(1)
	}
}

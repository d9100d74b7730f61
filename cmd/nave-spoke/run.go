package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/nave-dev/nave/internal/profiling"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/internal/version"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/journal"
)

func runCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the spoke until it is interrupted",
		Long: "Run the spoke until it is interrupted. The first start needs a join token, which an administrator gets when the cluster is\n" +
			"registered; from then on the identity in the data directory is used. Workloads outlive the spoke and are adopted again.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.complete(os.Getenv); err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: o.Level}))
			klog.SetSlogLogger(log) // of what talks to an API server
			return runSpoke(cmd.Context(), o, log, wire)
		},
	}
	o.bind(cmd.Flags())
	return cmd
}

// parts is what the program is wired of.
type parts struct {
	Runtime spoke.Runtime
	Door    spoke.Door
	Link    spoke.Link
	Ready   func() error // what keeps the runtime from its work; nil: nothing can

	Background []func(context.Context) error // what else runs as long as the spoke
}

// runSpoke runs spoke and metrics server until ctx ends.
func runSpoke(ctx context.Context, o options, log *slog.Logger, wire func(context.Context, options, *slog.Logger) (parts, error)) (err error) {
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	// The journal's lock comes first: it keeps a second spoke away from everything else in the directory.
	j, err := journal.Open(journal.Config{Dir: filepath.Join(o.DataDir, "journal"), MaxBytes: o.JournalMax})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	fingerprint, err := o.fingerprint(ctx, log)
	if err != nil {
		return err
	}
	p, err := wire(ctx, o, log)
	if err != nil {
		return err
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s, err := spoke.New(spoke.Config{Runtime: p.Runtime, Journal: j, Link: p.Link, Door: p.Door, Log: log, Boot: randomID(), Fingerprint: fingerprint,
		Version: version.Version, Metrics: metrics})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.MetricsListen)
	if err != nil {
		return fmt.Errorf("listen for metrics: %w", err)
	}
	log.Info("metrics served", "address", listener.Addr().String())
	g := run.NewGroup(ctx)
	if o.Profiling != "" {
		l, err := profiling.Listen("--profiling-listen", o.Profiling)
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		log.Info("profiles served", "address", l.Addr().String())
		g.Go("profiling", func(ctx context.Context) error { return profiling.Serve(ctx, l) })
	}
	serve(g, listener, handler(metrics, s.Ready, p.Ready))
	for _, f := range p.Background {
		g.Go("background", f)
	}
	g.Go("spoke", s.Run)
	return g.Wait()
}

// fingerprint is what tells this cluster from every other one.
func (o options) fingerprint(ctx context.Context, log *slog.Logger) (string, error) {
	if o.Runtime != asPods {
		return fingerprintOf(o.DataDir)
	}
	access, _, err := o.access()
	if err != nil {
		return "", err
	}
	return fingerprintOfCluster(ctx, access, log)
}

func randomID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

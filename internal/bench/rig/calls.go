package rig

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/run"
)

var grpcAddress = regexp.MustCompile(`gRPC on ([0-9.:]+)`)

// GRPC connects to the hub's gRPC listener, for scenarios that make many calls. Each call wants the context of
// [Rig.Authorized]. The rig closes the connection.
func (r *Rig) GRPC() (*grpc.ClientConn, error) {
	said := r.Hub.Output()
	contexts, err := client.LoadContexts(r.Path("config.yaml"))
	if err != nil {
		return nil, err
	}
	here, err := contexts.Find("")
	if err != nil {
		return nil, err
	}
	address, pool := grpcAddress.FindStringSubmatch(said), x509.NewCertPool()
	if address == nil || !pool.AppendCertsFromPEM([]byte(here.CA)) {
		return nil, fmt.Errorf("the hub does not say where it serves gRPC, or its authority is missing:\n%s", said)
	}
	c, err := grpc.NewClient(address[1], grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool})))
	if err != nil {
		return nil, err
	}
	r.token, r.conns = here.Token, append(r.conns, c)
	return c, nil
}

// Authorized is a context for calls over a connection of [Rig.GRPC].
func (r *Rig) Authorized(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+r.token)
}

// Profiled keeps profiles of hub and spokes as NAME-PROGRAM while the load runs, when they are wanted.
func (r *Rig) Profiled(ctx context.Context, name string, during time.Duration, load func(context.Context) error) error {
	g := run.NewGroup(ctx)
	for program, address := range r.profiles {
		g.Go("profile", func(ctx context.Context) error { return r.Bench.Profile(ctx, name+"-"+program, address, during) })
	}
	if err := load(ctx); err != nil {
		g.Stop()
		_ = g.Wait() // the load's error counts
		return err
	}
	return g.Wait()
}

// Counts are those of hub and spokes together.
func (r *Rig) Counts(ctx context.Context) (sum measure.Counts, err error) {
	for program, address := range r.profiles {
		c, err := measure.CountsOf(ctx, address, false)
		if err != nil {
			return sum, fmt.Errorf("%s: %w", program, err)
		}
		sum.Objects, sum.Bytes, sum.Live = sum.Objects+c.Objects, sum.Bytes+c.Bytes, sum.Live+c.Live
	}
	return sum, nil
}

// Processor is what the programs of the federation have used since they began, by their names. What a program's children have
// used is in it when they have ended.
func (r *Rig) Processor() map[string]time.Duration {
	out := map[string]time.Duration{}
	for _, p := range federation.Naming(r.Path()) {
		if used, err := measure.ProcessorTime(p.ID); err == nil { // else it has just ended, and is in its parent's
			out[filepath.Base(p.Args[0])] += used
		}
	}
	return out
}

// Settled waits until all sessions are in a phase, with nothing to do.
func (r *Rig) Settled(ctx context.Context, phase api.Phase) error {
	ctx, cancel := context.WithTimeout(ctx, 2*Patience)
	defer cancel()
	return r.Await(ctx, "sessions are "+string(phase), func() (bool, error) {
		res, err := r.Client.Sessions.List(ctx, &navev1.ListSessionsRequest{PageSize: 1000})
		for _, s := range res.GetSessions() {
			if s.GetPhase() != string(phase) || s.GetPending() > 0 {
				return false, err
			}
		}
		return err == nil, err
	})
}

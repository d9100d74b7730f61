package events

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/internal/bench/floor"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/run"
)

// sessions is how many a run has at most.
const sessions = 10

// world is a federation with one spoke.
type world struct {
	b        *measure.Bench
	f        *federation.Federation
	conn     *grpc.ClientConn
	calls    navev1.SessionsClient
	token    string
	profiles map[string]string // by program: where it serves them
}

// up starts hub and spoke, and applies the agent. The caller ends it with down.
func up(ctx context.Context, b *measure.Bench) (*world, error) {
	w := &world{b: b, profiles: map[string]string{}}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	dir, err := b.Subdir("f")
	if err == nil {
		w.f, err = federation.New(federation.Config{Bin: b.Bin, Dir: dir})
	}
	if err != nil {
		return nil, err
	}
	if err := w.start(ctx); err != nil {
		w.down()
		return nil, err
	}
	return w, nil
}

func (w *world) start(ctx context.Context) error {
	hub, err := w.f.StartHub(ctx, w.profiling("hub")...)
	if err != nil {
		return err
	}
	if err := w.dial(hub.Output()); err != nil {
		return err
	}
	if err := w.f.Join(ctx, "one"); err != nil {
		return err
	}
	if _, err := w.f.StartSpoke("one", append(w.profiling("spoke"), "--flavor", fmt.Sprintf("small=%d", sessions))...); err != nil {
		return err
	}
	clusters := navev1.NewClustersClient(w.conn)
	err = w.f.Await(ctx, "the spoke is live", func() (bool, error) {
		one, err := clusters.Get(w.authorized(ctx), &navev1.GetRequest{Name: "one"})
		return one.GetStatus().GetHealth() == string(api.HealthLive), err
	})
	if err != nil {
		return err
	}
	return w.apply(ctx)
}

func (w *world) down() {
	w.terminate()
	if w.conn != nil {
		w.conn.Close()
	}
	if err := w.f.Stop(); err != nil {
		w.b.Log.Warn("stop", "err", err)
	}
}

// terminate ends the sessions: their workloads would outlive the spoke.
func (w *world) terminate() {
	if w.calls == nil {
		return
	}
	ctx, cancel := context.WithTimeout(w.authorized(context.Background()), 20*time.Second)
	defer cancel()
	err := w.f.Await(ctx, "no session is left", func() (bool, error) {
		res, err := w.calls.List(ctx, &navev1.ListSessionsRequest{PageSize: 1000})
		for _, s := range res.GetSessions() {
			_, err = w.calls.Terminate(ctx, &navev1.IntentRequest{SessionId: s.GetId()}) // again says the same
		}
		return err == nil && len(res.GetSessions()) == 0, err
	})
	if err != nil {
		w.b.Log.Warn("terminate", "err", err)
	}
}

// profiling are the flags of a program that serves profiles, when they are wanted.
func (w *world) profiling(name string) []string {
	if w.b.Folder == "" {
		return nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil
	}
	defer l.Close()
	w.profiles[name] = l.Addr().String()
	return []string{"--profiling-listen", l.Addr().String()}
}

// profiled keeps profiles of hub and spoke while the load runs.
func (w *world) profiled(ctx context.Context, name string, during time.Duration, load func(context.Context) error) error {
	g := run.NewGroup(ctx)
	for program, addr := range w.profiles {
		g.Go("profile", func(ctx context.Context) error { return w.b.Profile(ctx, name+"-"+program, addr, during) })
	}
	return errors.Join(load(ctx), g.Wait())
}

var grpcAddress = regexp.MustCompile(`gRPC on ([0-9.:]+)`)

// dial connects to the hub's gRPC listener.
func (w *world) dial(said string) error {
	m := grpcAddress.FindStringSubmatch(said)
	contexts, err := client.LoadContexts(w.f.Path("config.yaml"))
	if err != nil {
		return err
	}
	hub, err := contexts.Find("")
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if m == nil || !pool.AppendCertsFromPEM([]byte(hub.CA)) {
		return fmt.Errorf("the hub does not say where it serves gRPC, or its authority is missing:\n%s", said)
	}
	w.token = hub.Token
	w.conn, err = grpc.NewClient(m[1], grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool})))
	w.calls = navev1.NewSessionsClient(w.conn)
	return err
}

func (w *world) authorized(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+w.token)
}

// apply applies the agent.
func (w *world) apply(ctx context.Context) error {
	meta := func(kind, name string, spec map[string]any) map[string]any {
		return map[string]any{"apiVersion": "nave.dev/v1", "kind": kind, "metadata": map[string]any{"name": name}, "spec": spec}
	}
	args := []string{"apply"}
	for name, document := range map[string]map[string]any{
		"environment.json": meta("Environment", "local", map[string]any{"flavor": "small"}),
		"agent.json": meta("Agent", "printer", map[string]any{"environment": "local", "idle_timeout": "1h",
			"harness": map[string]any{"protocol": "command", "command": []string{w.b.Self, floor.Command, floor.Printer}}}),
	} {
		text, err := json.Marshal(document)
		if err != nil {
			return err
		}
		if err := os.WriteFile(w.f.Path(name), text, 0o600); err != nil {
			return err
		}
		args = append(args, "-f", w.f.Path(name))
	}
	_, err := w.f.Nave(ctx, args...)
	return err
}

package deliver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
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

// world is a federation with one spoke, and what its agents have.
type world struct {
	b        *measure.Bench
	f        *federation.Federation
	spoke    *federation.Process
	calls    navev1.SessionsClient
	conn     *grpc.ClientConn
	arrivals *arrivals
	tee      string
	token    string
	profiles map[string]string // by program: where it serves them
	counters counters
}

// with runs a scenario in a federation whose sessions sleep after a time without work.
func with(ctx context.Context, b *measure.Bench, slots int, idle time.Duration, scenario func(context.Context, *world) error) (err error) {
	w := &world{b: b, profiles: map[string]string{}}
	if w.tee, err = exec.LookPath("tee"); err != nil {
		return err
	}
	if w.arrivals, err = newArrivals(b.Dir); err != nil {
		return err
	}
	g := run.NewGroup(ctx)
	g.Go("arrivals", w.arrivals.read)
	g.Go("scenario", func(ctx context.Context) error {
		defer w.arrivals.pipe.Close()
		err := w.up(ctx, slots, idle)
		if err == nil {
			err = scenario(ctx, w)
		}
		return errors.Join(err, w.down())
	})
	return g.Wait()
}

// down ends everything. Workloads outlive their spoke: they are ended here.
func (w *world) down() error {
	if w.conn != nil {
		w.conn.Close()
	}
	if w.f == nil {
		return nil
	}
	if w.spoke != nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := w.spoke.End(ctx); err != nil && ctx.Err() != nil {
			return err
		}
		for _, p := range federation.Naming(w.f.Path("one")) {
			p.Kill()
		}
	}
	return w.f.Stop()
}

// up starts hub and spoke, and applies the agent.
func (w *world) up(ctx context.Context, slots int, idle time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	dir, err := w.b.Subdir("fed")
	if err != nil {
		return err
	}
	if w.f, err = federation.New(federation.Config{Bin: w.b.Bin, Dir: dir}); err != nil {
		return err
	}
	hub, err := w.f.StartHub(ctx, w.profiling("hub")...)
	if err != nil {
		return err
	}
	c, err := w.f.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := w.dial(hub.Output()); err != nil {
		return err
	}
	if err := w.f.Join(ctx, "one"); err != nil {
		return err
	}
	metrics, err := free()
	if err != nil {
		return err
	}
	w.counters.urls = append(w.counters.urls, "http://"+metrics)
	if w.spoke, err = w.f.StartSpoke("one", append(w.profiling("spoke"), "--metrics-listen", metrics, "--flavor", fmt.Sprintf("small=%d", slots))...); err != nil {
		return err
	}
	err = w.f.Await(ctx, "the spoke is live", func() (bool, error) {
		one, err := c.Clusters.Get(ctx, &navev1.GetRequest{Name: "one"})
		return one.GetStatus().GetHealth() == string(api.HealthLive), err
	})
	if err != nil {
		return err
	}
	return w.apply(ctx, tee, api.ProtocolCommand, idle, w.tee, w.arrivals.path)
}

// profiling are the flags of a program that serves profiles, when they are wanted.
func (w *world) profiling(name string) []string {
	if w.b.Folder == "" {
		return nil
	}
	address, err := free()
	if err != nil {
		return nil
	}
	w.profiles[name] = address
	return []string{"--profiling-listen", address}
}

// free is an address that nobody listens at.
func free() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// profile keeps profiles of hub and spoke while the load runs.
func (w *world) profile(ctx context.Context, scenario string, during time.Duration, load func() error) error {
	g := run.NewGroup(ctx)
	for name, addr := range w.profiles {
		g.Go("profile", func(ctx context.Context) error { return w.b.Profile(ctx, scenario+"-"+name, addr, during) })
	}
	return errors.Join(load(), g.Wait())
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
	w.counters.trust(pool)
	w.counters.urls = append(w.counters.urls, hub.Address)
	w.conn, err = grpc.NewClient(m[1], grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool})))
	w.calls = navev1.NewSessionsClient(w.conn)
	return err
}

func (w *world) authorized(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+w.token)
}

// tee is the agent whose program is tee.
const tee = "tee"

// apply applies an agent. Its checkpoints are the default ones, after each turn, of a state that stays as it is.
func (w *world) apply(ctx context.Context, name string, protocol api.Protocol, idle time.Duration, command ...string) error {
	documents := map[string]any{
		"environment": map[string]any{"apiVersion": "nave.dev/v1", "kind": "Environment", "metadata": map[string]any{"name": "local"}, "spec": map[string]any{"flavor": "small"}},
		"agent": map[string]any{"apiVersion": "nave.dev/v1", "kind": "Agent", "metadata": map[string]any{"name": name}, "spec": map[string]any{
			"environment": "local", "idle_timeout": idle.String(), "harness": map[string]any{"protocol": protocol, "command": command}}},
	}
	args := []string{"apply"}
	for _, name := range []string{"environment", "agent"} {
		text, err := json.Marshal(documents[name])
		if err != nil {
			return err
		}
		if err := os.WriteFile(w.f.Path(name+".json"), text, 0o600); err != nil {
			return err
		}
		args = append(args, "-f", w.f.Path(name+".json"))
	}
	_, err := w.f.Nave(ctx, args...)
	return err
}

// sent is a signal and how far it came.
type sent struct {
	session  string
	sequence uint64
	due      time.Time
	answered time.Time // the call came back: the signal was accepted
	arrived  time.Time // the agent's program has it
}

// signal sends a signal to a session of an agent and waits until that has it.
func (w *world) signal(ctx context.Context, agent, key string) (sent, error) {
	n, arrived := w.arrivals.expect()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	res, err := w.calls.Signal(w.authorized(ctx), &navev1.SignalRequest{Agent: agent, Key: key, Payload: payload(n)})
	if err != nil {
		return sent{}, err
	}
	s := sent{session: res.GetSessionId(), sequence: res.GetSequence(), answered: time.Now()}
	s.arrived, err = await(ctx, arrived)
	return s, err
}

// processor is what the programs of the federation and their agents have used.
func (w *world) processor() (sum time.Duration) {
	for _, p := range federation.Naming(w.f.Path()) {
		used, _ := measure.ProcessorTime(p.ID) // one that has ended meanwhile is in its parent's
		sum += used
	}
	return sum
}

// settled waits until all sessions are in a phase with nothing to do.
func (w *world) settled(ctx context.Context, phase api.Phase) error {
	ctx, cancel := context.WithTimeout(w.authorized(ctx), 2*time.Minute)
	defer cancel()
	return w.f.Await(ctx, "sessions are "+string(phase), func() (bool, error) {
		res, err := w.calls.List(ctx, &navev1.ListSessionsRequest{PageSize: 1000})
		for _, s := range res.GetSessions() {
			if s.GetPhase() != string(phase) || s.GetPending() > 0 {
				return false, err
			}
		}
		return true, err
	})
}

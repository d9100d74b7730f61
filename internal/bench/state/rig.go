package state

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/internal/bench/loopspoke"
	"github.com/nave-dev/nave/internal/bench/measure"
	bench "github.com/nave-dev/nave/internal/bench/rig"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/run"
)

const (
	agentName = "looped"
	flavor    = "small"
	startTime = 60 * time.Second // bound of the start of a program
)

// rig is a hub with a synthetic spoke.
type rig struct {
	*federation.Federation
	b        *measure.Bench
	hub      *federation.Process
	client   *client.Client
	grpc     *grpc.ClientConn
	sessions navev1.SessionsClient
	ports    map[string]string // api, grpc, metrics, profiling
	spoke    *loopspoke.Spoke
	group    *run.Group // of the spoke
	made     int        // sessions
}

// newRig starts a hub and defines the agent whose sessions the synthetic spoke takes.
func newRig(ctx context.Context, b *measure.Bench) (r *rig, err error) {
	dir, err := b.Subdir("f")
	if err != nil {
		return nil, err
	}
	f, err := federation.New(federation.Config{Bin: b.Bin, Dir: dir})
	if err != nil {
		return nil, err
	}
	r = &rig{Federation: f, b: b, ports: map[string]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.stop())
		}
	}()
	for _, door := range []string{"api", "grpc", "metrics", "profiling"} {
		if r.ports[door], err = bench.FreePort(); err != nil {
			return r, err
		}
	}
	config := fmt.Sprintf(`data_dir: %s
api: {listen: %s, grpc_listen: %s}
metrics: {listen: %s}
profiling: {listen: %s}
limits: {requests: 1000000, burst: 1000000, streams: 1000000, pending_per_organization: 1000000}
log: {level: info}
`, f.Path("hub"), r.ports["api"], r.ports["grpc"], r.ports["metrics"], r.ports["profiling"])
	if err = os.WriteFile(f.Path("hub.yaml"), []byte(config), 0o600); err != nil {
		return r, err
	}
	if err = r.start(ctx); err != nil {
		return r, err
	}
	if err = r.connect(ctx); err != nil {
		return r, err
	}
	return r, r.populate(ctx)
}

// start starts the hub, anew or on its data, and waits until it is ready.
func (r *rig) start(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if r.hub, err = r.Start("hub", "nave-hub", "serve", "--config", r.Path("hub.yaml")); err != nil {
		return err
	}
	return r.hub.Follow(ctx, federation.HubReady, io.Discard)
}

// connect makes clients of the hub as its first administrator.
func (r *rig) connect(context.Context) error {
	ca, err := os.ReadFile(r.Path("hub", "ca.pem"))
	if err != nil {
		return err
	}
	token, err := os.ReadFile(r.Path("hub", "admin-token"))
	if err != nil {
		return err
	}
	here := client.Context{Name: "bench", Address: "https://" + r.ports["api"], CA: string(ca), Token: string(bytes.TrimSpace(token)), Organization: string(api.DefaultOrg)}
	var contexts client.Contexts
	contexts.Put(here)
	if err := contexts.Save(r.Path("config.yaml")); err != nil {
		return err
	}
	if r.client, err = client.New(here.Config()); err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	authorized := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+here.Token)
	}
	r.grpc, err = grpc.NewClient(r.ports["grpc"], grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: pool})),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			return invoke(authorized(ctx), method, req, reply, cc, opts...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return open(authorized(ctx), desc, cc, method, opts...)
		}))
	if err != nil {
		return err
	}
	r.sessions = navev1.NewSessionsClient(r.grpc)
	return nil
}

// documents define the agent. No program of it ever runs.
const documents = `{"apiVersion":"nave.dev/v1","kind":"Environment","metadata":{"name":"local"},"spec":{"flavor":"` + flavor + `"}}
---
{"apiVersion":"nave.dev/v1","kind":"Agent","metadata":{"name":"` + agentName + `"},"spec":{"environment":"local","harness":{"protocol":"command","command":["/bin/true"]},"idle_timeout":"1s"}}
`

func (r *rig) populate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := os.WriteFile(r.Path("agent.yaml"), []byte(documents), 0o600); err != nil {
		return err
	}
	if _, err := r.Quiet(ctx, "apply", "-f", r.Path("agent.yaml")); err != nil {
		return err
	}
	if err := r.Join(ctx, "loop"); err != nil {
		return err
	}
	token, err := os.ReadFile(r.Path("loop.token"))
	if err != nil {
		return err
	}
	if r.spoke, err = loopspoke.Join(ctx, loopspoke.Config{Token: string(bytes.TrimSpace(token)), Flavor: flavor, Log: slog.New(slog.DiscardHandler)}); err != nil {
		return err
	}
	r.group = run.NewGroup(context.WithoutCancel(ctx))
	r.group.Go("loopspoke", r.spoke.Run)
	return r.live(ctx, "loop")
}

// live waits until a cluster is heard.
func (r *rig) live(ctx context.Context, name string) error {
	return r.Await(ctx, "cluster "+name+" live", func() (bool, error) {
		c, err := r.client.Clusters.Get(ctx, &navev1.GetRequest{Name: name})
		return c.GetStatus().GetHealth() == string(api.HealthLive), err
	})
}

// stop ends everything. The overlay of a hub that was killed would live on for a while.
func (r *rig) stop() error {
	var err error
	if r.hub != nil && !r.hub.Running() {
		err = endAll(r.Path("hub"))
	}
	if r.group != nil {
		r.group.Stop()
		err = errors.Join(err, r.group.Wait())
	}
	if r.grpc != nil {
		r.grpc.Close()
	}
	if r.client != nil {
		r.client.Close()
	}
	return errors.Join(err, r.Federation.Stop())
}

// endAll kills the processes that name a folder, also those that are just being started.
func endAll(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	return federation.Await(ctx, "end of all processes in "+dir, func() (bool, error) {
		left := federation.Naming(dir)
		for _, p := range left {
			p.Kill()
		}
		return len(left) == 0, nil
	})
}

// payload is of the size of a short prompt.
var payload = bytes.Repeat([]byte("What is new? "), 16)

func (r *rig) signal(ctx context.Context, key string) error {
	_, err := r.sessions.Signal(ctx, &navev1.SignalRequest{Agent: agentName, Key: key, Payload: payload})
	return err
}

// grow brings the hub to n sessions, each of which had a signal that was settled, and waits until all of them sleep.
func (r *rig) grow(ctx context.Context, n int) error {
	const senders = 64
	next := make(chan int, senders)
	g := run.NewGroup(ctx)
	g.Go("count", func(ctx context.Context) error {
		defer close(next)
		for i := r.made; i < n; i++ {
			select {
			case next <- i:
			case <-ctx.Done():
				return nil
			}
		}
		return nil
	})
	for range senders {
		g.Go("send", func(ctx context.Context) error {
			for i := range next {
				if err := r.signal(ctx, "s"+strconv.Itoa(i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	r.made = n
	return r.Await(ctx, fmt.Sprintf("%d dormant sessions", n), func() (bool, error) {
		m, err := r.metrics(ctx)
		if err != nil {
			return false, err
		}
		if d := int(m[`nave_hub_sessions{phase="Dormant"}`]); d != n {
			return false, fmt.Errorf("%d of %d are dormant, the spoke holds %d", d, n, r.spoke.Held())
		}
		return true, nil
	})
}

// metrics reads the hub's metrics.
func (r *rig) metrics(ctx context.Context) (map[string]float64, error) {
	return metricsOf(ctx, r.ports["metrics"])
}

// metricsOf reads the metrics of a program.
func metricsOf(ctx context.Context, address string) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for line := range strings.SplitSeq(string(b), "\n") {
		if at := strings.LastIndexByte(line, ' '); at > 0 && line[0] != '#' {
			if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
				out[line[:at]] = v
			}
		}
	}
	return out, nil
}

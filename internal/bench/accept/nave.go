package accept

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/internal/federation"
)

// target takes signals.
type target struct {
	put       func(ctx context.Context, client, n, many int) error // signals n to n+many-1, in one call
	profiling string                                               // address
	process   int                                                  // id
	store     []string                                             // URLs of the members of its etcd; empty: it is in the process
	last      int                                                  // number of the last signal that was made
}

const (
	payloadSize = 600
	sessions    = 1000
	connections = 8
	agent       = "bench"
)

// hubConfig is a hub alone, with limits that nothing here comes near.
const hubConfig = `data_dir: %q
api: {listen: "127.0.0.1:0", grpc_listen: "127.0.0.1:0"}
profiling: {listen: "127.0.0.1:0"}
limits: {requests: 10000000, burst: 10000000, pending_per_session: 1000000, pending_per_organization: 100000000}
log: {level: warn}
`

var (
	grpcAddress = regexp.MustCompile(`gRPC on ([0-9.:]+)`)
	profileAt   = regexp.MustCompile(`profiles on http://([0-9.:]+)/`)
)

// startHub starts a hub with a store of its own or by the lines more of its configuration, and makes the agent. wrap runs
// before the program, if it is there.
func (w *world) startHub(ctx context.Context, name, more string, wrap ...string) (*target, error) {
	file := w.f.Path(name + ".yaml")
	config := strings.Replace(fmt.Sprintf(hubConfig, w.f.Path(name)), "level: warn", "level: info", 1) + more
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	args := append(wrap, w.f.Bin("nave-hub"), "serve", "--config", file)
	program, err := filepath.Rel(w.b.Bin, args[0])
	if err != nil {
		return nil, err
	}
	p, err := w.f.Start(name, program, args[1:]...)
	if err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeoutCause(ctx, time.Minute, fmt.Errorf("not ready within a minute"))
	defer cancel()
	if err := p.Follow(ready, federation.HubReady, discard); err != nil {
		return nil, err
	}
	token, err := os.ReadFile(w.f.Path(name, "admin-token"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(w.f.Path(name, "ca.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	out := p.Output()
	address, profiles := grpcAddress.FindStringSubmatch(out), profileAt.FindStringSubmatch(out)
	if address == nil || profiles == nil {
		return nil, fmt.Errorf("%s does not say where it listens:\n%s", name, out)
	}
	conns, err := w.dial(address[1], credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool}))
	if err != nil {
		return nil, err
	}
	t := &target{profiling: profiles[1], process: p.ID()}
	t.put = naveCalls(conns, strings.TrimSpace(string(token)))
	return t, define(ctx, conns[0], strings.TrimSpace(string(token)))
}

// dial opens the connections.
func (w *world) dial(address string, creds credentials.TransportCredentials) ([]*grpc.ClientConn, error) {
	var conns []*grpc.ClientConn
	for range connections {
		c, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
		if err != nil {
			return nil, err
		}
		conns = append(conns, c)
		w.close = append(w.close, c.Close)
	}
	return conns, nil
}

// define makes the agent.
func define(ctx context.Context, c *grpc.ClientConn, token string) error {
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	_, err := navev1.NewEnvironmentsClient(c).Put(ctx, &navev1.PutEnvironmentRequest{Environment: &navev1.Environment{
		Meta: &navev1.Meta{Name: agent}, Spec: &navev1.EnvironmentSpec{Image: "example.com/bench"}}})
	if err != nil {
		return err
	}
	_, err = navev1.NewAgentsClient(c).Put(ctx, &navev1.PutAgentRequest{Agent: &navev1.Agent{Meta: &navev1.Meta{Name: agent},
		Spec: &navev1.AgentSpec{Environment: agent, Harness: &navev1.Harness{Protocol: "command", Command: []string{"/bench"}}}}})
	return err
}

// naveCalls makes calls as a client in Go does.
func naveCalls(conns []*grpc.ClientConn, token string) func(ctx context.Context, client, n, many int) error {
	var clients []navev1.SessionsClient
	for _, c := range conns {
		clients = append(clients, navev1.NewSessionsClient(c))
	}
	payload := []byte(strings.Repeat("p", payloadSize))
	request := func(n int) *navev1.SignalRequest {
		return &navev1.SignalRequest{Agent: agent, Key: fmt.Sprintf("user-%d", n%sessions), Payload: payload, IdempotencyKey: fmt.Sprintf("order-%016d", n)}
	}
	return func(ctx context.Context, client, n, many int) error {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
		c := clients[client%len(clients)]
		if many == 0 {
			_, err := c.Signal(ctx, request(n))
			return err
		}
		r := &navev1.SignalManyRequest{}
		for i := range many {
			r.Signals = append(r.Signals, request(n+i))
		}
		res, err := c.SignalMany(ctx, r)
		if err != nil {
			return err
		}
		for _, s := range res.GetResults() {
			if e := s.GetError(); e != nil {
				return fmt.Errorf("a signal of a list: %s: %s", e.GetCode(), e.GetMessage())
			}
		}
		return nil
	}
}

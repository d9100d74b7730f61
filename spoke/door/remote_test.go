package door_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/door"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Tokens, and the workloads that they speak for.
const (
	token      = "eyJhbGciOiJSUzI1NiJ9.token-of-the-first-workload.c2ln"
	otherToken = "eyJhbGciOiJSUzI1NiJ9.token-of-another-workload.c2ln"
	oldToken   = "eyJhbGciOiJSUzI1NiJ9.token-that-has-expired.c2ln"
)

var otherID = spoke.WorkloadID{Session: "01J00000000000000000000001", Epoch: api.Epoch{N: 1}, Attempt: 1}

// afar is a door for harnesses on other machines.
type afar struct {
	t    *testing.T
	door *door.Door
	ca   *door.Authority
	at   string
	log  *safeBuffer
	h    *handler

	mu       sync.Mutex
	verified int                             // calls of Verify; guarded by mu
	verify   func(ctx context.Context) error // instead, when it is not nil; guarded by mu
}

// safeBuffer is a log.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Verify knows tokens as a cluster does. What it says of them repeats them, as an error of somebody else might.
func (a *afar) Verify(ctx context.Context, got spoke.WorkloadID, tok string) error {
	a.mu.Lock()
	a.verified++
	verify := a.verify
	a.mu.Unlock()
	if verify != nil {
		return verify(ctx)
	}
	switch want := map[string]spoke.WorkloadID{token: id, otherToken: otherID}[tok]; {
	case tok == oldToken:
		return api.Errorf(api.CodeUnauthenticated, "the token %s has expired", tok)
	case want != got:
		return api.Errorf(api.CodeDenied, "the token %s is of pod %s", tok, want)
	}
	return nil
}

func (a *afar) calls() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.verified
}

func openAfar(t *testing.T, change func(*door.Config)) *afar {
	t.Helper()
	ca, err := door.OpenAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a := &afar{t: t, ca: ca, log: &safeBuffer{}, h: &handler{gone: make(chan struct{}, 100)}}
	c := door.Config{
		Log:       slog.New(slog.NewTextHandler(io.MultiWriter(t.Output(), a.log), nil)),
		Messenger: &messenger{}, Vault: &vault{content: make(map[api.CheckpointID][]byte)},
		Remote: &door.Remote{
			Listen: "127.0.0.1:0", Certificate: ca.Certificate, Verify: a.Verify,
			Describe: func(_ context.Context, got spoke.WorkloadID) (*harnessv1.Workload, error) {
				if got != id {
					return nil, api.Errorf(api.CodeNotFound, "workload %s: there is none", got)
				}
				return &harnessv1.Workload{Id: got.String(), Agent: "tester"}, nil
			},
		},
	}
	if change != nil {
		change(&c)
	}
	if a.door, err = door.New(c); err != nil {
		t.Fatal(err)
	}
	if at := a.door.Address(); at != "" {
		t.Errorf("before it runs it listens on %q", at)
	}
	g := run.NewGroup(context.Background())
	g.Go("door", func(ctx context.Context) error { return a.door.Run(ctx, a.h) })
	t.Cleanup(func() {
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Errorf("door: %v", err)
		}
		for _, secret := range []string{token, otherToken, oldToken} {
			if strings.Contains(a.log.String(), secret) {
				t.Errorf("a token is in the log:\n%s", a.log)
			}
		}
	})
	eventually(t, "the door listens", func() bool { a.at = a.door.Address(); return a.at != "" })
	return a
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for !is() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not in time: %s", what)
		}
	}
}

// config is TLS as a harness speaks it.
func (a *afar) config() *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.ca.PEM())
	return &tls.Config{RootCAs: pool, ServerName: harnessv1.ServerName, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}
}

// dial makes a client that says by headers who it is; empty ones are left out.
func (a *afar) dial(creds credentials.TransportCredentials, token, workload string, options ...grpc.DialOption) harnessv1.HarnessClient {
	a.t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+a.at, append([]grpc.DialOption{grpc.WithTransportCredentials(creds),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: 20 * time.Second, Backoff: backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1, MaxDelay: 10 * time.Millisecond}}),
		grpc.WithPerRPCCredentials(headers{harnessv1.HeaderToken: token, harnessv1.HeaderWorkload: workload})}, options...)...)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { cc.Close() })
	return harnessv1.NewHarnessClient(cc)
}

// client is an honest one.
func (a *afar) client(options ...grpc.DialOption) harnessv1.HarnessClient {
	return a.dial(credentials.NewTLS(a.config()), "Bearer "+token, id.String(), options...)
}

// headers go along with every call.
type headers map[string]string

func (h headers) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	out := make(map[string]string)
	for k, v := range h {
		if v != "" {
			out[k] = v
		}
	}
	return out, nil
}

func (headers) RequireTransportSecurity() bool { return false }

// A harness on another machine is served as one on this machine.
func TestHarnessFromAfar(t *testing.T) {
	a := openAfar(t, nil)
	c := a.client()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	w, err := c.Describe(ctx, &harnessv1.DescribeRequest{Workload: id.String()})
	if diff := cmp.Diff("tester", w.GetAgent()); err != nil || diff != "" {
		t.Fatalf("described: %v %s", err, diff)
	}
	if _, err := c.Signal(ctx, request()); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "not attached") {
		t.Errorf("a signal before it is attached: %v", err)
	}
	s := attach(t, c, hello())
	s.welcome()
	s.events(1, 2)
	if n := s.ack(); n != 2 {
		t.Errorf("acknowledged up to %d", n)
	}
	a.door.Tell(id, spoke.Orders{Signals: []api.Signal{{Sequence: 9}}})
	if o := s.orders(); len(o.Signals) != 1 || o.Signals[0].Sequence != 9 {
		t.Errorf("orders %v", o)
	}
	if got, err := c.Signal(ctx, request()); err != nil || got.Sequence != 7 {
		t.Errorf("a signal: %v, %v", got, err)
	}
	if _, err := a.dial(credentials.NewTLS(a.config()), "bearer "+otherToken, otherID.String()).Describe(ctx, &harnessv1.DescribeRequest{Workload: otherID.String()}); status.Code(err) != codes.NotFound {
		t.Errorf("a workload that there is not: %v", err)
	}
	a.door.Forget(id)
	if got := s.code(); got != codes.Aborted {
		t.Errorf("a forgotten harness ended with %v", got)
	}
}

// A door may serve both; who is proved by a token on the one is proved by the kernel on the other.
func TestBothDoors(t *testing.T) {
	h := &handler{}
	ca, err := door.OpenAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a := &afar{t: t, ca: ca}
	d, local := open(t, h, func(c *door.Config) {
		c.Remote = &door.Remote{Listen: "127.0.0.1:0", Certificate: ca.Certificate,
			Verify: func(_ context.Context, got spoke.WorkloadID, tok string) error {
				if got != otherID || tok != otherToken {
					return errors.New("somebody else's")
				}
				return nil
			},
			Describe: func(context.Context, spoke.WorkloadID) (*harnessv1.Workload, error) {
				return &harnessv1.Workload{Id: "another"}, nil
			}}
	})
	eventually(t, "the door listens", func() bool { a.at = d.Address(); return a.at != "" })
	attach(t, local, hello()).welcome()
	afar := a.dial(credentials.NewTLS(a.config()), "Bearer "+otherToken, otherID.String())
	m := hello()
	m.Workload = otherID.String()
	attach(t, afar, m).welcome()
	if got := attach(t, local, m).code(); got != codes.PermissionDenied { // the kernel knows this process as the other one
		t.Errorf("the other's workload on the socket: %v", got)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), harnessv1.HeaderToken, "Bearer "+otherToken, harnessv1.HeaderWorkload, otherID.String())
	if _, err := local.Signal(ctx, &harnessv1.SignalRequest{Workload: otherID.String(), Agent: "a", Key: "k"}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a token on the socket: %v", err)
	}
	if _, err := afar.Describe(t.Context(), &harnessv1.DescribeRequest{Workload: otherID.String()}); status.Code(err) != codes.Internal {
		t.Errorf("a description of another workload: %v", err)
	}
}

func TestRemoteConfig(t *testing.T) {
	fine := door.Remote{Listen: "127.0.0.1:0", Certificate: func() (*tls.Certificate, error) { return nil, nil },
		Verify:   func(context.Context, spoke.WorkloadID, string) error { return nil },
		Describe: func(context.Context, spoke.WorkloadID) (*harnessv1.Workload, error) { return nil, nil }}
	for _, tt := range []struct {
		field  string
		change func(*door.Remote)
	}{
		{"", func(*door.Remote) {}},
		{"Remote", func(r *door.Remote) { r.Certificate = nil }},
		{"Remote", func(r *door.Remote) { r.Verify = nil }},
		{"Remote", func(r *door.Remote) { r.Describe = nil }},
		{"Remote.Listen", func(r *door.Remote) { r.Listen = "here" }},
		{"Remote.MaxConnections", func(r *door.Remote) { r.MaxConnections = -1 }},
	} {
		r := fine
		tt.change(&r)
		if _, err := door.New(door.Config{Remote: &r, Log: slog.Default()}); api.FieldOf(err) != tt.field {
			t.Errorf("New = %v, want a complaint about %q", err, tt.field)
		}
	}
	// A port that somebody else has is an error of Run.
	a := openAfar(t, nil)
	r := fine
	r.Listen = a.at
	d, err := door.New(door.Config{Remote: &r, Log: slog.Default()})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Run(t.Context(), &handler{}); api.FieldOf(err) != "Remote.Listen" {
		t.Errorf("on a port that is taken: %v", err)
	}
}

// Without a certificate nobody comes in, and the operator is told why; with one again everybody does.
func TestWithoutACertificate(t *testing.T) {
	var away atomic.Bool
	a := openAfar(t, func(c *door.Config) {
		certificate := c.Remote.Certificate
		c.Remote.Certificate = func() (*tls.Certificate, error) {
			if away.Load() {
				return nil, errors.New("the disk is away")
			}
			return certificate()
		}
	})
	away.Store(true)
	r := &harnessv1.DescribeRequest{Workload: id.String()}
	if _, err := a.client().Describe(t.Context(), r); status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), "disk") {
		t.Errorf("without one: %v", err)
	}
	if !strings.Contains(a.log.String(), "level=ERROR") || !strings.Contains(a.log.String(), "the disk is away") {
		t.Errorf("the log says %s", a.log)
	}
	away.Store(false)
	if _, err := a.client().Describe(t.Context(), r); err != nil {
		t.Errorf("with one: %v", err)
	}
}

// What a harness says is the same whether its calls are served as streams or not.
func TestLargeCalls(t *testing.T) {
	a := openAfar(t, nil)
	c := a.client()
	s := attach(t, c, hello())
	s.welcome()
	r := request()
	r.Payload = bytes.Repeat([]byte("x"), api.MaxPayload)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := c.Signal(ctx, r); err != nil {
		t.Errorf("a signal of %d bytes: %v", proto.Size(r), err)
	}
	r.Payload = bytes.Repeat([]byte("x"), 5<<20)
	if _, err := c.Signal(ctx, r); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a signal that is too large: %v", err)
	}
	s.events(1)
	if s.ack() != 1 {
		t.Error("the harness is not served any more")
	}
}

// beside runs a function beside the test, which waits for it at its end.
func beside(t *testing.T, f func()) {
	g := run.NewGroup(context.Background())
	g.Go("beside", func(context.Context) error { f(); return nil })
	t.Cleanup(func() { g.Wait() })
}

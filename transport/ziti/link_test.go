package ziti_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/transport/ziti"
	"github.com/nave-dev/nave/transport/ziti/local"
	"github.com/nave-dev/nave/transport/ziti/zititest"
)

var request = &healthpb.HealthCheckRequest{}

func TestUnaryAndStreamWithProvedIdentities(t *testing.T) {
	for name, cfg := range map[string]local.Config{
		"another address than the default one": {Listen: netip.MustParseAddr("127.0.0.2")},
		"a name, and ports that were given":    {Advertise: "localhost", Port: freePorts(t, local.Ports)},
	} {
		t.Run(name, func(t *testing.T) {
			n := zititest.StartConfig(t, cfg)
			if want := fmt.Sprintf("https://localhost:%d", cfg.Port); cfg.Advertise != "" && n.Controller != want {
				t.Errorf("the controller is said to be at %s, want %s", n.Controller, want)
			}
			proved(t, n)
		})
	}
}

// freePorts finds so many ports in a row that nobody listens on, and returns the first.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for first := 30000; first < 32000; first += n {
		var taken error
		for i := range n {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+i))
			if err != nil {
				taken = err
				break
			}
			defer l.Close()
		}
		if taken == nil {
			return first
		}
	}
	t.Fatal("no free ports in a row")
	return 0
}

func proved(t *testing.T, n *zititest.Network) {
	t.Helper()
	hub, spoke := n.Node("hub-1", ziti.RoleHub), n.Node("spoke-1", ziti.RoleSpoke)
	c := serve(t, hub, ziti.ServerCredentials(hub))
	client := dial(t, spoke, ziti.ClientCredentials(spoke, ziti.AllowIDs(hub.ID())))
	ctx := zititest.Context(t, 30*time.Second)
	begin := time.Now()
	if _, err := client.Check(ctx, request, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	t.Logf("first call: %s", time.Since(begin).Round(time.Millisecond))
	if got := <-c.who; got != spoke.ID() {
		t.Errorf("the hub saw %q, want the spoke's identity %q", got, spoke.ID())
	}
	s, err := client.Watch(ctx, request)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, err := s.Recv(); err != nil {
			t.Fatalf("message %d of the stream: %v", i, err)
		}
	}
}

// selfSignedPair is a key and a certificate that claims to be id and that no authority signed.
func selfSignedPair(t *testing.T, id string) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: id},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	return k, der
}

// selfSigned are credentials of such a pair that believe anybody.
func selfSigned(t *testing.T, id string) credentials.TransportCredentials {
	k, der := selfSignedPair(t, id)
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: k}},
		InsecureSkipVerify: true, ClientAuth: tls.RequireAnyClientCert,
	})
}

func TestWrongPeersAreRefused(t *testing.T) {
	n := zititest.Start(t)
	hub, other := n.Node("hub-1", ziti.RoleHub), n.Node("hub-2", ziti.RoleHub)
	spoke := n.Node("spoke-1", ziti.RoleSpoke)
	for _, tc := range []struct {
		name           string
		host           *ziti.Node
		server, client credentials.TransportCredentials
		want           string // in the error; empty: the call succeeds
	}{
		{"the hub that is meant", hub, ziti.ServerCredentials(hub), ziti.ClientCredentials(spoke, ziti.AllowIDs(hub.ID())), ""},
		{"another hub than the one that is meant", other, ziti.ServerCredentials(other), ziti.ClientCredentials(spoke, ziti.AllowIDs(hub.ID())), "not who may be here"},
		{"a spoke's certificate on a host", hub, ziti.ServerCredentials(spoke), ziti.ClientCredentials(spoke, ziti.AllowIDs(hub.ID())), "not who may be here"},
		{"a self-signed host of the right name", hub, selfSigned(t, hub.ID()), ziti.ClientCredentials(spoke, ziti.AllowIDs(hub.ID())), "not of the overlay's authority"},
		{"a self-signed dialer of the right name", hub, ziti.ServerCredentials(hub), selfSigned(t, spoke.ID()),
			// In TLS 1.3 a dialer is done before the host has judged it: it learns of the refusal by an alert, by the end alone, or
			// when it writes: "connection error", or "connection closed for writes".
			"connection "},
		{"nobody allowed", hub, ziti.ServerCredentials(hub), ziti.ClientCredentials(spoke, ziti.AllowIDs()), "not who may be here"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, err := tc.host.Listen(zititest.Context(t, time.Minute), ziti.HubService)
			if err != nil {
				t.Fatal(err)
			}
			c := serveOn(t, l, tc.server)
			client := dial(t, spoke, tc.client)
			_, err = client.Check(zititest.Context(t, 20*time.Second), request, grpc.WaitForReady(tc.want == ""))
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("Check = %v, want success", err)
			case tc.want != "" && (status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("Check = %v, want Unavailable with %q", err, tc.want)
			}
			if called := len(c.who) > 0; called != (tc.want == "") {
				t.Errorf("the handler was reached: %t", called)
			}
		})
	}
}

func TestPolicies(t *testing.T) {
	n := zititest.Start(t)
	hub, spoke, nobody := n.Node("hub-1", ziti.RoleHub), n.Node("spoke-1", ziti.RoleSpoke), n.Node("nobody")
	serve(t, hub, ziti.ServerCredentials(hub))
	for name, node := range map[string]*ziti.Node{"a spoke": spoke, "one without a role": nobody} {
		if l, err := node.Listen(zititest.Context(t, 2*time.Second), ziti.HubService); err == nil {
			l.Close()
			t.Errorf("%s hosts the hub's service", name)
		}
	}
	for name, node := range map[string]*ziti.Node{"a hub": hub, "one without a role": nobody} {
		if c, err := node.Dial(zititest.Context(t, 2*time.Second), ziti.HubService); err == nil {
			c.Close()
			t.Errorf("%s dials the hub's service", name)
		}
	}
	c, err := spoke.Dial(zititest.Context(t, 20*time.Second), ziti.HubService)
	if err != nil {
		t.Fatalf("the spoke cannot dial: %v", err)
	}
	c.Close()
}

func TestDeletedIdentityLosesItsConnection(t *testing.T) {
	n := zititest.Start(t)
	hub, spoke := n.Node("hub-1", ziti.RoleHub), n.Node("spoke-1", ziti.RoleSpoke)
	serve(t, hub, ziti.ServerCredentials(hub))
	client := dial(t, spoke, ziti.ClientCredentials(spoke, ziti.AllowIDs(hub.ID())))
	s, err := client.Watch(zititest.Context(t, time.Minute), request, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	if err := n.Manager.DeleteIdentity(zititest.Context(t, 10*time.Second), spoke.ID()); err != nil {
		t.Fatal(err)
	}
	deleted := time.Now()
	if got := hub.Disconnect(spoke.ID()); got != 1 {
		t.Errorf("Disconnect closed %d connections, want 1", got)
	}
	for err == nil {
		_, err = s.Recv()
	}
	took := time.Since(deleted)
	t.Logf("the stream ended %s after the deletion: %v", took.Round(time.Millisecond), err)
	if took > 5*time.Second {
		t.Errorf("the stream ended %s after the deletion, want at most 5s", took)
	}
	for range 2 { // a session that it had, and a fresh one
		c, err := spoke.Dial(zititest.Context(t, 10*time.Second), ziti.HubService)
		if err == nil {
			c.Close()
			t.Error("a deleted identity dials")
		}
		if api.CodeOf(err) != api.CodeDenied || !strings.Contains(err.Error(), "enroll again") {
			t.Errorf("a deleted identity dials: %v (%s), want denied, with what to do", err, api.CodeOf(err))
		}
	}
	if got := hub.Disconnect(spoke.ID()); got != 0 {
		t.Errorf("Disconnect again closed %d connections, want none", got)
	}
}

func TestCallsAreBoundedWhileTheControllerIsAway(t *testing.T) {
	n := zititest.Start(t)
	hub := n.Node("hub-1", ziti.RoleHub)
	serve(t, hub, ziti.ServerCredentials(hub))
	warm := n.Node("spoke-1", ziti.RoleSpoke)
	client := dial(t, warm, ziti.ClientCredentials(warm, ziti.AllowIDs(hub.ID())))
	ctx := zititest.Context(t, 2*time.Minute)
	s, err := client.Watch(ctx, request, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	fresh := n.Node("spoke-2", ziti.RoleSpoke)

	// A stopped process takes connections and answers nothing, which is worse than a dead one.
	n.Unsupervise() // who would restart it
	n.Signal("controller", syscall.SIGSTOP)
	t.Cleanup(func() { n.Signal("controller", syscall.SIGCONT) })
	for i := range 8 { // more than may wait inside the SDK
		begin := time.Now()
		c, err := fresh.Dial(zititest.Context(t, 300*time.Millisecond), ziti.HubService)
		if err == nil {
			c.Close()
			t.Fatal("a fresh node dials without the controller")
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("dial %d took %s, want at most its bound of 300ms and a little", i, took)
		}
	}
	begin := time.Now()
	if _, err := n.Manager.Identities(zititest.Context(t, 300*time.Millisecond)); err == nil || time.Since(begin) > time.Second {
		t.Errorf("a management call = %v after %s, want an error within its bound of 300ms and a little", err, time.Since(begin))
	}
	for range 5 {
		if _, err := s.Recv(); err != nil {
			t.Fatalf("the established stream does not outlive the controller: %v", err)
		}
	}

	n.Signal("controller", syscall.SIGCONT)
	back := time.Now()
	for {
		c, err := fresh.Dial(ctx, ziti.HubService)
		if err == nil {
			c.Close()
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("the fresh node does not dial after the controller's return: %v", err)
		}
	}
	t.Logf("first dial %s after the controller's return", time.Since(back).Round(time.Millisecond))
}

func TestStreamFlowsAgainAfterTheLossOfEachRouter(t *testing.T) {
	n := zititest.Start(t)
	hub, spoke := n.Node("hub-1", ziti.RoleHub), n.Node("spoke-1", ziti.RoleSpoke)
	serve(t, hub, ziti.ServerCredentials(hub))
	client := dial(t, spoke, ziti.ClientCredentials(spoke, ziti.AllowIDs(hub.ID())))
	ctx := zititest.Context(t, 3*time.Minute)
	open := func() grpc.ServerStreamingClient[healthpb.HealthCheckResponse] {
		s, err := client.Watch(ctx, request, grpc.WaitForReady(true))
		if err == nil {
			_, err = s.Recv()
		}
		if err != nil && ctx.Err() != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	broke := 0
	for _, router := range []string{"r1", "r2"} {
		awaitHosts(ctx, t, n, 2)
		n.Kill(router)
		killed, last, gap := time.Now(), time.Now(), time.Duration(0)
		for time.Since(killed) < 5*time.Second || time.Since(last) > time.Second {
			if _, err := s.Recv(); err != nil {
				if ctx.Err() != nil {
					t.Fatalf("no message for %s after the loss of %s", time.Since(last), router)
				}
				broke++
				s = open()
				continue
			}
			gap, last = max(gap, time.Since(last)), time.Now()
		}
		t.Logf("loss of %s: longest gap between messages %s, streams broken so far %d", router, gap.Round(time.Millisecond), broke)
		if gap > 5*time.Second {
			t.Errorf("loss of %s: no message for %s, want at most 5s", router, gap)
		}
	}
	if broke == 0 {
		t.Error("no stream broke, so the loss of a carrying router was not shown")
	}
}

// awaitHosts waits until the service is reached by want routers and those answer.
func awaitHosts(ctx context.Context, t *testing.T, n *zititest.Network, want int) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := n.Manager.Hosts(ctx)
		if err == nil && got >= want {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the service has %d hosts (%v), want %d", got, err, want)
		case <-tick.C:
		}
	}
}

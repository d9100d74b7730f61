package transport_test

import (
	"bytes"
	"context"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport"
	"github.com/nave-dev/nave/transport/linktest"
	"github.com/nave-dev/nave/transport/linkv1"
)

// besieged is a hub whose peers have certificates and bad manners.
type besieged struct {
	t    *testing.T
	net  linktest.Network
	hub  *fleetHub
	open *atomic.Int64 // connections at the hub
}

// counted counts what a listener has handed out and what of it was not closed.
type counted struct {
	net.Listener
	open *atomic.Int64
}

func (l counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.open.Add(1)
	return &countedConn{Conn: c, open: l.open}, nil
}

type countedConn struct {
	net.Conn
	open   *atomic.Int64
	closed atomic.Bool
}

func (c *countedConn) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		c.open.Add(-1)
	}
	return c.Conn.Close()
}

func besiege(t *testing.T) *besieged {
	t.Helper()
	b := &besieged{t: t, net: simulated(1)(t), hub: &fleetHub{boots: map[string]int{}}, open: &atomic.Int64{}}
	s, err := transport.NewServer(transport.ServerConfig{Attach: b.hub.attach, Credentials: b.net.Hub, Identity: b.net.Identity})
	if err != nil {
		t.Fatal(err)
	}
	lis, err := b.net.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g := run.NewGroup(context.WithoutCancel(t.Context()))
	g.Go("serve", func(ctx context.Context) error { return s.Serve(ctx, counted{lis, b.open}) })
	t.Cleanup(func() {
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// peer dials with the spoke's identity.
func (b *besieged) peer(as credentials.TransportCredentials) *grpc.ClientConn {
	b.t.Helper()
	cc, err := grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(as), grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64<<20)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return b.net.Dial(ctx) }))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { cc.Close() })
	return cc
}

// ready connects without a call.
func (b *besieged) ready(cc *grpc.ClientConn) {
	b.t.Helper()
	cc.Connect()
	synctest.Wait()
	if s := cc.GetState(); s != connectivity.Ready {
		b.t.Fatalf("the connection is %v", s)
	}
}

// link says hello and hears the welcome.
func (b *besieged) link(cc *grpc.ClientConn) grpc.BidiStreamingClient[linkv1.SpokeMessage, linkv1.HubMessage] {
	b.t.Helper()
	stream, err := linkv1.NewLinkClient(cc).Connect(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := stream.Send(&linkv1.SpokeMessage{Hello: &linkv1.Hello{ProtocolMin: 1, ProtocolMax: 1, Boot: "boot"}}); err != nil {
		b.t.Fatal(err)
	}
	if m, err := stream.Recv(); err != nil || m.GetWelcome() == nil {
		b.t.Fatalf("no welcome: %v", err)
	}
	return stream
}

// TestConnectionWithoutACall: it is closed after a while, however alive its peer is; a link is not.
func TestConnectionWithoutACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := besiege(t)
		linked, idle := b.peer(b.net.Spoke), b.peer(b.net.Spoke)
		stream := b.link(linked)
		b.ready(idle)
		if n := b.open.Load(); n != 2 {
			t.Fatalf("%d connections, want 2", n)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := b.open.Load(); n != 1 {
			t.Errorf("%d connections after two minutes, want that of the link alone", n)
		}
		if err := stream.Context().Err(); err != nil || linked.GetState() != connectivity.Ready {
			t.Errorf("the link ended: %v, %v", err, linked.GetState())
		}
	})
}

// TestConnectionsOfOneIdentity: a peer that opens ever more keeps the latest few, and nobody else is hurt.
func TestConnectionsOfOneIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := besiege(t)
		for range 40 {
			b.ready(b.peer(b.net.Spoke))
			synctest.Wait()
			if n := b.open.Load(); n > 8 {
				t.Fatalf("%d connections of one identity, want at most 8", n)
			}
		}
		b.link(b.peer(b.net.Spoke)) // the owner of the identity still gets in
	})
}

// atOnce is what a peer hears without waiting; nil when it hears nothing.
func atOnce(t *testing.T, hear func() error) error {
	t.Helper()
	heard := make(chan error, 1)
	run.NewGroup(t.Context()).Go("hear", func(context.Context) error {
		heard <- hear()
		return nil
	})
	synctest.Wait()
	select {
	case err := <-heard:
		return err
	default:
		return nil
	}
}

// TestCallsOfOneIdentity: calls beyond a bound, calls without a link, and streams without a hello are refused at once.
func TestCallsOfOneIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := besiege(t)
		unsaid := func(cc *grpc.ClientConn) error { // a call whose message never comes
			stream, err := cc.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, linkv1.Link_Signal_FullMethodName)
			if err != nil {
				t.Fatal(err)
			}
			return atOnce(t, func() error { return stream.RecvMsg(&linkv1.SignalResponse{}) })
		}
		if err := unsaid(b.peer(b.net.Spoke)); status.Code(err) != codes.Aborted {
			t.Errorf("a call without a link, before its message: %v", err)
		}
		silent, again := b.peer(b.net.Spoke), b.peer(b.net.Spoke)
		for i := range 6 {
			stream, err := linkv1.NewLinkClient(silent).Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			err = atOnce(t, func() error { _, err := stream.Recv(); return err })
			if refused := status.Code(err) == codes.ResourceExhausted; refused != (i >= 4) {
				t.Errorf("stream %d that says nothing: %v", i, err)
			}
		}
		time.Sleep(11 * time.Second) // a hello has ten
		b.link(again)
		taken, refused := 1, 0
		for _, cc := range []*grpc.ClientConn{again, silent} {
			for range 50 {
				switch err := unsaid(cc); status.Code(err) {
				case codes.OK:
					taken++
				case codes.ResourceExhausted:
					refused++
				default:
					t.Fatalf("a call: %v", err)
				}
			}
		}
		if taken != 64 || refused != 37 {
			t.Errorf("%d calls were taken and %d refused, want 64 and 37", taken, refused)
		}
	})
}

// raw passes bytes on as they are.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (raw) Unmarshal([]byte, any) error   { return nil }
func (raw) Name() string                  { return "proto" }

// TestWorstMessageAtTheHub: a message of four MiB that would become hundreds ends its link and takes little.
func TestWorstMessageAtTheHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for what, first := range map[string]bool{"as a hello": true, "on a link": false} {
			b := besiege(t)
			stream, err := b.peer(b.net.Spoke).NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, linkv1.Link_Connect_FullMethodName, grpc.ForceCodec(raw{}))
			if err != nil {
				t.Fatal(err)
			}
			if !first {
				if err := stream.SendMsg([]byte{0x0a, 4, 0x08, 1, 0x10, 1}); err != nil { // a hello of protocol 1
					t.Fatal(err)
				}
				if err := stream.RecvMsg(nil); err != nil {
					t.Fatalf("no welcome: %v", err)
				}
			}
			worst := bytes.Repeat([]byte{0x12, 0}, 4<<20/2-8) // sessions that are held, without a word on them
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_ = stream.SendMsg(worst) // the answer says what became of it
			err = stream.RecvMsg(nil)
			runtime.ReadMemStats(&after)
			if err == nil || status.Code(err) == codes.Unavailable {
				t.Errorf("%s: %v", what, err)
			}
			if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 60 { // of which the sender, TLS and the network have most
				t.Errorf("%s: %d MiB were allocated", what, took)
			} else {
				t.Logf("%s: %d MiB were allocated at both ends: %v", what, took, err)
			}
		}
	})
}

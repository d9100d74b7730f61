package linktest

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/transport"
	"github.com/nave-dev/nave/transport/linkv1"
)

func testGreeting(t *testing.T, n Network) {
	h := serve(t, n, &hub{})
	s := newSpoke(t, n)
	s.hello.Capacity = api.Capacity{Runtime: "r", Flavors: []api.FlavorCapacity{{Flavor: "small", Total: 3, Used: 1}}}
	s.hello.Held = []api.Held{{Session: "s", Epoch: api.Epoch{Incarnation: 1, N: 2}, Attempt: 3, State: api.HeldIdle, Reason: "r", Seen: 4}}
	s.dial()
	a := h.link()
	if a.id != n.SpokeID {
		t.Errorf("the hub sees %q, want %q", a.id, n.SpokeID)
	}
	if d := cmp.Diff(s.hello, a.hello); d != "" {
		t.Errorf("hello (-want +got):\n%s", d)
	}
	want := api.Welcome{Protocol: 1, Cluster: "c", Name: "cluster", Labels: map[string]string{"a": "b"}, Beat: beat}
	if d := cmp.Diff(want, next(t, "welcome", s.welcome)); d != "" {
		t.Errorf("welcome (-want +got):\n%s", d)
	}
}

func testRefusal(t *testing.T, n Network) {
	serve(t, n, &hub{attach: func(string, api.Hello) error {
		return &api.Error{Code: api.CodeConflict, Op: "attach", Err: fmt.Errorf("another spoke holds the lease: wait")}
	}})
	s := newSpoke(t, n).dial()
	e := next(t, "the refusal", s.ends)
	if e.welcomed || api.CodeOf(e.err) != api.CodeConflict || !strings.Contains(e.err.Error(), "another spoke holds the lease: wait") {
		t.Errorf("refused with %v (%s), welcomed %v", e.err, api.CodeOf(e.err), e.welcomed)
	}
	next(t, "a second try", s.ends)
}

func testOrder(t *testing.T, n Network) {
	const all = 1000
	h := serve(t, n, &hub{})
	s := newSpoke(t, n).dial()
	a := h.link()
	next(t, "welcome", s.welcome)
	for i := range uint64(all) {
		a.out <- api.HubMessage{Acks: []api.Ack{{Session: "s", UpTo: i}}}
		if err := s.link.Send(api.SpokeMessage{Held: []api.Held{{Session: "s", State: api.HeldRunning, Seen: i}}}); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	for i := range uint64(all) {
		if m := next(t, "a message at the spoke", s.in); m.Acks[0].UpTo != i {
			t.Fatalf("the spoke got %d as %d", m.Acks[0].UpTo, i)
		}
		if m := next(t, "a message at the hub", a.in); m.Held[0].Seen != i {
			t.Fatalf("the hub got %d as %d", m.Held[0].Seen, i)
		}
	}
}

func testAnew(t *testing.T, n Network) {
	h := serve(t, n, &hub{})
	s := newSpoke(t, n).dial()
	for i := range 3 {
		a := h.link()
		next(t, "welcome", s.welcome)
		a.endNow <- api.Errorf(api.CodeLimit, "end %d", i)
		if e := next(t, "the end", s.ends); api.CodeOf(e.err) != api.CodeLimit || !strings.Contains(e.err.Error(), fmt.Sprint("end ", i)) {
			t.Errorf("ended with %v", e.err)
		}
		next(t, "the attachment's close", a.closed)
	}
	h.link()
	next(t, "welcome", s.welcome)
}

func testWithoutConnection(t *testing.T, n Network) {
	s := newSpoke(t, n)
	if err := s.link.Send(api.SpokeMessage{}); api.CodeOf(err) != api.CodeUnavailable {
		t.Errorf("before the first connection: %v", err)
	}
	h := serve(t, n, &hub{})
	s.dial()
	a := h.link()
	next(t, "welcome", s.welcome)
	h.attach = nil
	a.endNow <- api.Errorf(api.CodeUnavailable, "over")
	next(t, "the end", s.ends)
	next(t, "welcome", s.welcome) // it works again
	must(t, "send", s.link.Send(api.SpokeMessage{}))
}

func testFullQueue(t *testing.T, n Network) {
	h := serve(t, n, &hub{take: func(ctx context.Context, _ api.SpokeMessage) error { <-ctx.Done(); return context.Cause(ctx) }})
	s := newSpoke(t, n).dial()
	h.link()
	next(t, "welcome", s.welcome)
	text := strings.Repeat("x", 32<<10)
	deadline := time.Now().Add(within)
	for sent := 0; ; sent++ {
		err := s.link.Send(api.SpokeMessage{Events: []api.EventBatch{{Session: "s", Events: []api.Event{{SourceNumber: 1, Type: "log", Text: text}}}}})
		if err == nil && time.Now().Before(deadline) && sent < 100_000 {
			continue
		}
		if api.CodeOf(err) != api.CodeLimit || sent < 1000 {
			t.Errorf("after %d messages: %v", sent, err)
		}
		return
	}
}

// raw dials without a link, to say what a link would not.
func raw(t *testing.T, n Network) (linkv1.LinkClient, linkv1.Link_ConnectClient) {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(n.Spoke),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return n.Dial(ctx) }))
	must(t, "client", err)
	t.Cleanup(func() { cc.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	c := linkv1.NewLinkClient(cc)
	stream, err := c.Connect(ctx, grpc.WaitForReady(true))
	must(t, "connect", err)
	return c, stream
}

func testFirstIsHello(t *testing.T, n Network) {
	h := serve(t, n, &hub{})
	_, stream := raw(t, n)
	must(t, "send", stream.Send(&linkv1.SpokeMessage{}))
	m, err := stream.Recv()
	if err == nil || err == io.EOF || !strings.Contains(err.Error(), "not a hello") {
		t.Errorf("answered with %v, %v", m, err)
	}
	if len(h.links) > 0 {
		t.Error("a link began without a hello")
	}
}

func testUnreadable(t *testing.T, n Network) {
	h := serve(t, n, &hub{})
	for _, tt := range []struct {
		what string
		bad  *linkv1.SpokeMessage
	}{
		{"an unknown state", &linkv1.SpokeMessage{Held: []*linkv1.Held{{Session: "s", State: "Flying"}}}},
		{"a large event", &linkv1.SpokeMessage{Events: []*linkv1.EventBatch{{Session: "s", Events: []*linkv1.Event{{SourceNumber: 1, Type: "log", Text: strings.Repeat("x", api.MaxEventBytes+1)}}}}}},
	} {
		_, stream := raw(t, n)
		must(t, "send", stream.Send(&linkv1.SpokeMessage{Hello: &linkv1.Hello{ProtocolMin: 1, ProtocolMax: 1, Boot: "b"}}))
		a := h.link()
		if m, err := stream.Recv(); err != nil || m.GetWelcome() == nil {
			t.Fatalf("welcome: %v %v", m, err)
		}
		must(t, "send", stream.Send(tt.bad))
		next(t, tt.what+" closes the attachment", a.closed)
		if api.CodeOf(a.closedBy) != api.CodeInvalid {
			t.Errorf("%s: closed with %v", tt.what, a.closedBy)
		}
		if m, err := stream.Recv(); err == nil || err == io.EOF {
			t.Errorf("%s: %v, %v", tt.what, m, err)
		}
		if len(a.in) > 0 {
			t.Errorf("%s arrived", tt.what)
		}
	}
}

func testBeatRefused(t *testing.T, n Network) {
	var beats atomic.Int32
	h := serve(t, n, &hub{beats: func(context.Context) error {
		if beats.Add(1) > 2 {
			return api.Errorf(api.CodeConflict, "another boot holds the lease")
		}
		return nil
	}})
	s := newSpoke(t, n).dial()
	a := h.link()
	e := next(t, "the end", s.ends)
	if !e.welcomed || api.CodeOf(e.err) != api.CodeConflict || !strings.Contains(e.err.Error(), "another boot holds the lease") {
		t.Errorf("ended with %v", e)
	}
	next(t, "the attachment's close", a.closed)
}

func testBeatUnanswered(t *testing.T, n Network) {
	h := serve(t, n, &hub{beats: func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }})
	s := newSpoke(t, n).dial()
	a := h.link()
	next(t, "welcome", s.welcome)
	began := time.Now()
	if e := next(t, "the end", s.ends); !e.welcomed {
		t.Errorf("ended with %v", e)
	}
	if took := time.Since(began); took < 2*beat {
		t.Errorf("a beat that was late by %v ended the link", took)
	}
	next(t, "the attachment's close", a.closed)
}

// testRenewed: the handler gets the times at which the answered beats were sent, and no others.
func testRenewed(t *testing.T, n Network) {
	var clock, slow atomic.Int64
	h := serve(t, n, &hub{beats: func(ctx context.Context) error {
		if slow.Load() == 0 {
			clock.Add(1000) // the answer comes later than the sending
			return nil
		}
		slow.Add(-1)
		<-ctx.Done()
		return context.Cause(ctx)
	}})
	s := newSpokeAt(t, n, func() time.Duration { return time.Duration(clock.Add(1)) }).dial()
	h.link()
	last := time.Duration(0)
	for i := range 3 {
		sent := next(t, "an answered beat", s.renewed)
		if want := time.Duration(i*1001 + 1); sent != want {
			t.Fatalf("beat %d was sent at %d, want %d", i, sent, want)
		}
		last = sent
	}
	slow.Store(2)                // fewer than end the link
	for after := 0; after < 3; { // the first one may have been on its way before
		sent := next(t, "an answered beat", s.renewed)
		if sent <= last {
			t.Fatalf("a beat of %d was renewed after one of %d", sent, last)
		}
		if last = sent; slow.Load() == 0 {
			after++
		}
	}
	if len(s.ends) > 0 {
		t.Errorf("two beats without an answer ended the link: %v", next(t, "the end", s.ends))
	}
}

// testBeatOfAnEndingHub: an answer that the hub could not give is none.
func testBeatOfAnEndingHub(t *testing.T, n Network) {
	h := serve(t, n, &hub{beats: func(context.Context) error { return context.Canceled }})
	s := newSpoke(t, n).dial()
	h.link()
	next(t, "the end", s.ends)
	if len(s.renewed) > 0 {
		t.Error("a beat that the hub gave up counts as answered")
	}
}

func testBeatOfAnotherBoot(t *testing.T, n Network) {
	h := serve(t, n, &hub{})
	c, stream := raw(t, n)
	must(t, "send", stream.Send(&linkv1.SpokeMessage{Hello: &linkv1.Hello{ProtocolMin: 1, ProtocolMax: 1, Boot: "b"}}))
	h.link()
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if _, err := c.Beat(ctx, &linkv1.BeatRequest{Boot: "b"}); err != nil {
		t.Errorf("its own boot: %v", err)
	}
	if _, err := c.Beat(ctx, &linkv1.BeatRequest{Boot: "other"}); err == nil {
		t.Error("another boot's beat was answered")
	}
}

// testSilence: a spoke that is cut off without a word is noticed by the hub.
func testSilence(t *testing.T, n Network) {
	var mute atomic.Bool
	dial := n.Dial
	n.Dial = func(ctx context.Context) (net.Conn, error) {
		c, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return &mutable{Conn: c, mute: &mute}, nil
	}
	h := serve(t, n, &hub{beat: time.Hour}) // keep-alives alone must notice it
	s := newSpoke(t, n).dial()
	a := h.link()
	next(t, "the only beat of this hour", s.renewed)
	began := time.Now()
	mute.Store(true)
	select {
	case <-a.closed:
	case <-time.After(40 * time.Second):
		t.Fatal("the hub did not notice within 40 s that its spoke is silent")
	}
	t.Logf("noticed after %v", time.Since(began).Round(time.Second))
}

// mutable is a connection that carries nothing any more while it is mute.
type mutable struct {
	net.Conn
	mute *atomic.Bool
}

func (m *mutable) Write(b []byte) (int, error) {
	if m.mute.Load() {
		return len(b), nil
	}
	return m.Conn.Write(b)
}

var _ transport.Handler = (*spoke)(nil)

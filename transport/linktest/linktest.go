package linktest

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport"
)

// Network carries the links of one hub and one spoke.
type Network struct {
	Listen   func(context.Context) (net.Listener, error)
	Dial     func(context.Context) (net.Conn, error)
	Hub      credentials.TransportCredentials
	Spoke    credentials.TransportCredentials
	Identity func(context.Context) (string, bool)
	SpokeID  string // the identity that the hub must see

	Faults Faults // for [RunFaultsInBubbles] only
}

// Faults are what can happen to the network between hub and spoke.
type Faults interface {
	CutUp()     // what the spoke sends is held back
	CutDown()   // what the hub sends is held back
	Heal()      // what was held back arrives
	Break() int // ends the open connections at both sides; how many
	// Rough makes the network slow, and breaks connections that live for this long on average. 0: it is as before.
	Rough(life time.Duration)
}

// Run checks links over a network. create is called once per test.
func Run(t *testing.T, create func(t *testing.T) Network) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, create(t)) })
	}
}

// RunInBubbles is Run with each test in a bubble of testing/synctest, for networks in memory.
func RunInBubbles(t *testing.T, create func(t *testing.T) Network) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, create(t)) })
		})
	}
}

// RunFaultsInBubbles checks what links promise when their network fails, over hours of the bubbles' time.
func RunFaultsInBubbles(t *testing.T, create func(t *testing.T) Network) {
	for name, test := range map[string]func(*testing.T, Network){
		"HiccupIsRiddenOut": testHiccup,
		"CutUp":             testCutUp,
		"CutDown":           testCutDown,
		"HubAway":           testHubAway,
		"SlowHub":           testSlowHub,
		"Denied":            testDenied,
		"SaveOverACut":      testSaveOverACut,
		"Rough":             testRough,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, create(t)) })
		})
	}
}

var tests = map[string]func(*testing.T, Network){
	"Greeting":           testGreeting,
	"Refusal":            testRefusal,
	"Order":              testOrder,
	"Anew":               testAnew,
	"WithoutConnection":  testWithoutConnection,
	"FullQueue":          testFullQueue,
	"FirstIsHello":       testFirstIsHello,
	"Unreadable":         testUnreadable,
	"BeatRefused":        testBeatRefused,
	"BeatUnanswered":     testBeatUnanswered,
	"BeatOfAnotherBoot":  testBeatOfAnotherBoot,
	"Silence":            testSilence,
	"Renewed":            testRenewed,
	"BeatOfAnEndingHub":  testBeatOfAnEndingHub,
	"Save":               testSave,
	"SaveRefused":        testSaveRefused,
	"SaveCutOff":         testSaveCutOff,
	"SaveOutlivesNoLink": testSaveOutlivesNoLink,
	"SaveUnreadable":     testSaveUnreadable,
	"Fetch":              testFetch,
	"FetchRefused":       testFetchRefused,
	"Transfers":          testTransfers,
	"Signal":             testSignal,
	"Fates":              testFates,
	"SignalCutOff":       testSignalCutOff,
	"SignalsAtOnce":      testSignalsAtOnce,
	"Deltas":             testDeltas,
}

const (
	beat   = 200 * time.Millisecond
	within = 20 * time.Second
)

// hub plays the hub's side.
type hub struct {
	t      *testing.T
	attach func(id string, hello api.Hello) error // nil: everybody is welcome
	beats  func(context.Context) error            // nil: answered
	take   func(context.Context, api.SpokeMessage) error
	save   func(context.Context, api.CheckpointHeader, io.Reader) error
	fates  func(context.Context, []api.SessionID) (api.Fates, error)
	fetch  func(context.Context, fetched, io.Writer) error
	signal func(context.Context, signalled) (api.Accepted, error)
	beat   time.Duration
	links  chan *attachment
	stop   func() // ends it before the test does
}

// attachment is one link at the hub.
type attachment struct {
	h        *hub
	id       string
	hello    api.Hello
	out      chan api.HubMessage
	in       chan api.SpokeMessage
	endNow   chan error
	once     sync.Once
	closed   chan struct{}
	closedBy error
}

func (a *attachment) Next(ctx context.Context) (api.HubMessage, error) {
	select {
	case m := <-a.out:
		return m, nil
	case err := <-a.endNow:
		return api.HubMessage{}, err
	case <-ctx.Done():
		return api.HubMessage{}, context.Cause(ctx)
	}
}

func (a *attachment) Receive(ctx context.Context, m api.SpokeMessage) error {
	if a.h.take != nil {
		return a.h.take(ctx, m)
	}
	select {
	case a.in <- m:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (a *attachment) Beat(ctx context.Context) error {
	if a.h.beats != nil {
		return a.h.beats(ctx)
	}
	return nil
}

// fetched is what a spoke asks for.
type fetched struct {
	Session        api.SessionID
	Source         api.Source
	ID             api.CheckpointID
	Part           api.CheckpointPart
	Offset, Length int64
}

// signalled is what a spoke sends as a session.
type signalled struct {
	Session api.SessionID
	Source  api.Source
	Signal  api.AgentSignal
}

func (a *attachment) Signal(ctx context.Context, session api.SessionID, source api.Source, s api.AgentSignal) (api.Accepted, error) {
	return a.h.signal(ctx, signalled{session, source, s})
}

func (a *attachment) Fates(ctx context.Context, sessions []api.SessionID) (api.Fates, error) {
	return a.h.fates(ctx, sessions)
}

func (a *attachment) SaveCheckpoint(ctx context.Context, header api.CheckpointHeader, content io.Reader) error {
	return a.h.save(ctx, header, content)
}

func (a *attachment) FetchCheckpoint(ctx context.Context, session api.SessionID, source api.Source, id api.CheckpointID, part api.CheckpointPart, offset, length int64, w io.Writer) error {
	return a.h.fetch(ctx, fetched{session, source, id, part, offset, length}, w)
}

func (a *attachment) Boot() string { return a.hello.Boot }

func (a *attachment) Close(err error) {
	a.once.Do(func() {
		a.closedBy = err
		close(a.closed)
	})
}

// serve runs the hub's side until the end of the test.
func serve(t *testing.T, n Network, h *hub) *hub {
	t.Helper()
	h.t, h.links = t, make(chan *attachment, 16)
	if h.beat == 0 {
		h.beat = beat
	}
	s, err := transport.NewServer(transport.ServerConfig{Credentials: n.Hub, Identity: n.Identity,
		Attach: func(_ context.Context, id string, hello api.Hello) (transport.Attachment, api.Welcome, error) {
			if h.attach != nil {
				if err := h.attach(id, hello); err != nil {
					return nil, api.Welcome{}, err
				}
			}
			a := &attachment{h: h, id: id, hello: hello, out: make(chan api.HubMessage, 2000), in: make(chan api.SpokeMessage, 2000), endNow: make(chan error, 1), closed: make(chan struct{})}
			h.links <- a
			return a, api.Welcome{Protocol: 1, Cluster: "c", Name: "cluster", Labels: map[string]string{"a": "b"}, Beat: h.beat}, nil
		}})
	must(t, "server", err)
	lis, err := n.Listen(t.Context())
	must(t, "listen", err)
	g := run.NewGroup(context.WithoutCancel(t.Context()))
	g.Go("serve", func(ctx context.Context) error { return s.Serve(ctx, lis) })
	h.stop = sync.OnceFunc(func() {
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(h.stop)
	return h
}

// link waits for the next link at the hub.
func (h *hub) link() *attachment {
	h.t.Helper()
	return next(h.t, "a link at the hub", h.links)
}

// end is what a spoke hears of the end of a link.
type end struct {
	welcomed bool
	err      error
}

// spoke plays the spoke's side.
type spoke struct {
	t       *testing.T
	link    *transport.Link
	hello   api.Hello
	welcome chan api.Welcome
	in      chan api.HubMessage
	ends    chan end
	dials   atomic.Int64
	renewed chan time.Duration // times of answered beats; the oldest are kept
	hellos  int                // by the link's goroutine
	up      bool
}

func (s *spoke) Hello(context.Context) (api.Hello, error) {
	s.hellos++
	s.up = false
	return s.hello, nil
}

func (s *spoke) Connected(_ context.Context, w api.Welcome) error {
	s.up = true
	s.welcome <- w
	return nil
}

func (s *spoke) Receive(ctx context.Context, m api.HubMessage) error {
	if !s.up {
		s.t.Error("a message came before the welcome")
	}
	select {
	case s.in <- m:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *spoke) Renewed(_ context.Context, sent time.Duration) error {
	select {
	case s.renewed <- sent:
	default: // more beats than a test asks about
	}
	return nil
}

func (s *spoke) Disconnected(_ context.Context, err error) {
	select {
	case s.ends <- end{s.up, err}:
	default: // more ends than a test asks about
	}
}

func newSpoke(t *testing.T, n Network) *spoke {
	t.Helper()
	return newSpokeAt(t, n, nil)
}

func newSpokeAt(t *testing.T, n Network, now func() time.Duration) *spoke {
	t.Helper()
	s := &spoke{t: t, welcome: make(chan api.Welcome, 100), in: make(chan api.HubMessage, 2000), ends: make(chan end, 100), renewed: make(chan time.Duration, 100),
		hello: api.Hello{ProtocolMin: 1, ProtocolMax: 1, Version: "v", Boot: "boot", Journal: "journal", Fingerprint: "print"}}
	var err error
	dial := func(ctx context.Context) (net.Conn, error) {
		s.dials.Add(1)
		return n.Dial(ctx)
	}
	s.link, err = transport.NewLink(transport.LinkConfig{Dial: dial, Credentials: n.Spoke, Now: now})
	must(t, "link", err)
	return s
}

// dial runs the spoke's side until the end of the test.
func (s *spoke) dial() *spoke {
	g := run.NewGroup(context.WithoutCancel(s.t.Context()))
	g.Go("link", func(ctx context.Context) error { return s.link.Run(ctx, s) })
	s.t.Cleanup(func() {
		g.Stop()
		if err := g.Wait(); err != nil {
			s.t.Errorf("link: %v", err)
		}
	})
	return s
}

// next takes one value from a channel, or fails.
func next[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(within):
		t.Fatalf("%s: not within %v", what, within)
		panic("unreachable")
	}
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

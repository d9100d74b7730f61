package ziti_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/boottime"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport"
	"github.com/nave-dev/nave/transport/ziti"
	"github.com/nave-dev/nave/transport/ziti/zititest"
)

// wire is a link between a hub and a spoke that carries ten messages and ten beats a second in each direction.
type wire struct {
	t          *testing.T
	hub, spoke *ziti.Node
	link       *transport.Link
	stop       func()

	mu       sync.Mutex
	welcomes []time.Duration // guarded by mu; when, by the boot-time clock, as all of these
	renewed  []time.Duration // guarded by mu; when the answered beats were sent
	answers  []time.Duration // guarded by mu; how long each of these took
	messages []time.Duration // guarded by mu; when one arrived at the spoke
	ends     []error         // guarded by mu
}

const tick = 100 * time.Millisecond

func newWire(t *testing.T, n *zititest.Network) *wire {
	t.Helper()
	w := &wire{t: t, hub: n.Node("hub-1", ziti.RoleHub), spoke: n.Node("spoke-1", ziti.RoleSpoke)}
	s, err := transport.NewServer(transport.ServerConfig{Credentials: ziti.ServerCredentials(w.hub), Identity: ziti.PeerIdentity, Log: zititest.Log(t),
		Attach: func(_ context.Context, _ string, hello api.Hello) (transport.Attachment, api.Welcome, error) {
			return &ticking{boot: hello.Boot}, api.Welcome{Protocol: 1, Beat: tick}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	lis, err := w.hub.Listen(zititest.Context(t, time.Minute), ziti.HubService)
	if err != nil {
		t.Fatal(err)
	}
	w.link = w.newLink(w.spoke)
	g := run.NewGroup(context.WithoutCancel(t.Context()))
	g.Go("hub", func(ctx context.Context) error { return s.Serve(ctx, lis) })
	g.Go("spoke", func(ctx context.Context) error { return w.link.Run(ctx, w) })
	w.stop = sync.OnceFunc(func() {
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
	w.await("the first beats", func() bool { return len(w.renewed) > 3 })
	return w
}

func (w *wire) newLink(spoke *ziti.Node) *transport.Link {
	l, err := transport.NewLink(transport.LinkConfig{Credentials: ziti.ClientCredentials(spoke, ziti.AllowIDs(w.hub.ID())), Log: zititest.Log(w.t),
		Dial: func(ctx context.Context) (net.Conn, error) { return spoke.Dial(ctx, ziti.HubService) }})
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// await waits until cond, called with mu held, is true.
func (w *wire) await(what string, cond func() bool) {
	w.t.Helper()
	ctx := zititest.Context(w.t, 2*time.Minute)
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	for {
		w.mu.Lock()
		ok := cond()
		w.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("not within two minutes: %s", what)
		case <-every.C:
		}
	}
}

// since is what happened since a time.
type since struct {
	beats, messages time.Duration // longest times without an answered beat, and without a message
	links           int
	ends            []error
}

// since looks at what happened from a time until now.
func (w *wire) since(from time.Duration) since {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := boottime.Now()
	gap := func(at []time.Duration) (longest time.Duration) {
		last := from
		for _, a := range append(slices.Clone(at), now) {
			if a > last {
				longest, last = max(longest, a-last), a
			}
		}
		return longest
	}
	s := since{beats: gap(w.renewed), messages: gap(w.messages), ends: slices.Clone(w.ends)}
	for _, a := range w.welcomes {
		if a > from {
			s.links++
		}
	}
	return s
}

func (w *wire) add(to *[]time.Duration, at time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*to = append(*to, at)
}

func (w *wire) Hello(context.Context) (api.Hello, error) {
	return api.Hello{ProtocolMin: 1, ProtocolMax: 1, Boot: "boot"}, nil
}

func (w *wire) Connected(context.Context, api.Welcome) error {
	w.add(&w.welcomes, boottime.Now())
	return nil
}

func (w *wire) Receive(context.Context, api.HubMessage) error {
	w.add(&w.messages, boottime.Now())
	return nil
}

func (w *wire) Renewed(_ context.Context, sent time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.renewed, w.answers = append(w.renewed, sent), append(w.answers, boottime.Now()-sent)
	return nil
}

func (w *wire) Disconnected(_ context.Context, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ends = append(w.ends, err)
}

// ticking is an attachment that sends a message ten times a second.
type ticking struct {
	transport.Attachment
	boot string
}

func (a *ticking) Next(ctx context.Context) (api.HubMessage, error) {
	t := time.NewTimer(tick)
	defer t.Stop()
	select {
	case <-t.C:
		return api.HubMessage{Acks: []api.Ack{{Session: "s"}}}, nil
	case <-ctx.Done():
		return api.HubMessage{}, context.Cause(ctx)
	}
}
func (a *ticking) Receive(context.Context, api.SpokeMessage) error { return nil }
func (a *ticking) Beat(context.Context) error                      { return nil }
func (a *ticking) SaveCheckpoint(_ context.Context, _ api.CheckpointHeader, content io.Reader) error {
	_, err := io.Copy(io.Discard, content)
	return err
}
func (a *ticking) FetchCheckpoint(_ context.Context, _ api.SessionID, _ api.Source, _ api.CheckpointID, _ api.CheckpointPart, _, length int64, w io.Writer) error {
	_, err := io.CopyN(w, rand.NewChaCha8([32]byte{}), length)
	return err
}
func (a *ticking) Boot() string { return a.boot }
func (a *ticking) Close(error)  {}

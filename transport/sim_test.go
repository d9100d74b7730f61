package transport_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport"
	"github.com/nave-dev/nave/transport/linktest"
	"github.com/nave-dev/nave/transport/simnet"
)

// simulated is a network in memory with the certificates of a real one.
func simulated(seed uint64) func(t *testing.T) linktest.Network {
	return func(t *testing.T) linktest.Network {
		n := simnet.New(seed)
		lt := overTLS(t, newAuthority(t))
		lt.Listen = func(context.Context) (net.Listener, error) { return n.Listen("hub") }
		lt.Dial = func(ctx context.Context) (net.Conn, error) { return n.Dial(ctx, "spoke", "hub") }
		lt.Faults = faults{n}
		return lt
	}
}

type faults struct{ n *simnet.Network }

func (f faults) CutUp()     { f.n.Cut("spoke", "hub") }
func (f faults) CutDown()   { f.n.Cut("hub", "spoke") }
func (f faults) Heal()      { f.n.HealBoth("spoke", "hub") }
func (f faults) Break() int { return f.n.Break("spoke", "hub") }

func (f faults) Rough(life time.Duration) {
	p := simnet.Path{}
	if life > 0 {
		p = simnet.Path{Delay: 5 * time.Millisecond, Jitter: 50 * time.Millisecond, Life: life}
	}
	f.n.Set("spoke", "hub", p)
	f.n.Set("hub", "spoke", p)
}

func TestLinkOverSimnet(t *testing.T) { linktest.RunInBubbles(t, simulated(1)) }

func TestLinkWhenTheNetworkFails(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { linktest.RunFaultsInBubbles(t, simulated(seed)) })
	}
}

// fleetHub is a hub that lets everybody in and counts.
type fleetHub struct {
	mu    sync.Mutex
	boots map[string]int // links by identity
}

func (h *fleetHub) attach(_ context.Context, id string, hello api.Hello) (transport.Attachment, api.Welcome, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.boots[id]++
	return &idle{boot: hello.Boot}, api.Welcome{Protocol: 1, Beat: 2 * time.Second}, nil
}

// linked returns how many spokes had a link since the last call.
func (h *fleetHub) linked() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.boots)
	clear(h.boots)
	return n
}

// idle is an attachment on which nothing happens.
type idle struct {
	transport.Attachment
	boot string
}

func (a *idle) Next(ctx context.Context) (api.HubMessage, error) {
	<-ctx.Done()
	return api.HubMessage{}, context.Cause(ctx)
}
func (a *idle) Receive(context.Context, api.SpokeMessage) error { return nil }
func (a *idle) Beat(context.Context) error                      { return nil }
func (a *idle) Boot() string                                    { return a.boot }
func (a *idle) Close(error)                                     {}

// fleetSpoke is a spoke that has nothing to say.
type fleetSpoke struct{ boot string }

func (s fleetSpoke) Hello(context.Context) (api.Hello, error) {
	return api.Hello{ProtocolMin: 1, ProtocolMax: 1, Boot: s.boot}, nil
}
func (fleetSpoke) Connected(context.Context, api.Welcome) error  { return nil }
func (fleetSpoke) Receive(context.Context, api.HubMessage) error { return nil }
func (fleetSpoke) Renewed(context.Context, time.Duration) error  { return nil }
func (fleetSpoke) Disconnected(context.Context, error)           {}

// TestThousandSpokesDoNotFallTogether: when a hub comes back, or all links break at once, dials are spread.
func TestThousandSpokesDoNotFallTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const all = 1000
		n := simnet.New(1)
		n.SetAll(simnet.Path{Delay: 10 * time.Millisecond})
		h := &fleetHub{boots: map[string]int{}}
		up := func() (stop func()) {
			s, err := transport.NewServer(transport.ServerConfig{Attach: h.attach, Credentials: insecure.NewCredentials(), Identity: func(ctx context.Context) (string, bool) {
				p, _ := peer.FromContext(ctx)
				name, _, _ := strings.Cut(p.Addr.String(), "#")
				return name, true
			}})
			if err != nil {
				t.Fatal(err)
			}
			l, err := n.Listen("hub")
			if err != nil {
				t.Fatal(err)
			}
			g := run.NewGroup(t.Context())
			g.Go("serve", func(ctx context.Context) error { return s.Serve(ctx, l) })
			return func() {
				g.Stop()
				if err := g.Wait(); err != nil {
					t.Error(err)
				}
			}
		}
		var mu sync.Mutex
		var dials []time.Time
		spokes := run.NewGroup(t.Context())
		for i := range all {
			name := fmt.Sprint("spoke-", i)
			l, err := transport.NewLink(transport.LinkConfig{Credentials: insecure.NewCredentials(), Rand: rand.New(rand.NewPCG(1, uint64(i))),
				Dial: func(ctx context.Context) (net.Conn, error) {
					mu.Lock()
					dials = append(dials, time.Now())
					mu.Unlock()
					return n.Dial(ctx, name, "hub")
				}})
			if err != nil {
				t.Fatal(err)
			}
			spokes.Go(name, func(ctx context.Context) error { return l.Run(ctx, fleetSpoke{name}) })
		}
		// crowd is the largest number of dials within a length of time, since the last call.
		crowd := func(within time.Duration) int {
			mu.Lock()
			defer mu.Unlock()
			slices.SortFunc(dials, time.Time.Compare)
			most, from := 0, 0
			for to := range dials {
				for dials[to].Sub(dials[from]) >= within {
					from++
				}
				most = max(most, to-from+1)
			}
			dials = nil
			return most
		}

		time.Sleep(time.Minute) // no hub at all: the pauses reach their longest
		crowd(time.Second)
		stop := up()
		time.Sleep(11 * time.Second)
		if got := h.linked(); got != all {
			t.Errorf("11 s after the hub came, %d of %d spokes have a link", got, all)
		}
		// Each spoke dials within the ten seconds once: 100 a second if they were even.
		if got := crowd(time.Second); got > 300 {
			t.Errorf("when the hub came, %d of %d spokes dialed within a second", got, all)
		}

		stop() // all at once
		time.Sleep(50 * time.Millisecond)
		stop = up()
		time.Sleep(5 * time.Second)
		if got := h.linked(); got != all {
			t.Errorf("5 s after the hub was started anew, %d of %d spokes have a link", got, all)
		}
		if got := crowd(100 * time.Millisecond); got > 300 {
			t.Errorf("when all links broke, %d of %d spokes dialed within 100 ms", got, all)
		}
		spokes.Stop()
		if err := spokes.Wait(); err != nil {
			t.Error(err)
		}
		stop()
	})
}

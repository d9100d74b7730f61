package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport"
	"github.com/nave-dev/nave/transport/ziti"
)

// cutter is a spoke without sessions: the link of the real one over the identity that the real one enrolled, and a knife.
type cutter struct {
	node        *ziti.Node
	service     string
	hubs        []string
	fingerprint string

	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu; open ones
}

// newCutter takes over the data directory of a spoke that was enrolled and has ended.
func newCutter(dir string) (*cutter, error) {
	identity, err := os.ReadFile(filepath.Join(dir, "identity.json"))
	if err != nil {
		return nil, err
	}
	fingerprint, err := os.ReadFile(filepath.Join(dir, "fingerprint"))
	if err != nil {
		return nil, err
	}
	var m struct {
		Hubs    []string `json:"hub_identities"`
		Service string   `json:"service"`
	}
	if err := read(filepath.Join(dir, "membership.json"), &m); err != nil {
		return nil, err
	}
	node, err := ziti.OpenNode(ziti.NodeConfig{Identity: identity})
	if err != nil {
		return nil, err
	}
	return &cutter{node: node, service: m.Service, hubs: m.Hubs, fingerprint: strings.TrimSpace(string(fingerprint)), conns: map[net.Conn]struct{}{}}, nil
}

func (c *cutter) close() { _ = c.node.Close() }

// dial opens a connection that cut closes.
func (c *cutter) dial(ctx context.Context) (net.Conn, error) {
	conn, err := c.node.Dial(ctx, c.service)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns[conn] = struct{}{}
	return conn, nil
}

// cut closes what is open, under whoever uses it.
func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		_ = conn.Close()
	}
	clear(c.conns)
}

// soon is a source of randomness by which a link waits next to nothing before it dials again.
type soon struct{ *rand.PCG }

func (s soon) Uint64() uint64 { return s.PCG.Uint64() >> 24 }

// handler is a spoke that has nothing to say.
type handler struct {
	hello     api.Hello
	connected chan struct{} // bound 1: the cutter waits for each
}

func (h *handler) Hello(context.Context) (api.Hello, error) { return h.hello, nil }
func (h *handler) Connected(ctx context.Context, _ api.Welcome) error {
	select {
	case h.connected <- struct{}{}:
	case <-ctx.Done():
	}
	return nil
}
func (h *handler) Receive(context.Context, api.HubMessage) error { return nil }
func (h *handler) Renewed(context.Context, time.Duration) error  { return nil }
func (h *handler) Disconnected(context.Context, error)           {}

// reconnect cuts the link n times, each time as soon as the hub has welcomed it.
func (w *world) reconnect(ctx context.Context, n int, plant bool) error {
	c := w.link
	link, err := transport.NewLink(transport.LinkConfig{Dial: c.dial, Credentials: ziti.ClientCredentials(c.node, ziti.AllowIDs(c.hubs...)),
		Rand: rand.New(soon{rand.NewPCG(1, 2)}), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	h := &handler{connected: make(chan struct{}, 1), hello: api.Hello{ProtocolMin: api.LinkProtocolMin, ProtocolMax: api.LinkProtocolMax, Version: "leaks",
		Boot: fmt.Sprint("leaks-", time.Now().UnixNano()), Journal: "leaks", Fingerprint: c.fingerprint}}
	g := run.NewGroup(ctx)
	g.Go("link", func(ctx context.Context) error { return link.Run(ctx, h) })
	g.Go("cut", func(ctx context.Context) error {
		defer g.Stop()
		for i := range n {
			wait, cancel := within(ctx, time.Minute)
			select {
			case <-h.connected:
				cancel()
			case <-wait.Done():
				cancel()
				return fmt.Errorf("reconnect %d: %w", i, context.Cause(wait))
			}
			if plant {
				w.held.Go(fmt.Sprint("planted ", i), func(ctx context.Context) error {
					<-ctx.Done()
					return nil
				})
			}
			c.cut()
		}
		return nil
	})
	err = g.Wait()
	c.cut()
	return err
}

// killSpoke kills a real spoke without a word and starts it again, n times; then it ends it.
func (w *world) killSpoke(ctx context.Context, n int) error {
	for range n {
		p, err := w.StartSpoke(killed)
		if err != nil {
			return err
		}
		if err := w.connected(ctx, p); err != nil {
			return err
		}
		p.Kill()
	}
	if n == 0 {
		return nil
	}
	p, err := w.StartSpoke(killed)
	if err != nil {
		return err
	}
	if err := w.connected(ctx, p); err != nil {
		return err
	}
	return p.End(ctx)
}

func (w *world) connected(ctx context.Context, p *federation.Process) error {
	ctx, cancel := within(ctx, 2*time.Minute)
	defer cancel()
	return p.Follow(ctx, "connected to the hub", new(bytes.Buffer))
}

// overlayProcess is a process of the overlay.
type overlayProcess struct {
	federation.Proc
	role string
}

// overlays lists the processes of the overlay: their command lines say `nave-overlay ROLE --config .../NAME/config.json`.
func (w *world) overlays() []overlayProcess {
	var out []overlayProcess
	for _, p := range federation.Naming(w.Path()) {
		if len(p.Args) >= 4 && filepath.Base(p.Args[0]) == "nave-overlay" {
			out = append(out, overlayProcess{p, filepath.Base(filepath.Dir(p.Args[3]))})
		}
	}
	return out
}

// killRouters kills the routers in turn, and waits each time until the hub is hosted by both and the spoke is live.
func (w *world) killRouters(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	o, err := openOverlay(ctx, w.Path("hub", "overlay"))
	if err != nil {
		return err
	}
	for i := range n {
		var routers []overlayProcess
		for _, p := range w.overlays() {
			if p.role != "controller" {
				routers = append(routers, p)
			}
		}
		if len(routers) != 2 {
			return fmt.Errorf("the overlay has %d routers, want 2", len(routers))
		}
		if routers[0].role > routers[1].role {
			routers[0], routers[1] = routers[1], routers[0]
		}
		routers[i%2].Kill()
		if err := w.hosted(ctx, o, routers[i%2]); err != nil {
			return err
		}
	}
	return nil
}

// hosted waits until a router that was killed is another process, both carry the hub, and the spoke is live.
func (w *world) hosted(ctx context.Context, o *overlay, former overlayProcess) error {
	within, cancel := within(ctx, 2*time.Minute)
	defer cancel()
	err := w.Await(within, "router "+former.role+" back", func() (bool, error) {
		terminators, err := o.count(within, "terminators")
		if err != nil {
			return false, err
		}
		for _, p := range w.overlays() {
			if p.role == former.role && p.ID != former.ID && terminators == 2 {
				return true, nil
			}
		}
		return false, fmt.Errorf("%d terminators", terminators)
	})
	if err != nil {
		return err
	}
	return w.live(ctx, work)
}

// self counts this program, which has the transport of a spoke in it.
func (t *table) self() {
	var b bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&b, 1) // a buffer takes everything
	s := parseStacks(b.Bytes())
	t.add("transport of the cut link: goroutines", s.total(), count, goroutineSlack, 0).slope = countSlope
	t.stacks["transport of the cut link"] = s
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.add("transport of the cut link: live heap", int64(m.HeapAlloc), bytesUnit, heapSlack, heapPerCycle).slope = heapSlope
}

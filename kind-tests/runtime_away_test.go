//go:build kindtests

package kindtests

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke"
)

// gate is a TCP proxy before an API server.
type gate struct {
	t  testing.TB
	at string // host:port
	to string
	g  *run.Group

	mu     sync.Mutex
	l      net.Listener // nil while it is shut
	conns  map[net.Conn]bool
	silent chan struct{} // closed while it passes everything on
	manner manner
	came   int // connections that were accepted
}

// manner is what a gate does with a connection that it accepts.
type manner int

const (
	passes  manner = iota // it joins it with one to the API server
	closes                // it closes it at once, as some load balancers do that have nobody behind them
	keeps                 // it never says a word
	refuses               // it accepts none
)

func newGate(t testing.TB, access *rest.Config) (*gate, *rest.Config) {
	t.Helper()
	u, err := url.Parse(access.Host)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{t: t, at: "127.0.0.1:0", to: u.Host, g: run.NewGroup(context.Background()), conns: map[net.Conn]bool{}, silent: make(chan struct{})}
	close(g.silent)
	g.open()
	t.Cleanup(func() {
		g.speak()
		g.shut()
		g.g.Stop()
		if err := g.g.Wait(); err != nil {
			t.Error(err)
		}
	})
	c := rest.CopyConfig(access)
	c.Host, c.TLSClientConfig.ServerName = "https://"+g.at, u.Hostname()
	return g, c
}

// open listens, at the same address each time.
func (g *gate) open() {
	g.t.Helper()
	l, err := net.Listen("tcp", g.at)
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	g.l, g.at = l, l.Addr().String()
	g.mu.Unlock()
	g.g.Go("gate", func(context.Context) error {
		for {
			in, err := l.Accept()
			if err != nil {
				return nil // it is shut
			}
			if !g.joins(in) {
				continue
			}
			out, err := net.Dial("tcp", g.to)
			if err != nil {
				in.Close()
				continue
			}
			g.pass(in, out)
			g.pass(out, in)
		}
	})
}

// joins reports whether a connection is to reach the API server, and else does with it what the gate does.
func (g *gate) joins(in net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.came++
	switch g.manner {
	case closes:
		in.Close()
	case keeps:
		g.conns[in] = true
	}
	return g.manner == passes
}

// behave says what becomes of connections from now on, and resets those that there are.
func (g *gate) behave(m manner) {
	g.t.Helper()
	if m == refuses {
		g.shut()
		return
	}
	g.mu.Lock()
	g.manner = m
	g.resetLocked()
	shut := g.l == nil
	g.mu.Unlock()
	if shut {
		g.open()
	}
}

func (g *gate) accepted() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.came
}

// pass copies from one connection to the other until one ends.
func (g *gate) pass(from, to net.Conn) {
	g.mu.Lock()
	g.conns[from] = true
	g.mu.Unlock()
	g.g.Go("pass", func(context.Context) error {
		defer to.Close()
		defer from.Close()
		b := make([]byte, 32<<10)
		for {
			n, err := from.Read(b)
			g.mu.Lock()
			silent := g.silent
			g.mu.Unlock()
			<-silent
			if n > 0 {
				if _, err := to.Write(b[:n]); err != nil {
					return nil
				}
			}
			if err != nil {
				return nil
			}
		}
	})
}

// shut cuts all connections and refuses new ones, as a program does that is killed.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.l != nil {
		g.l.Close()
		g.l = nil
	}
	g.resetLocked()
}

func (g *gate) resetLocked() {
	for c := range g.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset
		}
		c.Close()
		delete(g.conns, c)
	}
}

// hush keeps everything and passes nothing on; speak ends that.
func (g *gate) hush() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.silent = make(chan struct{})
}

func (g *gate) speak() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.silent:
	default:
		close(g.silent)
	}
}

// perSecond bounds what a runtime asks of an API server that is away: two informers, each with a pause that grows, and no more.
const perSecond = 5

func testAway(ctx context.Context, t *testing.T, b *apiBench) {
	g, access := newGate(t, b.spoke)
	rt, w := b.ready(ctx, b.config(access)), session()
	b.startWorkload(ctx, rt, w)
	b.awaitState(ctx, rt, w.ID, spoke.WorkloadRunning)
	g.shut()
	var err error
	await(ctx, t, "List says that it knows nothing", func() bool { _, err = rt.List(ctx); return err != nil })
	if api.CodeOf(err) != api.CodeUnavailable {
		t.Errorf("List: %v (code %s)", err, api.CodeOf(err))
	}
	if _, err := rt.Capacity(ctx); err == nil {
		t.Error("Capacity is known while nothing is")
	}
	if err := rt.Ready(); err == nil {
		t.Error("it is ready while nothing is known")
	}
	if err := rt.Start(ctx, session()); api.CodeOf(err) != api.CodeUnavailable {
		t.Errorf("Start: %v", err)
	}
	if err := rt.Stop(ctx, w.ID, 0); err == nil {
		t.Error("Stop of what nobody knows of")
	}
	const watched = 5 * time.Second
	before, began := b.requests.count(), time.Now()
	await(ctx, t, "some time has passed", func() bool {
		if ws, err := rt.List(ctx); err == nil {
			t.Errorf("List = %v while the API server is away", ws)
		}
		return time.Since(began) >= watched
	})
	if asked := b.requests.count() - before; asked > perSecond*int(watched/time.Second) {
		t.Errorf("%d requests in %v to an API server that is away, want at most %d a second", asked, watched, perSecond)
	} else {
		t.Logf("%d requests in %v while the API server was away", asked, watched)
	}
	g.open()
	await(ctx, t, "the runtime knows again what runs", func() bool { return rt.Ready() == nil })
	if got := b.workload(ctx, rt, w.ID); got.State != spoke.WorkloadRunning {
		t.Errorf("after the API server came back: %+v", got)
	}
}

func testSilent(ctx context.Context, t *testing.T, b *apiBench) {
	g, access := newGate(t, b.spoke)
	rt := b.ready(ctx, b.config(access))
	g.hush()
	began := time.Now()
	if err := rt.Start(ctx, session()); api.CodeOf(err) != api.CodeUnavailable {
		t.Errorf("Start: %v", err)
	}
	if took := time.Since(began); took > 45*time.Second {
		t.Errorf("Start gave up after %v", took)
	}
	await(ctx, t, "List says that it knows nothing", func() bool { _, err := rt.List(ctx); return err != nil })
	g.speak()
	await(ctx, t, "the runtime knows again what runs", func() bool { return rt.Ready() == nil })
}

func testLost(ctx context.Context, t *testing.T, b *apiBench) {
	lost := map[string]int{}
	once := func(kind string, times int) {
		b.requests.mu.Lock()
		defer b.requests.mu.Unlock()
		b.requests.lose = func(q *http.Request) bool {
			if q.Method != http.MethodPost || !strings.HasSuffix(q.URL.Path, "/"+kind) || lost[kind] == times {
				return false
			}
			lost[kind]++
			return true
		}
	}
	rt := b.ready(ctx, b.config(b.Rest))
	w := session()
	once("pods", 2)
	b.startWorkload(ctx, rt, w)
	p := b.pod(ctx, w.ID)
	if _, _, uid, ok := rt.Pod(w.ID); !ok || uid != p.UID || lost["pods"] != 2 {
		t.Errorf("pod %s is %s (%v); %d answers were lost", p.UID, uid, ok, lost["pods"])
	}
	once("configmaps", 1)
	w = session()
	if err := rt.Start(ctx, w); api.CodeOf(err) != api.CodeUnavailable || lost["configmaps"] != 1 {
		t.Errorf("Start: %v; %d answers were lost", err, lost["configmaps"])
	}
	b.nothingLeft(ctx, w.ID)
}

//go:build kindtests

package kindtests

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/internal/testcluster"
)

// gate is a way to an API server that can be shut: then it refuses connections, as the machine of an API server that has crashed does.
type gate struct {
	t       testing.TB
	to      string
	address string // where it listens
	group   *run.Group

	mu       sync.Mutex
	listener net.Listener // nil: it is shut
	conns    map[net.Conn]bool
}

// newGate makes an open gate on loopback, which is shut when the test ends.
func newGate(t testing.TB, to string) *gate {
	t.Helper()
	g := &gate{t: t, to: to, address: "127.0.0.1:0", group: run.NewGroup(context.Background()), conns: map[net.Conn]bool{}}
	g.open()
	t.Cleanup(func() {
		g.shut()
		if err := g.group.Wait(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func (g *gate) open() {
	g.t.Helper()
	l, err := net.Listen("tcp", g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	g.listener, g.address = l, l.Addr().String()
	g.mu.Unlock()
	g.group.Go("gate", func(context.Context) error {
		for {
			in, err := l.Accept()
			if err != nil {
				return nil // shut
			}
			g.group.Go("way there", func(context.Context) error { g.pass(in); return nil })
		}
	})
}

// shut ends every connection and takes no new one.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener != nil {
		g.listener.Close()
		g.listener = nil
	}
	for c := range g.conns {
		c.Close()
	}
	clear(g.conns)
}

// pass carries a connection until one of its ends is closed.
func (g *gate) pass(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", g.to)
	if err != nil {
		return
	}
	defer out.Close()
	if !g.take(in, out) {
		return
	}
	g.group.Go("way back", func(context.Context) error {
		_, _ = io.Copy(in, out)
		in.Close()
		return nil
	})
	_, _ = io.Copy(out, in)
}

func (g *gate) take(conns ...net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range conns {
		g.conns[c] = true
	}
	return g.listener != nil
}

// throughGate writes an access to a cluster that goes through a gate.
func (w *federated) throughGate(c *testcluster.Cluster) (*gate, string) {
	w.t.Helper()
	config, err := clientcmd.LoadFromFile(c.Kubeconfig)
	w.must(err)
	at := config.Clusters[config.Contexts[config.CurrentContext].Cluster]
	server, err := url.Parse(at.Server)
	w.must(err)
	g := newGate(w.t, server.Host)
	at.Server, at.TLSServerName = "https://"+g.address, server.Hostname()
	file := w.Path(c.Name + ".kubeconfig")
	w.must(clientcmd.WriteToFile(*config, file))
	return g, file
}

// TestWithoutTheAPIServerSessionsGoOn takes the API server away from the spoke in a turn: the agent works on and its events arrive, the
// spoke says that it is not ready and why, nothing is deleted, and what waits for a pod gets one when the API server is back.
func TestWithoutTheAPIServerSessionsGoOn(t *testing.T) {
	w := federate(limited(t), t, 1)
	c := w.bed.Clusters[0]
	gate, access := w.throughGate(c)
	metrics := freePort(t, w.bed.HubAddress())
	w.outside(c, "--kubeconfig", access, "--metrics-listen", metrics)
	w.live(c)
	w.apply("counter", imageOfAgents, "small", nil)
	session, _ := w.signal("counter", "away", "count")
	w.said(session, "line 3")
	was := w.onlyPod(c, session)

	gate.shut()
	shut := time.Now()
	w.await("the spoke is not ready", func() (bool, error) {
		code, text := ask(w.ctx, "http://"+metrics+"/readyz")
		if code == http.StatusServiceUnavailable {
			t.Logf("not ready %v after the API server went away: %s", time.Since(shut).Round(time.Millisecond), text)
		}
		return code == http.StatusServiceUnavailable, nil
	})
	w.said(session, "line 20") // it goes on
	waits, _ := w.signal("counter", "waits", "hello")
	w.said(session, "done 1")
	if pods := w.pods(c, session); len(pods) != 1 || pods[0].UID != was.UID {
		t.Errorf("while nobody could delete it, the session has %d pods, want the one that it had", len(pods))
	}
	if pods := w.pods(c, waits); len(pods) != 0 {
		t.Errorf("a session has %d pods that nobody could make", len(pods))
	}
	gate.open()
	opened := time.Now()
	w.await("the spoke is ready", func() (bool, error) {
		code, _ := ask(w.ctx, "http://"+metrics+"/readyz")
		return code == http.StatusOK, nil
	})
	t.Logf("ready again %v after the API server came back", time.Since(opened).Round(time.Millisecond))
	w.said(waits, "done 1")
	t.Logf("the session that waited has said its last word after %v", time.Since(opened).Round(time.Millisecond))
	w.sleeps(c, session)
	w.sleeps(c, waits)
	w.once(session)
}

// ask gets a page.
func ask(ctx context.Context, page string) (code int, text string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return 0, err.Error()
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, 4<<10))
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(b)
}

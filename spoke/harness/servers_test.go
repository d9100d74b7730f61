package harness

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// TestAwaitServers waits for a server that begins to listen late, leaves those alone that the agent starts, and says who does not listen.
func TestAwaitServers(t *testing.T) {
	free := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	late, never := free(), free()
	h := &Harness{w: &harnessv1.Workload{McpServers: []*harnessv1.McpServer{{Name: "own", Command: []string{"serve"}}, {Name: "late", Url: "http://" + late}}}}
	g := run.NewGroup(t.Context())
	done := make(chan struct{})
	g.Go("wait", func(ctx context.Context) error {
		defer close(done)
		return h.awaitServers(ctx, 10*time.Second)
	})
	select {
	case <-done:
		t.Fatal("it did not wait: nobody listens yet")
	case <-time.After(3 * serverPause):
	}
	l, err := net.Listen("tcp", late)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := g.Wait(); err != nil {
		t.Errorf("it listens, and still: %v", err)
	}
	h.w.McpServers = append(h.w.McpServers, &harnessv1.McpServer{Name: "never", Url: "http://" + never})
	if err := h.awaitServers(t.Context(), 3*serverPause); err == nil || !strings.Contains(err.Error(), `"never" does not listen`) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody listens: %v", err)
	}
}

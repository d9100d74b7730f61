package transport_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"net"

	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"

	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport"
	"github.com/nave-dev/nave/transport/simnet"
)

// TestThousandReconnectsLeaveNothing: both ends have as many goroutines after 1,000 broken connections as after ten.
func TestThousandReconnectsLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(1)
		h := &fleetHub{boots: map[string]int{}}
		s, err := transport.NewServer(transport.ServerConfig{Attach: h.attach, Credentials: insecure.NewCredentials(), Identity: func(ctx context.Context) (string, bool) {
			p, _ := peer.FromContext(ctx)
			name, _, _ := strings.Cut(p.Addr.String(), "#")
			return name, true
		}})
		if err != nil {
			t.Fatal(err)
		}
		lis, err := n.Listen("hub")
		if err != nil {
			t.Fatal(err)
		}
		link, err := transport.NewLink(transport.LinkConfig{Credentials: insecure.NewCredentials(),
			Dial: func(ctx context.Context) (net.Conn, error) { return n.Dial(ctx, "spoke", "hub") }})
		if err != nil {
			t.Fatal(err)
		}
		g := run.NewGroup(t.Context())
		g.Go("serve", func(ctx context.Context) error { return s.Serve(ctx, lis) })
		g.Go("link", func(ctx context.Context) error { return link.Run(ctx, fleetSpoke{"spoke"}) })
		cycles := func(count int) int {
			t.Helper()
			for i := range count {
				time.Sleep(time.Second) // longer than the pause before a dial
				synctest.Wait()
				if h.linked() != 1 {
					t.Fatalf("cycle %d: no link", i)
				}
				if n.Break("spoke", "hub") == 0 {
					t.Fatalf("cycle %d: nothing to break", i)
				}
			}
			time.Sleep(time.Second)
			synctest.Wait()
			return runtime.NumGoroutine()
		}
		before := cycles(10)
		if after := cycles(1000); after > before {
			t.Errorf("%d goroutines after 1,000 reconnects, %d before", after, before)
		}
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

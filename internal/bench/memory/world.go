package memory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/transport/ziti"
)

const (
	flavor   = "small"
	patience = 60 * time.Second // bounds each wait; far above what one takes
)

// world is a hub with its overlay.
type world struct {
	*federation.Federation
	b        *measure.Bench
	hub      *federation.Process
	client   *client.Client
	address  string // of the API
	profiles string // where the hub serves its own
}

// with runs a scenario beside a hub.
func with(ctx context.Context, b *measure.Bench, scenario func(context.Context, *world) error) (err error) {
	dir, err := b.Subdir("fed")
	if err != nil {
		return err
	}
	ziti.RouteLog(slog.New(slog.DiscardHandler)) // also of what is done before a node is opened
	w := &world{b: b}
	if w.Federation, err = federation.New(federation.Config{Bin: b.Bin, Dir: dir}); err != nil {
		return err
	}
	if err = w.up(ctx); err == nil {
		err = scenario(ctx, w)
	}
	if w.client != nil {
		w.client.Close()
	}
	return errors.Join(err, w.Stop())
}

func (w *world) up(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if w.profiles, err = freePort(); err != nil {
		return err
	}
	if w.hub, err = w.StartHub(ctx, "--profiling-listen", w.profiles); err != nil {
		return err
	}
	contexts, err := client.LoadContexts(w.Path("config.yaml"))
	if err != nil {
		return err
	}
	here, err := contexts.Find("")
	if err != nil {
		return err
	}
	w.address = here.Address
	if w.client, err = client.New(here.Config()); err != nil {
		return err
	}
	_, err = w.client.System.Info(ctx, &navev1.InfoRequest{}) // brings the authority that join tokens pin
	return err
}

// freePort is a loopback address that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// live waits until a cluster is heard.
func (w *world) live(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return w.Await(ctx, fmt.Sprintf("cluster %s is live", name), func() (bool, error) {
		c, err := w.client.Clusters.Get(ctx, &navev1.GetRequest{Name: name})
		return c.GetStatus().GetHealth() == string(api.HealthLive), err
	})
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

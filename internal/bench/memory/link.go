package memory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/internal/bench/rig"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport/ziti"
)

// enroll registers a cluster and enrolls as its spoke.
func (w world) enroll(ctx context.Context, name string) (rig.Member, error) {
	res, err := w.Client.Clusters.Register(ctx, &navev1.RegisterClusterRequest{Cluster: &navev1.Cluster{Meta: &navev1.Meta{Name: name}}, RequestId: client.NewKey()})
	if err != nil {
		return rig.Member{}, err
	}
	return rig.Enroll(ctx, client.NewJoinToken(w.Address, w.Client.Authority(), api.ClusterID(res.GetCluster().GetMeta().GetId()), res.GetJoinToken()))
}

// enrollers are how many clusters are enrolled at a time.
const enrollers = 2

// enrollAll enrolls n clusters.
func (w world) enrollAll(ctx context.Context, n int) ([]rig.Member, error) {
	var (
		next atomic.Int64
		out  = make([]rig.Member, n)
		g    = run.NewGroup(ctx)
	)
	for range enrollers {
		g.Go("enroll", func(ctx context.Context) (err error) {
			for i := int(next.Add(1)) - 1; i < n && err == nil; i = int(next.Add(1)) - 1 {
				out[i], err = w.enroll(ctx, fmt.Sprintf("idle-%d", i))
			}
			return err
		})
	}
	return out, g.Wait()
}

// counted counts what goes through connections.
type counted struct {
	net.Conn
	bytes *atomic.Int64
}

// Read implements [net.Conn].
func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

// Write implements [net.Conn].
func (c counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

// idle is a spoke that has nothing to say.
type idle struct {
	number    int
	connected func() // called once
	lost      *atomic.Int64
}

// Hello implements [transport.Handler].
func (h *idle) Hello(context.Context) (api.Hello, error) {
	id := fmt.Sprintf("%032x", h.number)
	return api.Hello{ProtocolMin: api.LinkProtocolMin, ProtocolMax: api.LinkProtocolMax, Version: "bench", Boot: id, Journal: id, Fingerprint: id,
		Capacity: api.Capacity{Runtime: "process", Flavors: []api.FlavorCapacity{{Flavor: rig.Flavor, Total: 8}}}}, nil
}

// Connected implements [transport.Handler].
func (h *idle) Connected(context.Context, api.Welcome) error { h.connected(); return nil }

// Receive implements [transport.Handler].
func (h *idle) Receive(context.Context, api.HubMessage) error { return nil }

// Renewed implements [transport.Handler].
func (h *idle) Renewed(context.Context, time.Duration) error { return nil }

// Disconnected implements [transport.Handler].
func (h *idle) Disconnected(context.Context, error) { h.lost.Add(1) }

// links are open links. They belong to the scenario's goroutine.
type links struct {
	members []rig.Member // the first open of them have a link
	open    int
	bytes   atomic.Int64 // through all of them, in both directions
	lost    atomic.Int64 // how often one ended
	g       *run.Group
	nodes   []*ziti.Node
}

// to opens links until there are n.
func (l *links) to(ctx context.Context, n int) error {
	for ; l.open < n; l.open++ {
		if err := l.add(ctx, l.members[l.open]); err != nil {
			return fmt.Errorf("link %d: %w", l.open, err)
		}
	}
	return nil
}

// add opens a link and waits until the hub has welcomed it.
func (l *links) add(ctx context.Context, m rig.Member) error {
	node, link, err := m.Link(slog.New(slog.DiscardHandler), func(c net.Conn) net.Conn { return counted{c, &l.bytes} })
	if err != nil {
		return err
	}
	l.nodes = append(l.nodes, node)
	welcomed := make(chan struct{})
	h := &idle{number: l.open + 1, connected: sync.OnceFunc(func() { close(welcomed) }), lost: &l.lost}
	l.g.Go("link", func(ctx context.Context) error { return link.Run(ctx, h) })
	ctx, cancel := context.WithTimeoutCause(ctx, rig.Patience, errors.New("the hub did not welcome it in time"))
	defer cancel()
	select {
	case <-welcomed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// close ends all of them.
func (l *links) close() error {
	l.g.Stop()
	err := l.g.Wait()
	for _, n := range l.nodes {
		err = errors.Join(err, n.Close())
	}
	return err
}

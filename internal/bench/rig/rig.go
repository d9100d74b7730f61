package rig

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/transport/ziti"
)

const (
	Flavor   = "small"          // what spokes offer and agents want
	Patience = 60 * time.Second // bounds each wait; far above what one takes
)

// Rig is a hub with its overlay.
type Rig struct {
	*federation.Federation
	Bench    *measure.Bench
	Hub      *federation.Process
	Client   *client.Client
	Address  string // of the API
	Profiles string // where the hub serves its own

	profiles map[string]string // where programs serve theirs, by "hub" and the spokes' names
	conns    []*grpc.ClientConn
	token    string
}

// With runs a scenario beside a hub.
func With(ctx context.Context, b *measure.Bench, scenario func(context.Context, *Rig) error) (err error) {
	dir, err := b.Subdir("fed")
	if err != nil {
		return err
	}
	ziti.RouteLog(slog.New(slog.DiscardHandler)) // also of what is done before a node is opened
	r := &Rig{Bench: b, profiles: map[string]string{}}
	if r.Federation, err = federation.New(federation.Config{Bin: b.Bin, Dir: dir}); err != nil {
		return err
	}
	if err = r.up(ctx); err == nil {
		err = scenario(ctx, r)
	}
	for _, c := range r.conns {
		c.Close()
	}
	if r.Client != nil {
		r.Client.Close()
	}
	return errors.Join(err, r.Stop())
}

func (r *Rig) up(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	if r.Profiles, err = FreePort(); err != nil {
		return err
	}
	r.profiles["hub"] = r.Profiles
	if r.Hub, err = r.StartHub(ctx, "--profiling-listen", r.Profiles); err != nil {
		return err
	}
	contexts, err := client.LoadContexts(r.Path("config.yaml"))
	if err != nil {
		return err
	}
	here, err := contexts.Find("")
	if err != nil {
		return err
	}
	r.Address = here.Address
	if r.Client, err = client.New(here.Config()); err != nil {
		return err
	}
	_, err = r.Client.System.Info(ctx, &navev1.InfoRequest{}) // brings the authority that join tokens pin
	return err
}

// FreePort is a loopback address that nobody listens on.
func FreePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// Beside is [Rig.StartSpoke] with profiles, for a load; it ends the spoke and its workloads.
func (r *Rig) Beside(ctx context.Context, name string, slots int, load func(context.Context) error) error {
	address, err := FreePort()
	if err != nil {
		return err
	}
	p, err := r.StartSpoke(ctx, name, slots, "--profiling-listen", address)
	if err != nil {
		return err
	}
	r.profiles[name] = address
	err = load(ctx)
	delete(r.profiles, name)
	return errors.Join(err, r.EndSpoke(name, p))
}

// StartSpoke lets a cluster join and waits until it is heard. Its workloads outlive the spoke: [Rig.EndSpoke] ends both.
func (r *Rig) StartSpoke(ctx context.Context, name string, slots int, args ...string) (*federation.Process, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	if err := r.Join(ctx, name); err != nil {
		return nil, err
	}
	p, err := r.Federation.StartSpoke(name, append(args, "--flavor", fmt.Sprintf("%s=%d", Flavor, slots))...)
	if err != nil {
		return nil, err
	}
	err = r.Await(ctx, fmt.Sprintf("cluster %s is live", name), func() (bool, error) {
		c, err := r.Client.Clusters.Get(ctx, &navev1.GetRequest{Name: name})
		return c.GetStatus().GetHealth() == string(api.HealthLive), err
	})
	if err != nil {
		return nil, errors.Join(err, r.EndSpoke(name, p))
	}
	return p, nil
}

// EndSpoke ends a spoke and its workloads.
func (r *Rig) EndSpoke(name string, p *federation.Process) error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	err := p.End(ctx)
	for _, left := range federation.Naming(r.Path(name)) {
		left.Kill()
	}
	return err
}

// Pause waits.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

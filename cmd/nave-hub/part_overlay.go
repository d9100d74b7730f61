package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/transport/ziti"
	"github.com/nave-dev/nave/transport/ziti/local"
)

// overlay is where the network comes from.
type overlay interface {
	// Run keeps it until ctx ends.
	Run(ctx context.Context) error
	// Wait returns how to reach and to administer it when it serves.
	Wait(ctx context.Context) (local.Endpoint, error)
	// Serving says what of it does not serve, as far as this program knows. It does not block.
	Serving() error
	// Stop ends what Run has started.
	Stop(ctx context.Context) error
}

// newOverlay returns the embedded overlay, or the one whose controller is named.
func newOverlay(c config, log *slog.Logger, say func(string, ...any)) (overlay, error) {
	o := c.Overlay
	if o.Controller != "" {
		ep, err := o.endpoint()
		return elsewhere{ep}, err
	}
	binary, err := local.FindBinary(o.Program)
	if err != nil {
		return nil, &api.Error{Code: api.CodeInvalid, Field: "overlay.program", Err: err}
	}
	ip, err := netip.ParseAddr(o.Listen)
	if err != nil {
		return nil, api.Invalid("overlay.listen", "%w", err)
	}
	ov, err := local.New(local.Config{Dir: filepath.Join(c.DataDir, "overlay"), Binary: binary, Listen: ip, Advertise: c.Overlay.Advertise, Port: c.Overlay.Port, Log: log, Progress: func(line string) { say("%s", line) }})
	if err != nil {
		return nil, err
	}
	return ours{ov, say}, nil
}

// endpoint reads what the configuration names of a controller.
func (o overlayConfig) endpoint() (local.Endpoint, error) {
	password, err := o.Password.read("overlay")
	if err != nil {
		return local.Endpoint{}, err
	}
	ca, err := os.ReadFile(o.CAFile)
	if err != nil {
		return local.Endpoint{}, api.Invalid("overlay.ca_file", "%w", err)
	}
	return local.Endpoint{Controller: o.Controller, User: o.Username, Password: password, CA: ca}, nil
}

// elsewhere is an overlay that others run.
type elsewhere struct{ endpoint local.Endpoint }

func (e elsewhere) Run(ctx context.Context) error { <-ctx.Done(); return nil }

func (e elsewhere) Wait(context.Context) (local.Endpoint, error) { return e.endpoint, nil }

func (e elsewhere) Serving() error { return nil }

func (e elsewhere) Stop(context.Context) error { return nil }

// ours is the embedded overlay.
type ours struct {
	*local.Overlay
	say func(string, ...any)
}

func (o ours) Stop(ctx context.Context) error {
	o.say("stopping the overlay")
	return o.Overlay.Stop(ctx)
}

// network is the hub's side of the overlay.
type network struct {
	manager  *ziti.Manager
	node     *ziti.Node
	endpoint local.Endpoint
}

// openNetwork waits for the overlay, makes what hub and spokes need in it, and opens the hub's own node.
func openNetwork(ctx context.Context, p *program) (*network, error) {
	ep, err := p.overlay.Wait(ctx)
	if err != nil {
		return nil, err
	}
	var m *ziti.Manager
	if err := reach(ctx, p.log, "overlay", func(ctx context.Context) (err error) {
		if m, err = login(ctx, ep, p.log); err != nil {
			return err
		}
		return m.EnsureNetwork(ctx)
	}); err != nil {
		return nil, err
	}
	identity, err := p.dir.Identity()
	if err != nil {
		return nil, err
	}
	if identity == nil {
		if identity, err = p.enroll(ctx, m, ep); err != nil {
			return nil, err
		}
	}
	node, err := ziti.OpenNode(ziti.NodeConfig{Identity: identity, Log: p.log})
	if err != nil {
		return nil, err
	}
	return &network{m, node, ep}, nil
}

func login(ctx context.Context, ep local.Endpoint, log *slog.Logger) (*ziti.Manager, error) {
	return ziti.Login(ctx, ziti.ManagerConfig{Controller: ep.Controller, User: ep.User, Password: ep.Password, CA: ep.CA, Log: log})
}

// enroll makes the hub's own identity.
func (p *program) enroll(ctx context.Context, m *ziti.Manager, ep local.Endpoint) ([]byte, error) {
	_, token, err := m.CreateIdentity(ctx, ziti.IdentitySpec{Name: p.cfg.Overlay.Identity, Roles: []string{ziti.RoleHub}, Replace: true})
	if err != nil {
		return nil, err
	}
	key, err := ziti.NewKey()
	if err != nil {
		return nil, err
	}
	identity, err := ziti.Enroll(ctx, ziti.Enrollment{Token: token, Key: key, CA: ep.CA, Controllers: []string{ep.Controller}})
	if err != nil {
		return nil, fmt.Errorf("enroll the hub as %s: %w", p.cfg.Overlay.Identity, err)
	}
	return identity, p.dir.SaveIdentity(identity)
}

// CreateIdentity implements hub.Overlay.
func (n *network) CreateIdentity(ctx context.Context, name string) (id, token string, err error) {
	return n.manager.CreateIdentity(ctx, ziti.IdentitySpec{Name: name, Roles: []string{ziti.RoleSpoke}, Replace: true})
}

// DeleteIdentity implements hub.Overlay. The overlay lets connections of a deleted identity live on, so they are cut here.
func (n *network) DeleteIdentity(ctx context.Context, id string) error {
	if err := n.manager.DeleteIdentity(ctx, id); err != nil {
		return err
	}
	n.node.Disconnect(id)
	return nil
}

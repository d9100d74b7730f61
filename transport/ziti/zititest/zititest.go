package zititest

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nave-dev/nave/internal/realpart"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport/ziti"
	"github.com/nave-dev/nave/transport/ziti/local"
)

// Network is a running overlay with Nave's service and policies in it.
type Network struct {
	local.Endpoint
	Dir     string        // of the overlay, for local.Config
	Manager *ziti.Manager // logged in

	t    testing.TB
	cfg  local.Config
	drop func() // ends the supervision
}

// Binary returns the path of nave-overlay, or records that the test did not run and skips it.
func Binary(t testing.TB) string {
	t.Helper()
	return realpart.Path(t, realpart.NaveOverlay)
}

// Start returns a network that serves. It is stopped at the end of the test.
func Start(t testing.TB) *Network {
	t.Helper()
	return StartConfig(t, local.Config{})
}

// StartConfig is Start with another configuration than the default one. Dir, Binary and Log are filled in.
func StartConfig(t testing.TB, cfg local.Config) *Network {
	t.Helper()
	n := &Network{Dir: filepath.Join(t.TempDir(), "overlay"), t: t, cfg: cfg}
	n.cfg.Dir = n.Dir
	n.Supervise()
	m, err := ziti.Login(Context(t, 30*time.Second), ziti.ManagerConfig{
		Controller: n.Controller, User: n.User, Password: n.Password, CA: n.CA, Log: Log(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.EnsureNetwork(Context(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	n.Manager = m
	return n
}

// Supervise starts what is missing, as at the start of a test, and restarts what dies from now on.
func (n *Network) Supervise() {
	n.t.Helper()
	n.Endpoint, n.drop = supervised(n.t, Local(n.t, n.cfg))
}

// Unsupervise leaves the processes alone: they live on for the grace of the configuration, and what dies stays dead.
func (n *Network) Unsupervise() {
	n.t.Helper()
	n.drop()
}

// Kill ends a process of the network by SIGKILL: controller, r1 or r2.
func (n *Network) Kill(name string) {
	n.t.Helper()
	n.Signal(name, syscall.SIGKILL)
}

// Signal sends a signal to a process of the network.
func (n *Network) Signal(name string, sig syscall.Signal) {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.Dir, name, "run.lock"))
	if err != nil {
		n.t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil {
		n.t.Fatal(err)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		n.t.Fatal(err)
	}
}

// Local returns the overlay of cfg, with program and log filled in, and ends its processes at the end of the test.
func Local(t testing.TB, cfg local.Config) *local.Overlay {
	t.Helper()
	cfg.Binary, cfg.Log = Binary(t), Log(t)
	o, err := local.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := o.Stop(ctx); err != nil {
			t.Errorf("stop overlay: %v", err)
		}
	})
	return o
}

// Run runs o until the end of the test and returns when it serves.
func Run(t testing.TB, o *local.Overlay) local.Endpoint {
	t.Helper()
	ep, _ := supervised(t, o)
	return ep
}

// supervised is Run, and returns what ends it before the test does.
func supervised(t testing.TB, o *local.Overlay) (local.Endpoint, func()) {
	t.Helper()
	g := run.NewGroup(context.Background())
	g.Go("overlay", o.Run)
	drop := sync.OnceFunc(func() {
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(drop)
	ep, err := o.Wait(Context(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return ep, drop
}

// Identity enrolls a new identity and returns its id and what ziti.OpenNode takes.
func (n *Network) Identity(name string, roles ...string) (id string, identity []byte) {
	n.t.Helper()
	ctx := Context(n.t, time.Minute)
	id, token, err := n.Manager.CreateIdentity(ctx, ziti.IdentitySpec{Name: name, Roles: roles})
	if err != nil {
		n.t.Fatal(err)
	}
	key, err := ziti.NewKey()
	if err != nil {
		n.t.Fatal(err)
	}
	identity, err = ziti.Enroll(ctx, ziti.Enrollment{Token: token, Key: key, CA: n.CA})
	if err != nil {
		n.t.Fatal(err)
	}
	return id, identity
}

// Node enrolls a new identity and opens its node, which is closed at the end of the test.
func (n *Network) Node(name string, roles ...string) *ziti.Node {
	n.t.Helper()
	_, identity := n.Identity(name, roles...)
	node, err := ziti.OpenNode(ziti.NodeConfig{Identity: identity, Log: Log(n.t)})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		if err := node.Close(); err != nil {
			n.t.Error(err)
		}
	})
	return node
}

// Context returns a context of the test that ends after d at the latest.
func Context(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// Log returns a logger into the output of the test binary. Not into the test's own: the SDK may log after its end.
func Log(t testing.TB) *slog.Logger {
	name := strings.ReplaceAll(t.Name(), " ", "_")
	return slog.New(slog.NewTextHandler(os.Stderr, nil)).With("test", name)
}

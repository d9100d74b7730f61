package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/boottime"
	"github.com/nave-dev/nave/internal/unixsocket"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/door"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
	"github.com/nave-dev/nave/spoke/kube"
	"github.com/nave-dev/nave/spoke/kube/identity"
	"github.com/nave-dev/nave/spoke/process"
	"github.com/nave-dev/nave/transport"
	"github.com/nave-dev/nave/transport/ziti"
)

// wire makes the parts that the options name. It is the only place of the program that knows which adapters there are.
func wire(ctx context.Context, o options, log *slog.Logger) (parts, error) {
	m, err := join(ctx, o.DataDir, o.JoinToken, o.ForceEnroll, func(format string, args ...any) { log.Info(fmt.Sprintf(format, args...)) })
	if err != nil {
		return parts{}, err
	}
	log.Info("member of the federation", "cluster", m.Cluster, "name", m.Name)
	p := parts{}
	link, err := p.wireLink(m, log)
	if err != nil {
		return parts{}, err
	}
	if o.Runtime == asPods {
		return p, p.wirePods(o, m, link, log)
	}
	return p, p.wireProcesses(o, m, link, log)
}

// wireProcesses makes the runtime of local processes and the door that their harnesses connect to.
func (p *parts) wireProcesses(o options, m *membership, hub *transport.Link, log *slog.Logger) error {
	socket, err := socketPath(o.DataDir)
	if err != nil {
		return err
	}
	rt, err := process.New(process.Config{Dir: filepath.Join(o.DataDir, "process"), Harness: o.Harness, Socket: socket, Flavors: o.Flavors,
		Cluster: func() string { return string(m.Cluster) }, Log: log, Fates: hub.Fates, TidyEvery: o.TidyEvery})
	if err != nil {
		return err
	}
	d, err := door.New(door.Config{Socket: socket, Verify: rt.Verify, Vault: hub, Messenger: hub, Clock: boottime.Now, Log: log})
	if err != nil {
		return err
	}
	p.Runtime, p.Door = rt, d
	p.Background = append(p.Background, rt.Run, rt.Tidy)
	return nil
}

// wirePods makes the runtime of pods and the door that their harnesses connect to from other machines.
func (p *parts) wirePods(o options, m *membership, hub *transport.Link, log *slog.Logger) error {
	access, namespace, err := o.access()
	if err != nil {
		return err
	}
	manage, err := o.managing(access, namespace, m.Cluster, log)
	if err != nil {
		return err
	}
	authority, err := door.OpenAuthority(filepath.Join(o.DataDir, "authority"))
	if err != nil {
		return err
	}
	config := kube.Config{Rest: access, Settings: o.Settings, Authority: authority.PEM(), Cluster: func() string { return string(m.Cluster) },
		Namespace: namespace, Log: log, Fates: hub.Fates, TidyEvery: o.TidyEvery}
	if manage != nil {
		config.Tenant = manage.Make
		p.Background = append(p.Background, manage.Run)
	}
	rt, err := kube.New(config)
	if err != nil {
		return err
	}
	verifier, err := identity.New(identity.Config{Rest: access, Audience: harnessv1.Audience, Pod: podsOf(rt), Complete: rt.Ready,
		ServiceAccount: o.Settings.Pods.ServiceAccount, Log: log})
	if err != nil {
		return err
	}
	d, err := door.New(door.Config{Remote: &door.Remote{Listen: o.DoorListen, Certificate: authority.Certificate, Verify: verifier.Verify, Describe: rt.Describe},
		Vault: hub, Messenger: hub, Clock: boottime.Now, Log: log})
	if err != nil {
		return err
	}
	p.Runtime, p.Door, p.Ready = rt, d, rt.Ready
	p.Background = append(p.Background, rt.Run)
	return nil
}

// podsOf asks a runtime for a pod by the name that a token claims.
func podsOf(rt *kube.Runtime) func(string) (namespace, uid string, ok bool) {
	return func(name string) (string, string, bool) {
		id, err := spoke.ParseWorkloadID(name)
		if err != nil {
			return "", "", false
		}
		namespace, _, uid, ok := rt.Pod(id)
		return namespace, string(uid), ok
	}
}

// socketPath is where harnesses find the spoke: the same over restarts, since they outlive it.
func socketPath(dataDir string) (string, error) {
	path := filepath.Join(dataDir, "run", "door.sock")
	if len(path) > unixsocket.MaxPath {
		return "", api.Invalid("--data-dir", "%s is too long: a unix socket below it would have %d bytes, at most %d work", dataDir, len(path), unixsocket.MaxPath)
	}
	return path, os.MkdirAll(filepath.Dir(path), 0o700)
}

// wireLink makes the link to the hub over the overlay, and returns it as the way of checkpoints and of signals of sessions. The hub is believed by the
// certificate that the overlay enrolled.
func (p *parts) wireLink(m *membership, log *slog.Logger) (*transport.Link, error) {
	node, err := ziti.OpenNode(ziti.NodeConfig{Identity: m.identity, Log: log})
	if err != nil {
		return nil, err
	}
	link, err := transport.NewLink(transport.LinkConfig{
		Dial:        func(ctx context.Context) (net.Conn, error) { return node.Dial(ctx, m.Service) },
		Credentials: ziti.ClientCredentials(node, ziti.AllowIDs(m.HubIdentities...)),
		Now:         boottime.Now,
		Log:         log,
	})
	if err != nil {
		return nil, err
	}
	p.Link = hubLink{link, m, log}
	p.Background = append(p.Background, func(ctx context.Context) error {
		<-ctx.Done()
		return node.Close()
	})
	return link, nil
}

// hubLink is the transport's link as the spoke's port.
type hubLink struct {
	*transport.Link
	m   *membership
	log *slog.Logger
}

func (l hubLink) Run(ctx context.Context, h spoke.LinkHandler) error {
	return l.Link.Run(ctx, &removed{LinkHandler: h, m: l.m, log: l.log})
}

// removed tells a person once when the hub does not take this spoke any more: the link itself goes on trying, since only the
// hub knows for how long.
type removed struct {
	spoke.LinkHandler
	m    *membership
	log  *slog.Logger
	told bool // used from the link's goroutine alone
}

// Connected implements transport.Handler.
func (r *removed) Connected(ctx context.Context, w api.Welcome) error {
	r.told = false
	return r.LinkHandler.Connected(ctx, w)
}

// Disconnected implements transport.Handler.
func (r *removed) Disconnected(ctx context.Context, err error) {
	if api.CodeOf(err) == api.CodeDenied && !r.told {
		r.told = true
		r.log.Error("the hub does not take this spoke any more: its cluster was removed, or another spoke has taken it over; "+
			"ask an administrator for a join token (nave clusters rejoin, or register), and start with it and --force-enroll, or in another directory",
			"cluster", r.m.Name, "cluster_id", r.m.Cluster, "error", err)
	}
	r.LinkHandler.Disconnected(ctx, err)
}

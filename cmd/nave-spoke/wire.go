package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/door"
	"github.com/nave-dev/nave/spoke/process"
	"github.com/nave-dev/nave/transport"
	"github.com/nave-dev/nave/transport/ziti"
)

// wire makes the parts that the options name. It is the only place of the program that knows which adapters there are.
func wire(ctx context.Context, o options, log *slog.Logger) (parts, error) {
	m, err := join(ctx, o.DataDir, o.JoinToken, func(format string, args ...any) { log.Info(fmt.Sprintf(format, args...)) })
	if err != nil {
		return parts{}, err
	}
	log.Info("member of the federation", "cluster", m.Cluster, "name", m.Name)
	p := parts{}
	if err := p.wireRuntime(o, m, log); err != nil {
		return parts{}, err
	}
	return p, p.wireLink(m, log)
}

// wireRuntime makes the runtime and the door that its workloads' harnesses connect to.
func (p *parts) wireRuntime(o options, m *membership, log *slog.Logger) error {
	socket, err := socketPath(o.DataDir)
	if err != nil {
		return err
	}
	rt, err := process.New(process.Config{Dir: filepath.Join(o.DataDir, "process"), Harness: o.Harness, Socket: socket, Flavors: o.Flavors,
		Cluster: func() string { return string(m.Cluster) }, Log: log})
	if err != nil {
		return err
	}
	d, err := door.New(door.Config{Socket: socket, Verify: rt.Verify, Log: log})
	if err != nil {
		return err
	}
	p.Runtime, p.Door = rt, d
	p.Background = append(p.Background, rt.Run)
	return nil
}

// maxSocket is the longest path that a unix socket can have.
const maxSocket = 107

// socketPath is where harnesses find the spoke: the same over restarts, since they outlive it.
func socketPath(dataDir string) (string, error) {
	path := filepath.Join(dataDir, "run", "door.sock")
	if len(path) > maxSocket {
		return "", api.Invalid("--data-dir", "%s is too long: a unix socket below it would have %d bytes, at most %d work", dataDir, len(path), maxSocket)
	}
	return path, os.MkdirAll(filepath.Dir(path), 0o700)
}

// wireLink makes the link to the hub over the overlay. The hub is believed by the certificate that the overlay enrolled.
func (p *parts) wireLink(m *membership, log *slog.Logger) error {
	node, err := ziti.OpenNode(ziti.NodeConfig{Identity: m.identity, Log: log})
	if err != nil {
		return err
	}
	link, err := transport.NewLink(transport.LinkConfig{
		Dial:        func(ctx context.Context) (net.Conn, error) { return node.Dial(ctx, m.Service) },
		Credentials: ziti.ClientCredentials(node, ziti.AllowIDs(m.HubIdentities...)),
		Log:         log,
	})
	if err != nil {
		return err
	}
	p.Link = hubLink{link}
	p.Background = append(p.Background, func(ctx context.Context) error {
		<-ctx.Done()
		return node.Close()
	})
	return nil
}

// hubLink is the transport's link as the spoke's port.
type hubLink struct{ *transport.Link }

func (l hubLink) Run(ctx context.Context, h spoke.LinkHandler) error { return l.Link.Run(ctx, h) }

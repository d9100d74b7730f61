package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/archive"
	"github.com/nave-dev/nave/hub/bucket"
	"github.com/nave-dev/nave/hub/dev"
	"github.com/nave-dev/nave/hub/rpc"
	"github.com/nave-dev/nave/hub/store"
	"github.com/nave-dev/nave/hub/store/embedded"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/internal/version"
	"github.com/nave-dev/nave/transport"
	"github.com/nave-dev/nave/transport/ziti"
	"github.com/nave-dev/nave/transport/ziti/local"
)

// program is the hub with its parts.
type program struct {
	dir     *dev.Directory
	log     *slog.Logger
	say     func(format string, args ...any)
	doors   *doors
	overlay *local.Overlay
}

// run starts the parts, the slow overlay beside the others, and serves until ctx ends or a part fails.
func (p *program) run(ctx context.Context, ready func(token string, ca []byte) error) error {
	g := run.NewGroup(ctx)
	g.Go("overlay", p.overlay.Run)
	g.Go("hub", func(ctx context.Context) error { return p.serve(ctx, ready) })
	return g.Wait()
}

func (p *program) serve(ctx context.Context, ready func(token string, ca []byte) error) error {
	etcd, err := embedded.Start(ctx, embedded.Config{Dir: p.dir.Join("etcd"), Log: p.log})
	if err != nil {
		return err
	}
	defer etcd.Close()
	st, err := store.Open(ctx, store.Config{Client: etcd.Client(), Codec: navev1.Codec{}})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.dir.Join("archive"), 0o700); err != nil {
		return err
	}
	arch, err := archive.Open(ctx, archive.Config{File: p.dir.Join("archive", "nave.db")})
	if err != nil {
		return err
	}
	defer arch.Close()
	objects, err := bucket.OpenDirectory(p.dir.Join("bucket"))
	if err != nil {
		return err
	}
	defer objects.Close()
	p.say("store, archive and bucket are open")

	catalog, err := hub.NewCatalog(hub.CatalogConfig{Store: st, NewID: newID[api.ObjectID]})
	if err != nil {
		return err
	}
	metrics := prometheus.NewRegistry()
	brain, err := hub.New(hub.Config{Shards: st, Archive: arch, Reader: arch, Clusters: st, Leases: st, Bucket: objects, Resolver: catalog, Log: p.log, Metrics: metrics})
	if err != nil {
		return err
	}
	token, err := p.admin(ctx, st)
	if err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(p.doors.http.Addr().String())
	tlsConfig, ca, err := p.dir.ServerTLS(time.Now(), host)
	if err != nil {
		return err
	}

	g := run.NewGroup(ctx)
	g.Go("shards", brain.Run)
	g.Go("etcd", func(ctx context.Context) error {
		select {
		case err := <-etcd.Failed():
			return fmt.Errorf("etcd ended: %w", err)
		case <-ctx.Done():
			return nil
		}
	})
	g.Go("doors", func(ctx context.Context) error {
		nw, err := p.network(ctx)
		if err != nil {
			return err
		}
		defer nw.node.Close()
		fleet, err := hub.NewFleet(hub.FleetConfig{Store: st, Overlay: nw, Status: brain.Status, Sessions: brain.Counts, NewID: newID[api.ClusterID], Service: ziti.HubService,
			HubIdentities: func() []string { return []string{nw.node.ID()} }, Authority: nw.endpoint.CA, Controllers: []string{nw.endpoint.Controller}, Log: p.log})
		if err != nil {
			return err
		}
		auth, err := hub.NewAuthenticator(st, time.Now)
		if err != nil {
			return err
		}
		server, err := rpc.New(rpc.Config{Catalog: catalog, Fleet: fleet, Sessions: brain, Intents: brain, History: arch, Payloads: objects, Auth: auth, Version: version.Version, Log: p.log, Metrics: metrics,
			Ready: func() map[string]error { return map[string]error{"shards": brain.Ready()} }})
		if err != nil {
			return err
		}
		return p.open(ctx, brain, server, nw, tlsConfig, func() error { return ready(token, ca) })
	})
	return g.Wait()
}

// open serves the links and the API, and says ready when the first request would be answered.
func (p *program) open(ctx context.Context, brain *hub.Hub, server *rpc.Server, nw *network, tlsConfig *tls.Config, ready func() error) error {
	links, err := transport.NewServer(transport.ServerConfig{Credentials: ziti.ServerCredentials(nw.node), Identity: ziti.PeerIdentity, Log: p.log,
		Attach: func(ctx context.Context, id string, hello api.Hello) (transport.Attachment, api.Welcome, error) {
			a, w, err := brain.Attach(ctx, id, hello)
			if err != nil {
				return nil, w, err
			}
			return a, w, nil
		}})
	if err != nil {
		return err
	}
	lis, err := nw.node.Listen(ctx, ziti.HubService)
	if err != nil {
		return err
	}
	httpServer := &http.Server{Handler: server.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug)}
	grpcServer := server.GRPC(grpc.Creds(credentials.NewTLS(tlsConfig)))
	g := run.NewGroup(ctx)
	g.Go("links", func(ctx context.Context) error { return links.Serve(ctx, lis) })
	g.Go("http", func(context.Context) error {
		if err := httpServer.Serve(tls.NewListener(p.doors.http, tlsConfig)); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go("grpc", func(context.Context) error { return grpcServer.Serve(p.doors.grpc) })
	g.Go("stop", func(ctx context.Context) error {
		<-ctx.Done()
		server.Drain()
		within, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		grpcServer.Stop()
		return httpServer.Shutdown(within)
	})
	g.Go("ready", func(ctx context.Context) error {
		for brain.Ready() != nil {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(10 * time.Millisecond):
			}
		}
		return ready()
	})
	return g.Wait()
}

// admin makes sure that the first administrator's token is known to the store.
func (p *program) admin(ctx context.Context, st *store.Store) (string, error) {
	token, err := p.dir.AdminToken()
	if err != nil {
		return "", err
	}
	return token, st.PutCredential(ctx, sha256.Sum256([]byte(token)), hub.Credential{Org: api.DefaultOrg, Subject: "admin", Role: hub.RoleAdmin})
}

// network is the hub's side of the overlay.
type network struct {
	manager  *ziti.Manager
	node     *ziti.Node
	endpoint local.Endpoint
}

// network waits for the overlay, makes what hub and spokes need in it, and opens the hub's own node.
func (p *program) network(ctx context.Context) (*network, error) {
	ep, err := p.overlay.Wait(ctx)
	if err != nil {
		return nil, err
	}
	m, err := ziti.Login(ctx, ziti.ManagerConfig{Controller: ep.Controller, User: ep.User, Password: ep.Password, CA: ep.CA, Log: p.log})
	if err != nil {
		return nil, err
	}
	if err := m.EnsureNetwork(ctx); err != nil {
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

// enroll makes the hub's own identity.
func (p *program) enroll(ctx context.Context, m *ziti.Manager, ep local.Endpoint) ([]byte, error) {
	_, token, err := m.CreateIdentity(ctx, ziti.IdentitySpec{Name: "nave-hub-1", Roles: []string{ziti.RoleHub}, Replace: true})
	if err != nil {
		return nil, err
	}
	key, err := ziti.NewKey()
	if err != nil {
		return nil, err
	}
	identity, err := ziti.Enroll(ctx, ziti.Enrollment{Token: token, Key: key, CA: ep.CA, Controllers: []string{ep.Controller}})
	if err != nil {
		return nil, err
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

// newID makes an id of this moment.
func newID[T ~string]() T {
	var entropy [10]byte
	rand.Read(entropy[:]) // never fails: crypto/rand
	return T(api.NewULID(time.Now(), entropy))
}

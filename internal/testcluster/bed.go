package testcluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/internal/testcluster/keeper"
)

// HubName is what pods may call the hub's address, in the DNS of every cluster.
const HubName = "hub.federation.test"

// etcdPorts are free in a namespace of one's own.
var etcdPorts = [2]int{2379, 2380}

const apiPort = 6443

// beginLimit bounds the wait for other beds that begin. One takes a second, and longer when it removes what dead ones left.
const beginLimit = 3 * time.Minute

// Bed is a running set of clusters. Its owner must call Stop.
type Bed struct {
	// ID is the run id that everything of the bed carries.
	ID string
	// Dir is the folder that holds everything of the bed.
	Dir string
	// Clusters are the clouds, in their order.
	Clusters []*Cluster

	cfg     Config
	sources []*source
	names   names
	network network
	kindHub netip.Addr // where kind made the clusters
	owned   *os.File   // its lock is the ownership
	keeper  *keeper.Keeper
	log     *slog.Logger
	stop    sync.Once
	stopErr error
}

// Start removes what dead beds left, and brings up the clusters, all at the same time. When it fails nothing is left but
// the logs, where the config says.
func Start(ctx context.Context, cfg Config) (*Bed, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	chosen, err := chooseBackend(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if chosen == BackendKind {
		return startKind(ctx, cfg, began)
	}
	if err := Possible(ctx); err != nil {
		return nil, err
	}
	b, err := found(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, b.Stop())
	}
	g := run.NewGroup(ctx)
	for _, c := range b.sources {
		g.Go("start "+c.Name, func(ctx context.Context) error {
			start := time.Now()
			if err := c.up(ctx, cfg.Bin.images()); err != nil {
				return err
			}
			b.log.Info("a cluster is ready", "bed", b.ID, "cluster", c.Name, "ms", time.Since(start).Milliseconds())
			return nil
		})
	}
	if err := g.Wait(); err != nil || ctx.Err() != nil {
		return nil, b.failed(ctx, err)
	}
	b.log.Info("the test bed is ready", "bed", b.ID, "clusters", len(b.Clusters), "ms", time.Since(began).Milliseconds())
	return b, nil
}

// startKind is Start where kind makes the clusters.
func startKind(ctx context.Context, cfg Config, began time.Time) (*Bed, error) {
	b, release, err := claimBed(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, b.Stop())
	}
	release()
	if err := b.startKind(ctx, cfg); err != nil {
		return nil, errors.Join(err, b.Stop())
	}
	b.log.Info("the test bed is ready", "bed", b.ID, "backend", BackendKind, "clusters", len(b.Clusters), "ms", time.Since(began).Milliseconds())
	return b, nil
}

// found makes what the clusters stand on: folder, ownership, network, control groups, keeper. What it returns may be stopped,
// with an error too.
func found(ctx context.Context, cfg Config) (*Bed, error) {
	b, release, err := claimBed(ctx, cfg)
	if err != nil {
		return b, err
	}
	defer release() // other beds look for free subnets only now
	if b.network, err = pickNetwork(b.names); err != nil {
		return b, err
	}
	if err := b.network.up(ctx, cfg.Clusters); err != nil {
		return b, err
	}
	if err := makeCgroups(b.names, cfg.Clusters); err != nil {
		return b, err
	}
	if err := b.startKeeper(cfg.Bin, fixed); err != nil { // after the namespaces have names, which it sees from now on
		return b, err
	}
	for i := range cfg.Clusters {
		b.add(&source{
			address: b.network.node(i), outside: b.network.admin(i), port: apiPort, etcd: etcdPorts,
			netns: b.names.netnsPath(i), index: i, network: b.network,
		})
	}
	return b, nil
}

// add makes a source one of the bed's clusters.
func (b *Bed) add(c *source) *source {
	i := len(b.Clusters)
	c.Cluster = &Cluster{Name: cloud(i), Dir: b.names.clusterDir(i), log: b.log, backend: c, node: cloud(i) + "-n1"}
	c.cfg, c.bin = b.cfg, b.cfg.Bin
	c.names, c.keeper, c.running = b.names, b.keeper, make(map[string]*keeper.Process)
	b.Clusters, b.sources = append(b.Clusters, c.Cluster), append(b.sources, c)
	return c
}

// claimBed sweeps and takes an id. Until release is called no other bed is claimed or swept.
func claimBed(ctx context.Context, cfg Config) (b *Bed, release func(), err error) {
	root := cfg.Root
	b = &Bed{cfg: cfg, log: cfg.Log}
	if err := openRoot(root); err != nil {
		return b, nil, err
	}
	wait, cancel := context.WithTimeoutCause(ctx, beginLimit, fmt.Errorf("another bed begins for longer than %v", beginLimit))
	defer cancel()
	begin, err := lock(wait, filepath.Join(root, ".begin"))
	if err != nil {
		return b, nil, err
	}
	defer func() {
		if err != nil {
			_ = begin.Close()
		}
	}()
	if err := sweep(ctx, root, cfg.Log); err != nil {
		return b, nil, err
	}
	id, owned, err := claim(root)
	if err != nil {
		return b, nil, err
	}
	b.names = names{root, id}
	b.ID, b.Dir, b.owned = id, b.names.dir(), owned
	return b, func() { _ = begin.Close() }, nil
}

// StartControlPlane brings up an etcd and an API server alone, on loopback: enough for rights, definitions and thousands of
// objects that nobody runs. It needs no root. Of the config, Clusters is not looked at; the bed has one cluster, in which nothing
// but the API server may be asked, killed or started.
func StartControlPlane(ctx context.Context, cfg Config) (*Bed, error) {
	b, _, err := startLoopback(ctx, cfg)
	return b, err
}

// startLoopback brings up a bed with one control plane on loopback.
func startLoopback(ctx context.Context, cfg Config) (*Bed, *source, error) {
	cfg.Clusters = 1
	if err := cfg.validate(); err != nil {
		return nil, nil, err
	}
	b, release, err := claimBed(ctx, cfg)
	if err != nil {
		return nil, nil, errors.Join(err, b.Stop())
	}
	release()
	if err := b.startKeeper(cfg.Bin, nil); err != nil {
		return nil, nil, errors.Join(err, b.Stop())
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, nil, errors.Join(err, b.Stop())
	}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	c := b.add(&source{address: loopback, outside: loopback, port: ports[0], etcd: [2]int{ports[1], ports[2]}})
	if err := c.begin(ctx); err != nil {
		return nil, nil, b.failed(ctx, err)
	}
	return b, c, nil
}

// failed ends a bed that does not come up, and keeps its logs where the config says.
func (b *Bed) failed(ctx context.Context, err error) error {
	if b.cfg.Logs != "" {
		err = errors.Join(err, b.Dump(context.WithoutCancel(ctx), b.cfg.Logs))
	}
	return errors.Join(err, ctx.Err(), b.Stop())
}

// fixed are folders whose paths are written in the programs. A cluster that runs on this machine in earnest may use them, and
// two clusters of a bed should not find each other's files there.
var fixed = []string{"/var/lib/cni", "/var/lib/kubelet", "/var/log/containers"}

// resolvers is the file of what programs of a node ask for names. That of the machine is not reached from the namespaces, and asking it
// would take longer than a start of a pod may; what refusing names refuses at once.
const (
	resolvers = "/etc/resolv.conf"
	refusing  = "nameserver 127.0.0.1\n"
)

// startKeeper starts the keeper. Its processes see empty folders of the bed in place of those that are to be hidden.
func (b *Bed) startKeeper(bin Bin, hidden []string) error {
	hide := make(map[string]string)
	for _, path := range hidden {
		own := filepath.Join(b.Dir, "hidden", path)
		if err := errors.Join(os.MkdirAll(path, 0o755), os.MkdirAll(own, 0o755)); err != nil {
			return err
		}
		hide[path] = own
	}
	if _, err := os.Stat(resolvers); err == nil && len(hidden) > 0 {
		own := filepath.Join(b.Dir, "hidden", "resolv.conf")
		if err := os.WriteFile(own, []byte(refusing), 0o644); err != nil {
			return err
		}
		hide[resolvers] = own
	}
	env := []string{b.names.environment(), RunEnv + "=" + runLabel(b.ID)}
	var err error
	b.keeper, err = keeper.Start(bin.path("keeper"), env, filepath.Join(b.Dir, "keeper.log"), hide)
	return err
}

// up brings one cluster up.
func (c *source) up(ctx context.Context, images []string) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	if err := c.startControllers(ctx); err != nil {
		return err
	}
	return c.makeNode(ctx, images)
}

// HubAddress is this machine's address on the bridge: what listens there is reached by the pods of every cluster at one
// address, also called HubName. Loopback is not reached by them.
func (b *Bed) HubAddress() netip.Addr {
	if b.kindHub.IsValid() {
		return b.kindHub
	}
	return b.network.hub()
}

// Stop ends every process and removes everything that carries the bed's id. It may be called again, and on a bed that did not
// start.
func (b *Bed) Stop() error {
	if b.owned == nil {
		return nil
	}
	b.stop.Do(func() {
		start := time.Now()
		var err error
		if b.keeper != nil {
			err = b.keeper.Close()
		}
		b.stopErr = errors.Join(err, remove(context.Background(), b.names), b.owned.Close())
		if b.stopErr != nil {
			b.stopErr = fmt.Errorf("stop the test bed %s: %w", b.ID, b.stopErr)
			return
		}
		b.log.Info("the test bed is gone", "bed", b.ID, "ms", time.Since(start).Milliseconds())
	})
	return b.stopErr
}

// Keeper is the id of the process that is the parent of all others, for tests that kill it. Where kind makes the clusters there
// is none, and it is 0.
func (b *Bed) Keeper() int {
	if b.keeper == nil {
		return 0
	}
	return b.keeper.Pid()
}

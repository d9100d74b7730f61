package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/storage/wal"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/store/zaplog"
)

// Limits of the embedded server.
const (
	MaxTxnOps       = 10_000  // operations in one transaction
	MaxRequestBytes = 8 << 20 // bytes of one request
	Quota           = 8 << 30 // bytes of the database

	snapshotEvery = 2_000    // transactions; so many of them are applied again at a start, at most
	segmentBytes  = 16 << 20 // of the log; at a start the one with the last snapshot is read from its beginning
)

// The library has no other place for it. Here nobody reads it yet.
func init() { wal.SegmentSizeBytes = segmentBytes }

// Config configures a [Server].
type Config struct {
	Dir          string        // required: data directory, made with mode 0700
	Listen       string        // URL for clients in other processes, "http://127.0.0.1:2379" or "unix:///path"; empty: none
	Log          *slog.Logger  // required: warnings and errors of the server
	StartTimeout time.Duration // bound of the start; default 30 s
}

func (c *Config) validate() error {
	if c.Dir == "" {
		return api.Invalid("dir", "is empty: name the data directory")
	}
	if c.Log == nil {
		return api.Invalid("log", "is missing")
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = 30 * time.Second
	}
	if c.StartTimeout < 0 {
		return api.Invalid("start_timeout", "%v: want more than 0", c.StartTimeout)
	}
	return nil
}

// expected are warnings about what is so by intention: there is no network and there are no tokens. Until the server has
// applied its log again it refuses its own first request, many times a millisecond.
var expected = []string{
	"Running http and grpc server on single port. This is not recommended for production.",
	"simple token is not cryptographically signed",
	"failed to publish local member to cluster through raft",
}

// Server is a running etcd.
type Server struct {
	etcd   *embed.Etcd
	client *clientv3.Client
	unlock func()
	close  sync.Once
}

// Start runs the server on its directory and returns when it serves. The data of a directory belongs to one process: a
// second one is refused.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	ec, err := etcdConfig(cfg)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	unlock, err := lock(cfg.Dir) // etcd itself would wait for the other process without a bound
	if err != nil {
		return nil, err
	}
	etcd, err := embed.StartEtcd(ec)
	if err != nil {
		unlock()
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.StartTimeout, fmt.Errorf("not ready within %v", cfg.StartTimeout))
	defer cancel()
	select {
	case <-etcd.Server.ReadyNotify():
		return &Server{etcd: etcd, client: v3client.New(etcd.Server), unlock: unlock}, nil
	case err = <-etcd.Err():
	case <-etcd.Server.StopNotify():
		err = errors.New("stopped while it started")
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	etcd.Close()
	unlock()
	return nil, fmt.Errorf("start etcd: %w", err)
}

func etcdConfig(cfg Config) (*embed.Config, error) {
	ec := embed.NewConfig()
	ec.Dir = cfg.Dir
	ec.Name = "nave"
	ec.InitialClusterToken = "nave"
	ec.ListenPeerUrls = nil // the only member
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:2380"}
	ec.AdvertisePeerUrls = []url.URL{peer}
	ec.InitialCluster = ec.Name + "=" + peer.String()
	ec.ListenClientUrls, ec.ListenClientHttpUrls = nil, nil
	ec.AdvertiseClientUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:2379"}} // etcd wants one; nothing dials it
	if cfg.Listen != "" {
		u, err := listenURL(cfg.Listen)
		if err != nil {
			return nil, err
		}
		ec.ListenClientUrls, ec.AdvertiseClientUrls = []url.URL{*u}, []url.URL{*u}
	}
	ec.AutoCompactionMode, ec.AutoCompactionRetention = embed.CompactorModePeriodic, "1m"
	ec.QuotaBackendBytes, ec.MaxTxnOps, ec.MaxRequestBytes = Quota, MaxTxnOps, MaxRequestBytes
	// A server that starts waits one to ten ticks before it elects itself. There are no other members whose voices it could miss.
	ec.TickMs, ec.ElectionMs = 10, 100
	// A start reads what came after the last snapshot again. A snapshot is a commit of the database and a small file.
	ec.SnapshotCount, ec.SnapshotCatchUpEntries = snapshotEvery, 1 // nobody is to catch up: what the database has needs no place in memory
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zaplog.New(cfg.Log, expected...))
	return ec, nil
}

func listenURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, api.Invalid("listen", "%q is not a URL: %v", s, err)
	}
	if u.Scheme == "unix" {
		u.Path = filepath.Clean(u.Host + u.Path)
		u.Host = ""
		return u, nil
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme != "http" || ip == nil || !ip.IsLoopback() {
		return nil, api.Invalid("listen", "%q: want http on a loopback address, or unix: there is no authentication", s)
	}
	return u, nil
}

// Client calls the server without a network. It belongs to the server and must not be used after Close.
func (s *Server) Client() *clientv3.Client { return s.client }

// Sizes are the bytes of the database's file, and those of them that hold something: the rest is reused before the file grows.
func (s *Server) Sizes() (file, used int64) {
	b := s.etcd.Server.Backend()
	return b.Size(), b.SizeInUse()
}

// Failed delivers the error that ended the server by itself.
func (s *Server) Failed() <-chan error { return s.etcd.Err() }

// Close stops the server and waits for it. It may be called again.
func (s *Server) Close() {
	s.close.Do(func() {
		_ = s.client.Close()
		s.etcd.Close()
		s.unlock()
	})
}

package main

import (
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/store"
	"github.com/nave-dev/nave/transport/ziti/local"
)

// config is the configuration of a hub. docs/configuration.md explains every field; a test compares the two. Fields that are
// left out have the values of [defaults]. A part is embedded unless its address is named.
type config struct {
	DataDir string        `yaml:"data_dir"`
	API     apiConfig     `yaml:"api"`
	Metrics metricsConfig `yaml:"metrics"`

	Profiling profilingConfig `yaml:"profiling"`

	Etcd    etcdConfig    `yaml:"etcd"`
	Archive archiveConfig `yaml:"archive"`
	Bucket  bucketConfig  `yaml:"bucket"`
	Overlay overlayConfig `yaml:"overlay"`
	Lease   time.Duration `yaml:"lease"`
	Beat    time.Duration `yaml:"beat"`

	Retention time.Duration `yaml:"retention"`

	Limits limitsConfig `yaml:"limits"`
	Log    logConfig    `yaml:"log"`
}

type apiConfig struct {
	Listen     string    `yaml:"listen"`
	GRPCListen string    `yaml:"grpc_listen"`
	Hosts      []string  `yaml:"hosts"`
	TLS        tlsConfig `yaml:"tls"`

	AdminTokenFile string `yaml:"admin_token_file"`
}

// tlsConfig is a certificate that the hub presents.
type tlsConfig struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

type metricsConfig struct {
	Listen string `yaml:"listen"`
}

type profilingConfig struct {
	Listen string `yaml:"listen"`
}

type etcdConfig struct {
	Endpoints []string        `yaml:"endpoints"`
	Prefix    string          `yaml:"prefix"`
	Username  string          `yaml:"username"`
	Password  secret          `yaml:",inline"`
	TLS       clientTLSConfig `yaml:"tls"`
	MaxOps    int             `yaml:"max_txn_ops"`
	MaxBytes  int             `yaml:"max_request_bytes"`
}

// clientTLSConfig is whom the hub believes and how it proves itself to a part that it connects to.
type clientTLSConfig struct {
	CAFile   string `yaml:"ca_file"`
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

type archiveConfig struct {
	PostgreSQL postgresConfig `yaml:"postgresql"`
	Readers    int            `yaml:"readers"`
}

type postgresConfig struct {
	DSN      string `yaml:"dsn"`
	Password secret `yaml:",inline"`
}

type bucketConfig struct {
	Directory string `yaml:"directory"`
}

type overlayConfig struct {
	Listen     string `yaml:"listen"`
	Advertise  string `yaml:"advertise"`
	Port       int    `yaml:"port"`
	Program    string `yaml:"program"`
	Controller string `yaml:"controller"`
	CAFile     string `yaml:"ca_file"`
	Username   string `yaml:"username"`
	Password   secret `yaml:",inline"`
	Identity   string `yaml:"identity"`
}

type limitsConfig struct {
	PendingPerSession int           `yaml:"pending_per_session"`
	PendingPerOrg     int           `yaml:"pending_per_organization"`
	AgentSignals      int           `yaml:"agent_signals"`
	AgentBurst        int           `yaml:"agent_burst"`
	Requests          int           `yaml:"requests"`
	Burst             int           `yaml:"burst"`
	Streams           int           `yaml:"streams"`
	PublicRequests    int           `yaml:"public_requests"`
	PublicBurst       int           `yaml:"public_burst"`
	Deadline          time.Duration `yaml:"deadline"`
}

type logConfig struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// What a separate etcd takes in one transaction when it was started without other limits.
const (
	defaultMaxOps   = 128
	defaultMaxBytes = 3 << 19
)

// minRetention is how long clients may rely on their idempotency keys whatever the configuration says.
const minRetention = 24 * time.Hour

// defaults are the values of what a configuration leaves out. Those that follow from others are filled in by complete.
func defaults() config {
	l := hub.DefaultLimits()
	return config{
		API:     apiConfig{Listen: "127.0.0.1:7400", GRPCListen: "127.0.0.1:7401"},
		Etcd:    etcdConfig{Prefix: store.DefaultPrefix, MaxOps: defaultMaxOps, MaxBytes: defaultMaxBytes},
		Archive: archiveConfig{Readers: 4},
		Overlay: overlayConfig{Listen: "127.0.0.1", Identity: "nave-hub-1"},
		Lease:   hub.DefaultLeaseTTL, Retention: api.IdempotencyRetention,
		Limits: limitsConfig{PendingPerSession: l.PendingPerSession, PendingPerOrg: l.PendingPerOrg, AgentSignals: l.AgentSignals, AgentBurst: l.AgentBurst,
			Requests: 2000, Burst: 4000, Streams: 256,
			PublicRequests: 20, PublicBurst: 40, Deadline: 30 * time.Second},
		Log: logConfig{Level: "info", Format: "text"},
	}
}

// complete fills in what follows from other fields and checks what can be checked without a look at the world. Errors name
// the field.
func (c *config) complete() error {
	if c.DataDir == "" {
		return api.Invalid("data_dir", "is missing: name the directory that belongs to this hub alone")
	}
	abs, err := filepath.Abs(c.DataDir)
	if err != nil {
		return err
	}
	c.DataDir = abs
	if c.Bucket.Directory == "" {
		c.Bucket.Directory = filepath.Join(c.DataDir, "bucket")
	}
	if c.Beat == 0 {
		c.Beat = c.Lease / 5
	}
	for _, check := range []func() error{c.completeTimes, c.checkListeners, c.checkEtcd, c.checkArchive, c.checkOverlay, c.checkLimits} {
		if err := check(); err != nil {
			return err
		}
	}
	if _, err := c.logLevel(); err != nil {
		return err
	}
	if f := c.Log.Format; f != "text" && f != "json" {
		return api.Invalid("log.format", "%q: want text or json", f)
	}
	return nil
}

func (c *config) completeTimes() error {
	if c.Lease < hub.MinLeaseTTL || c.Lease > hub.MaxLeaseTTL {
		return api.Invalid("lease", "%v: want %v to %v", c.Lease, hub.MinLeaseTTL, hub.MaxLeaseTTL)
	}
	if c.Retention < minRetention {
		return api.Invalid("retention", "%v: want %v or more", c.Retention, minRetention)
	}
	if most := 2 * c.Lease / 5; c.Beat < 100*time.Millisecond || c.Beat > most {
		return api.Invalid("beat", "%v: want 100ms to two fifths of the lease, which is %v", c.Beat, most)
	}
	return nil
}

func (c *config) checkListeners() error {
	for _, l := range []struct{ field, addr string }{{"api.listen", c.API.Listen}, {"api.grpc_listen", c.API.GRPCListen}, {"metrics.listen", c.Metrics.Listen}} {
		if _, _, err := net.SplitHostPort(l.addr); err != nil && (l.addr != "" || l.field != "metrics.listen") {
			return api.Invalid(l.field, "%q is not an address: use host:port", l.addr)
		}
	}
	if (c.API.TLS.CertFile == "") != (c.API.TLS.KeyFile == "") {
		return api.Invalid("api.tls", "names one of cert_file and key_file: name both, or none for a certificate of the hub's own authority")
	}
	if c.API.TLS.CertFile != "" && len(c.API.Hosts) > 0 {
		return api.Invalid("api.hosts", "is for certificates of the hub's own authority: leave it out where api.tls names one")
	}
	return nil
}

func (c *config) checkEtcd() error {
	e := &c.Etcd
	if !strings.HasPrefix(e.Prefix, "/") || !strings.HasSuffix(e.Prefix, "/") {
		return api.Invalid("etcd.prefix", "%q: must begin and end with a slash", e.Prefix)
	}
	if len(e.Endpoints) == 0 {
		if e.Username != "" || e.Password.given() || e.TLS != (clientTLSConfig{}) || e.MaxOps != defaultMaxOps || e.MaxBytes != defaultMaxBytes {
			return api.Invalid("etcd.endpoints", "is missing, and the other fields of etcd are for one that is not embedded: name its endpoints, or leave them out")
		}
		return nil
	}
	if e.MaxOps < defaultMaxOps {
		return api.Invalid("etcd.max_txn_ops", "%d: want %d or more, and etcd's --max-txn-ops to be the same", e.MaxOps, defaultMaxOps)
	}
	if e.MaxBytes < defaultMaxBytes {
		return api.Invalid("etcd.max_request_bytes", "%d: want %d or more, and etcd's --max-request-bytes to be the same", e.MaxBytes, defaultMaxBytes)
	}
	for _, at := range e.Endpoints {
		u, err := url.Parse(at)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" || u.User != nil {
			return api.Invalid("etcd.endpoints", "%.100q is not an endpoint: use https://host:port", at)
		}
		if u.Scheme == "http" && e.TLS != (clientTLSConfig{}) {
			return api.Invalid("etcd.endpoints", "%.100q is without TLS, and etcd.tls is given: use https://", at)
		}
	}
	if (e.TLS.CertFile == "") != (e.TLS.KeyFile == "") {
		return api.Invalid("etcd.tls", "names one of cert_file and key_file: name both, or none")
	}
	if (e.Username == "") != !e.Password.given() {
		return api.Invalid("etcd.username", "goes with password_file or password_env: give both, or none")
	}
	return e.Password.check("etcd")
}

func (c *config) checkArchive() error {
	p := &c.Archive.PostgreSQL
	if c.Archive.Readers < 1 || c.Archive.Readers > 64 {
		return api.Invalid("archive.readers", "%d: want 1 to 64", c.Archive.Readers)
	}
	if p.DSN == "" && p.Password.given() {
		return api.Invalid("archive.postgresql.dsn", "is missing: name the database, or leave the password out")
	}
	if err := p.Password.check("archive.postgresql"); err != nil || p.DSN == "" {
		return err
	}
	_, err := p.connection("")
	return err
}

func (c *config) checkOverlay() error {
	o := &c.Overlay
	if err := api.ValidateName("overlay.identity", o.Identity); err != nil {
		return err
	}
	if o.Controller == "" {
		switch ip, err := netip.ParseAddr(o.Listen); {
		case err != nil || ip.IsUnspecified() && o.Advertise == "":
			return api.Invalid("overlay.listen", "%q: want one IP address, which is advertised to spokes, or overlay.advertise", o.Listen)
		case o.Advertise != "" && !local.Near(ip):
			return api.Invalid("overlay.listen", "%q: with overlay.advertise use 0.0.0.0 or ::, or loopback where something on this machine passes connections on", o.Listen)
		}
		if o.Advertise != "" && !local.IsHost(o.Advertise) {
			return api.Invalid("overlay.advertise", "%.100q: want an IP address, or a DNS name in lower case", o.Advertise)
		}
		if o.Port != 0 && (o.Port < 1 || o.Port+local.Ports > 65536) {
			return api.Invalid("overlay.port", "%d: it and the %d behind it must be from 1 to 65535", o.Port, local.Ports-1)
		}
		if o.CAFile != "" || o.Username != "" || o.Password.given() {
			return api.Invalid("overlay.controller", "is missing, and ca_file, username and password are for one that is not embedded: name its address, or leave them out")
		}
		return nil
	}
	if u, err := url.Parse(o.Controller); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Path != "" && u.Path != "/" {
		return api.Invalid("overlay.controller", "%.100q is not the address of a controller: use https://host:port", o.Controller)
	}
	if o.Advertise != "" || o.Port != 0 {
		return api.Invalid("overlay.advertise", "and overlay.port are for the embedded overlay: leave them out where overlay.controller is named")
	}
	if o.Program != "" {
		return api.Invalid("overlay.program", "is for the embedded overlay: leave it out where overlay.controller is named")
	}
	if o.CAFile == "" || o.Username == "" || !o.Password.given() {
		return api.Invalid("overlay.controller", "needs ca_file, username, and password_file or password_env")
	}
	return o.Password.check("overlay")
}

func (c *config) checkLimits() error {
	l := &c.Limits
	for _, n := range []struct {
		field string
		value int
	}{{"pending_per_session", l.PendingPerSession}, {"pending_per_organization", l.PendingPerOrg}, {"agent_signals", l.AgentSignals}, {"agent_burst", l.AgentBurst}, {"requests", l.Requests}, {"burst", l.Burst},
		{"streams", l.Streams}, {"public_requests", l.PublicRequests}, {"public_burst", l.PublicBurst}} {
		if n.value < 1 || n.value > 1e9 {
			return api.Invalid("limits."+n.field, "%d: want 1 to 1000000000", n.value)
		}
	}
	if l.Deadline < time.Second || l.Deadline > 10*time.Minute {
		return api.Invalid("limits.deadline", "%v: want 1s to 10m", l.Deadline)
	}
	return nil
}

func (c *config) logLevel() (l slog.Level, err error) {
	if err := l.UnmarshalText([]byte(c.Log.Level)); err != nil {
		return l, api.Invalid("log.level", "%q: want debug, info, warn or error", c.Log.Level)
	}
	return l, nil
}

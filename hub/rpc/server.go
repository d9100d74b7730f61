package rpc

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// Sessions is the part of the hub that runs sessions. Errors are *api.Error. Everything is checked for form before; what
// exists is for the implementation to find out.
type Sessions interface {
	// Signal accepts a message and returns when it is durable.
	Signal(ctx context.Context, req hub.SignalRequest) (api.Accepted, error)
	// SignalMany accepts messages that stand alone, and returns when each of them is durable or refused: a result for each, in
	// order. Those to one session are accepted in order.
	SignalMany(ctx context.Context, reqs []hub.SignalRequest) []hub.SignalResult
	// Session returns one session, or CodeNotFound.
	Session(ctx context.Context, org api.OrgID, id api.SessionID) (hub.SessionView, error)
	// Sessions returns a page and the token of the next one; pageSize is 1 to hub.MaxPageSize, an empty token the end.
	Sessions(ctx context.Context, org api.OrgID, f hub.SessionFilter, pageSize int, pageToken string) ([]hub.SessionView, string, error)
	// Events hands the events from a number on to send, in order, at most limit of them (0: all). With follow it goes on with
	// what comes, until ctx ends. An error of send is returned as it is.
	Events(ctx context.Context, org api.OrgID, id api.SessionID, from uint64, follow bool, limit uint32, send func([]api.Event) error) error
	// Live follows as Events does, and hands text to pour while it is written; of that anything may be missing.
	Live(ctx context.Context, org api.OrgID, id api.SessionID, from uint64, limit uint32, send func([]api.Event) error, pour func(api.Delta) error) error
	// Explain returns a session with its latest decisions and what it runs, and with present what placement would decide now.
	Explain(ctx context.Context, org api.OrgID, id api.SessionID, present bool) (hub.Explanation, error)
}

// Limits bound what callers may ask for. Zero fields have the defaults.
type Limits struct {
	Deadline     time.Duration // of a unary call; default 30 s
	MessageBytes int           // of a request; default 2 MiB
	Rate         float64       // calls per second and credential; default 2000
	Burst        int           // calls at once and credential; default 4000
	Streams      int           // open streams per credential; default 256
	PublicRate   float64       // calls per second and peer address of methods without a credential; default 20
	PublicBurst  int           // calls at once and peer address of such methods; default 40
}

func (l Limits) withDefaults() Limits {
	def := Limits{Deadline: 30 * time.Second, MessageBytes: 2 << 20, Rate: 2000, Burst: 4000, Streams: 256, PublicRate: 20, PublicBurst: 40}
	if l.Deadline == 0 {
		l.Deadline = def.Deadline
	}
	if l.MessageBytes == 0 {
		l.MessageBytes = def.MessageBytes
	}
	if l.Rate == 0 {
		l.Rate = def.Rate
	}
	if l.Burst == 0 {
		l.Burst = def.Burst
	}
	if l.Streams == 0 {
		l.Streams = def.Streams
	}
	if l.PublicRate == 0 {
		l.PublicRate = def.PublicRate
	}
	if l.PublicBurst == 0 {
		l.PublicBurst = def.PublicBurst
	}
	return l
}

// Config is what a [Server] needs.
type Config struct {
	Catalog   *hub.Catalog
	Fleet     *hub.Fleet
	Sessions  Sessions
	Intents   Intents
	Approvals Approvals
	History   History
	Payloads  Payloads
	Rejoin    Rejoiner // default: Fleet
	Auth      *hub.Authenticator
	Facts     func(context.Context, api.OrgID) hub.StatusFacts // what a status is judged by, but for the version; returns within 15 s
	Version   string                                           // of the hub, as it tells callers
	Ready     func() map[string]error                          // parts and what keeps them from being ready (nil: ready); must not block; default: always ready
	Limits    Limits
	Metrics   *prometheus.Registry // gets the API's metrics and is served at /metrics; default: one of its own
	Log       *slog.Logger         // default: nothing is logged
	Now       func() time.Time     // of the rate limits; default time.Now
}

func (c *Config) validate() error {
	if c.Catalog == nil || c.Fleet == nil || c.Sessions == nil || c.Intents == nil || c.Approvals == nil || c.History == nil || c.Payloads == nil || c.Auth == nil || c.Facts == nil {
		return errors.New("rpc: Catalog, Fleet, Sessions, Intents, Approvals, History, Payloads, Auth and Facts are needed")
	}
	if c.Rejoin == nil {
		c.Rejoin = c.Fleet
	}
	if l := c.Limits; l.Deadline < 0 || l.MessageBytes < 0 || l.Rate < 0 || l.Burst < 0 || l.Streams < 0 || l.PublicRate < 0 || l.PublicBurst < 0 {
		return errors.New("rpc: limits must not be negative")
	}
	c.Limits = c.Limits.withDefaults()
	if c.Ready == nil {
		c.Ready = func() map[string]error { return nil }
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// Server is the public API of a hub. It listens to nothing by itself: [Server.Handler] and [Server.GRPC] are for the
// program's listeners.
type Server struct {
	cfg     Config
	quotas  *quotas
	metrics *metrics

	draining context.Context // ended by Drain; open streams end with it
	drain    context.CancelCauseFunc
}

// New returns a server. It fails when a method of the API has no row in the access table.
func New(cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := checkAccess(access, methods(apiFiles())); err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, quotas: newQuotas(cfg.Limits, cfg.Now), metrics: m}
	s.draining, s.drain = context.WithCancelCause(context.Background())
	return s, nil
}

// Drain ends open streams and refuses new ones, so that the listeners can be shut down without waiting for followers.
// Unary calls go on.
func (s *Server) Drain() { s.drain(errDraining) }

var errDraining = api.Errorf(api.CodeUnavailable, "the hub is shutting down: connect again and go on after the last event")

// Handler serves the API in connect's, gRPC's and gRPC-Web's protocols, /healthz, /readyz and /metrics.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	s.mountConnect(mux)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.cfg.Metrics, promhttp.HandlerOpts{}))
	return mux
}

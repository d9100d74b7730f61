package transport

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/boottime"
	"github.com/nave-dev/nave/transport/linkv1"
)

// Bounds of the spoke's side.
const (
	sendQueue     = 1024                   // messages that wait for the stream; past it Send refuses
	deltaQueue    = sendQueue / 4          // past it Send refuses deltas
	firstPause    = 500 * time.Millisecond // before the second dial; doubles with full jitter. Spokes that lose their links together come back over it
	longestPause  = 10 * time.Second
	connectWithin = 15 * time.Second       // dial, credentials, hello, welcome
	closeWithin   = 100 * time.Millisecond // for the end of a connection; it goes on behind the next one
	deniedPause   = time.Minute            // the longest one after a denial, which only a person can mend
)

// LinkConfig is what the spoke's side of a link needs.
type LinkConfig struct {
	// Dial opens a connection to a hub replica. It must honour its context. An error with CodeDenied says that the network
	// does not know this spoke.
	Dial func(context.Context) (net.Conn, error)
	// Credentials prove both sides to each other.
	Credentials credentials.TransportCredentials
	// Now is the clock by which leases are counted; the handler is told the time of each answered heartbeat by it. Default
	// boottime.Now.
	Now  func() time.Duration
	Rand *rand.Rand // jitter; nil: a seed of its own
	Log  *slog.Logger
}

// Handler takes what happens on a link. It is called from one goroutine, Renewed excepted.
type Handler interface {
	Hello(context.Context) (api.Hello, error)
	Connected(context.Context, api.Welcome) error
	Receive(context.Context, api.HubMessage) error
	// Renewed: a heartbeat that was sent at this time of the boot-time clock was answered, so the cluster's lease was
	// prolonged after it. It is called from a goroutine of its own, between Connected and Disconnected, in the order of
	// sent. An error ends the connection.
	Renewed(ctx context.Context, sent time.Duration) error
	// Disconnected says why a connection ended or did not come about. CodeDenied: the network or the hub does not know this
	// spoke any more, and waiting does not mend it.
	Disconnected(context.Context, error)
}

// Link is the spoke's side: it dials, and dials again.
type Link struct {
	cfg       LinkConfig
	transfers chan struct{} // full while as many checkpoints travel as may
	signals   chan struct{} // full while as many signals of sessions wait for their answer as may

	mu   sync.Mutex
	conn *connection // guarded by mu; nil without a connection
}

// connection is a link that was welcomed.
type connection struct {
	control linkv1.LinkClient

	send chan api.SpokeMessage
	bulk linkv1.LinkClient // on a connection of its own, which is dialed when it is used
	over context.Context   // ended with the connection
}

// NewLink makes a link that does nothing yet.
func NewLink(cfg LinkConfig) (*Link, error) {
	if cfg.Dial == nil || cfg.Credentials == nil {
		return nil, errors.New("transport: Dial and Credentials are required")
	}
	if cfg.Now == nil {
		cfg.Now = boottime.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Link{cfg: cfg, transfers: make(chan struct{}, maxTransfers), signals: make(chan struct{}, maxSignals)}, nil
}

// Run keeps a connection to the hub until ctx ends. After a loss it waits a random part of a pause that doubles up to ten
// seconds, up to a minute after a denial, and that begins anew after a welcome.
func (l *Link) Run(ctx context.Context, h Handler) error {
	pause := firstPause
	for ctx.Err() == nil {
		welcomed, err := l.once(ctx, h)
		if ctx.Err() != nil {
			return nil
		}
		denied := api.CodeOf(err) == api.CodeDenied
		switch {
		case denied:
			pause = max(pause, longestPause) // also after a welcome: the hub removes a cluster while it is connected
		case welcomed:
			pause = firstPause
		default:
			pause = min(pause, longestPause)
		}
		h.Disconnected(ctx, err)
		wait := time.Duration(l.cfg.Rand.Int64N(int64(pause))) + time.Millisecond
		l.cfg.Log.Info("link lost", "error", err, "retry_in", wait)
		if pause *= 2; denied {
			pause = min(pause, deniedPause)
		} else {
			pause = min(pause, longestPause)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

// Send queues a message on the present connection. It never blocks. What carries deltas is refused while other messages wait.
func (l *Link) Send(m api.SpokeMessage) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return errNoLink()
	}
	if n := len(l.conn.send); len(m.Deltas) > 0 && n >= deltaQueue {
		return api.Errorf(api.CodeLimit, "%d messages wait for the hub: no deltas join them", n)
	}
	select {
	case l.conn.send <- m:
		return nil
	default:
		return api.Errorf(api.CodeLimit, "%d messages wait for the hub, the limit", sendQueue)
	}
}

func errNoLink() error { return api.Errorf(api.CodeUnavailable, "there is no link to the hub") }

func (l *Link) set(c *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = c
}

func (l *Link) connection() *connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

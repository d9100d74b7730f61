package transport

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport/linkv1"
)

// Bounds of the spoke's side.
const (
	sendQueue     = 1024                   // messages that wait for the stream; past it Send refuses
	firstPause    = 100 * time.Millisecond // before the second dial; doubles with full jitter
	longestPause  = 10 * time.Second
	connectWithin = 15 * time.Second // dial, credentials, hello, welcome
)

// LinkConfig is what the spoke's side of a link needs.
type LinkConfig struct {
	// Dial opens a connection to a hub replica. It must honour its context.
	Dial func(context.Context) (net.Conn, error)
	// Credentials prove both sides to each other.
	Credentials credentials.TransportCredentials
	Rand        *rand.Rand // jitter; nil: a seed of its own
	Log         *slog.Logger
}

// Handler takes what happens on a link. It is called from one goroutine.
type Handler interface {
	Hello(context.Context) (api.Hello, error)
	Connected(context.Context, api.Welcome) error
	Receive(context.Context, api.HubMessage) error
	Disconnected(context.Context, error)
}

// Link is the spoke's side: it dials, and dials again.
type Link struct {
	cfg LinkConfig

	mu   sync.Mutex
	send chan api.SpokeMessage // guarded by mu; nil without a connection
}

// NewLink makes a link that does nothing yet.
func NewLink(cfg LinkConfig) (*Link, error) {
	if cfg.Dial == nil || cfg.Credentials == nil {
		return nil, errors.New("transport: Dial and Credentials are required")
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Link{cfg: cfg}, nil
}

// Run keeps a connection to the hub until ctx ends. After a loss it waits a random part of a pause that doubles up to ten
// seconds, and that begins anew after a welcome.
func (l *Link) Run(ctx context.Context, h Handler) error {
	pause := firstPause
	for ctx.Err() == nil {
		welcomed, err := l.once(ctx, h)
		if ctx.Err() != nil {
			return nil
		}
		if welcomed {
			pause = firstPause
		}
		h.Disconnected(ctx, err)
		wait := time.Duration(l.cfg.Rand.Int64N(int64(pause))) + time.Millisecond
		l.cfg.Log.Info("link lost", "error", err, "retry_in", wait)
		pause = min(2*pause, longestPause)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

// Send queues a message on the present connection. It never blocks.
func (l *Link) Send(m api.SpokeMessage) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.send == nil {
		return api.Errorf(api.CodeUnavailable, "there is no link to the hub")
	}
	select {
	case l.send <- m:
		return nil
	default:
		return api.Errorf(api.CodeLimit, "%d messages wait for the hub, the limit", sendQueue)
	}
}

// once holds one connection. It reports whether a welcome came.
func (l *Link) once(ctx context.Context, h Handler) (welcomed bool, err error) {
	cc, err := grpc.NewClient("passthrough:///hub",
		grpc.WithTransportCredentials(l.cfg.Credentials),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.cfg.Dial(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}))
	if err != nil {
		return false, err
	}
	defer cc.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	client := linkv1.NewLinkClient(cc)
	hello, err := h.Hello(ctx)
	if err != nil {
		return false, err
	}
	stream, welcome, err := l.greet(ctx, client, hello)
	if err != nil {
		return false, err
	}
	queue := make(chan api.SpokeMessage, sendQueue)
	l.set(queue)
	defer l.set(nil)
	if err := h.Connected(ctx, welcome); err != nil {
		return true, err
	}
	g := run.NewGroup(ctx)
	g.Go("send", func(ctx context.Context) error { return sendAll(ctx, stream, queue) })
	g.Go("beat", func(ctx context.Context) error { return beat(ctx, client, hello.Boot, welcome.Beat) })
	g.Go("end", func(ctx context.Context) error {
		<-ctx.Done()
		cancel(context.Cause(ctx)) // unblocks Recv
		return nil
	})
	g.Go("receive", func(ctx context.Context) error {
		for {
			m, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return api.Errorf(api.CodeUnavailable, "the hub ended the link")
			}
			if err != nil {
				return fromStatus(err)
			}
			in, err := hubMessageFrom(m)
			if err != nil {
				return api.Invalid("message", "%w", err)
			}
			if err := h.Receive(ctx, in); err != nil {
				return err
			}
		}
	})
	return true, g.Wait()
}

// greet opens the stream and exchanges hello and welcome, bounded by our own clock: the overlay ignores deadlines at times.
func (l *Link) greet(ctx context.Context, client linkv1.LinkClient, hello api.Hello) (linkv1.Link_ConnectClient, api.Welcome, error) {
	type greeted struct {
		stream  linkv1.Link_ConnectClient
		welcome *linkv1.Welcome
	}
	within, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	got, err := run.Bounded(within, func() (greeted, error) {
		stream, err := client.Connect(ctx, grpc.WaitForReady(false))
		if err != nil {
			return greeted{}, err
		}
		if err := stream.Send(&linkv1.SpokeMessage{Hello: helloTo(hello)}); err != nil && !errors.Is(err, io.EOF) {
			return greeted{}, err
		}
		m, err := stream.Recv()
		if err != nil {
			return greeted{}, err
		}
		if m.GetWelcome() == nil {
			return greeted{}, api.Errorf(api.CodeInvalid, "the hub's first message is not a welcome")
		}
		return greeted{stream, m.GetWelcome()}, nil
	}, nil)
	if err != nil {
		return nil, api.Welcome{}, fromStatus(err)
	}
	return got.stream, welcomeFrom(got.welcome), nil
}

func (l *Link) set(queue chan api.SpokeMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.send = queue
}

func sendAll(ctx context.Context, stream linkv1.Link_ConnectClient, queue <-chan api.SpokeMessage) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-queue:
			if err := stream.Send(spokeMessageTo(m)); err != nil {
				return fromStatus(err)
			}
		}
	}
}

// beat sends heartbeats. An unanswered one ends the link when the next would be due twice over.
func beat(ctx context.Context, client linkv1.LinkClient, boot string, every time.Duration) error {
	if every <= 0 {
		return api.Errorf(api.CodeInvalid, "the hub wants a beat every %v", every)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		call, cancel := context.WithTimeout(ctx, 3*every)
		_, err := client.Beat(call, &linkv1.BeatRequest{Boot: boot})
		cancel()
		if err != nil && ctx.Err() == nil {
			err = fromStatus(err)
			if api.CodeOf(err) == api.CodeConflict { // the hub ended the link: its stream says why
				select {
				case <-ctx.Done():
				case <-time.After(every):
				}
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

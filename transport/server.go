package transport

import (
	"context"
	"errors"
	"io"
	"log/slog"
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

// Bounds of one message of the link, in bytes. A spoke's largest is its hello, which names every session that it holds.
const (
	maxFromHub   = 16 << 20
	maxFromSpoke = 4 << 20
)

// readBuffer is what gRPC reads into, in bytes, on either side: there is none. TLS below it has a whole record in memory already,
// and gRPC's own 32 KiB would be a third of what an idle link costs.
const readBuffer = 0

const (
	helloWithin = 10 * time.Second // how long a peer may take to say hello
	leaseWithin = 10 * time.Second // how long an answer to a heartbeat may take
)

// ServerConfig is what the hub's side of links needs.
type ServerConfig struct {
	// Attach begins the link of a peer whose identity was proved.
	Attach func(ctx context.Context, identity string, hello api.Hello) (Attachment, api.Welcome, error)
	// Identity reads the proved identity of the peer from the context of a call.
	Identity func(context.Context) (string, bool)
	// Credentials prove both sides to each other.
	Credentials credentials.TransportCredentials
	MaxLinks    int // open links; 0 means 2000
	Log         *slog.Logger
}

// Attachment is the hub's end of one link.
type Attachment interface {
	Next(context.Context) (api.HubMessage, error)
	Receive(context.Context, api.SpokeMessage) error
	Beat(context.Context) error
	Boot() string
	Close(error)
	// SaveCheckpoint takes the manifest and then the pack from content, which ends with io.EOF after exactly the header's
	// bytes, and returns nil when they are verified and durable. It may return without reading all.
	SaveCheckpoint(ctx context.Context, header api.CheckpointHeader, content io.Reader) error
	// Signal sends a signal as a session of the spoke, and returns when it is durable. Calls come from several goroutines.
	Signal(ctx context.Context, session api.SessionID, source api.Source, s api.AgentSignal) (api.Accepted, error)
	// Fates returns what became of those of the sessions that were placed in the spoke's cluster at some time.
	Fates(ctx context.Context, sessions []api.SessionID) (api.Fates, error)
	// FetchCheckpoint writes length bytes of a part from offset on; length 0 means to the end.
	FetchCheckpoint(ctx context.Context, session api.SessionID, source api.Source, id api.CheckpointID, part api.CheckpointPart, offset, length int64, w io.Writer) error
}

// Server serves the links of spokes.
type Server struct {
	linkv1.UnimplementedLinkServer
	cfg     ServerConfig
	callers *callers

	mu    sync.Mutex
	links map[string]*openLink // guarded by mu; by identity
}

// openLink is a link that was welcomed.
type openLink struct {
	att       Attachment
	over      context.Context // ended with the link
	end       context.CancelCauseFunc
	transfers chan struct{} // full while as many checkpoints travel as may: more than a spoke sends, whose ends we may hear late
	signals   chan struct{} // the same of signals of sessions
}

// NewServer makes a server.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Attach == nil || cfg.Identity == nil || cfg.Credentials == nil {
		return nil, errors.New("transport: Attach, Identity and Credentials are required")
	}
	if cfg.MaxLinks == 0 {
		cfg.MaxLinks = 2000
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, links: map[string]*openLink{}}
	s.callers = &callers{identity: cfg.Identity, linked: s.linked, log: cfg.Log, by: map[string]*caller{}}
	return s, nil
}

// Serve accepts links until ctx ends.
func (s *Server) Serve(ctx context.Context, lis net.Listener) error {
	gs := grpc.NewServer(
		grpc.Creds(counting{s.cfg.Credentials, s.callers}),
		grpc.InTapHandle(s.callers.call),
		grpc.MaxConcurrentStreams(maxCalls), grpc.MaxHeaderListSize(maxHeader),
		grpc.ForceServerCodecV2(newWeighing()),
		grpc.ConnectionTimeout(helloWithin), // else a connection without a preface holds Stop up
		grpc.MaxRecvMsgSize(maxFromSpoke), grpc.MaxSendMsgSize(maxFromHub),
		grpc.ReadBufferSize(readBuffer),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleWithin, Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	linkv1.RegisterLinkServer(gs, s)
	g := run.NewGroup(ctx)
	g.Go("links", func(context.Context) error { return gs.Serve(lis) })
	g.Go("stop", func(ctx context.Context) error {
		<-ctx.Done()
		gs.Stop()
		return nil
	})
	return g.Wait()
}

// Connect implements linkv1.LinkServer.
func (s *Server) Connect(stream grpc.BidiStreamingServer[linkv1.SpokeMessage, linkv1.HubMessage]) error {
	id, ok := s.cfg.Identity(stream.Context())
	if !ok {
		return toStatus(errNoIdentity())
	}
	greeted, err := s.callers.greet(id)
	if err != nil {
		return toStatus(err)
	}
	defer greeted()
	hello, err := firstHello(stream)
	if err != nil {
		return toStatus(err)
	}
	att, welcome, err := s.cfg.Attach(stream.Context(), id, hello)
	if err != nil {
		s.cfg.Log.Warn("link refused", "identity", id, "error", err)
		return toStatus(err)
	}
	l, err := s.keep(id, att)
	if err != nil {
		att.Close(err)
		return toStatus(err)
	}
	defer s.drop(id, l)
	if err := stream.Send(&linkv1.HubMessage{Welcome: welcomeTo(welcome)}); err != nil {
		att.Close(err)
		return err
	}
	greeted()
	err = s.converse(stream, att)
	att.Close(err)
	return toStatus(err)
}

// firstHello reads the hello, bounded by our own clock.
func firstHello(stream grpc.BidiStreamingServer[linkv1.SpokeMessage, linkv1.HubMessage]) (api.Hello, error) {
	ctx, cancel := context.WithTimeout(stream.Context(), helloWithin)
	defer cancel()
	m, err := run.Bounded(ctx, stream.Recv, nil)
	if err != nil {
		return api.Hello{}, api.Errorf(api.CodeInvalid, "no hello came: %w", err)
	}
	if m.GetHello() == nil {
		return api.Hello{}, api.Errorf(api.CodeInvalid, "the first message is not a hello")
	}
	hello, err := helloFrom(m.GetHello())
	if err != nil {
		return api.Hello{}, api.Invalid("hello", "%w", err)
	}
	return hello, nil
}

// converse carries messages both ways until one side ends. A link has two goroutines for that beside its handler, however much
// is said.
func (s *Server) converse(stream grpc.BidiStreamingServer[linkv1.SpokeMessage, linkv1.HubMessage], att Attachment) error {
	g := run.NewGroup(stream.Context())
	g.Go("send", func(ctx context.Context) error {
		for {
			m, err := att.Next(ctx)
			if err != nil {
				return err
			}
			out, err := hubMessageTo(m)
			if err != nil {
				return err
			}
			if err := stream.Send(out); err != nil {
				return err
			}
		}
	})
	r := &receiver{att: att}
	// Recv returns when the handler does, so it is not waited for: the sender's end ends the handler.
	_, err := run.Bounded(g.Context(), func() (struct{}, error) { return struct{}{}, r.receive(g.Context(), stream) }, nil)
	r.stop()
	g.Stop()
	if sent := g.Wait(); sent != nil || errors.Is(err, context.Canceled) {
		return sent
	}
	return err
}

// receiver hands what a spoke sends to its attachment.
type receiver struct {
	att Attachment

	mu   sync.Mutex // held while the attachment takes a message
	over bool       // guarded by mu
}

func (r *receiver) receive(ctx context.Context, stream grpc.BidiStreamingServer[linkv1.SpokeMessage, linkv1.HubMessage]) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		in, err := spokeMessageFrom(m)
		if err != nil {
			return api.Invalid("message", "%w", err)
		}
		if err := r.take(ctx, in); err != nil {
			return err
		}
	}
}

func (r *receiver) take(ctx context.Context, m api.SpokeMessage) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return errLinkOver
	}
	return r.att.Receive(ctx, m)
}

// stop returns when the attachment takes no message, and will take none. The context of receive must have ended, or receive.
func (r *receiver) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
}

// Beat implements linkv1.LinkServer.
func (s *Server) Beat(ctx context.Context, r *linkv1.BeatRequest) (*linkv1.BeatResponse, error) {
	l, err := s.linkOf(ctx)
	if err != nil {
		return nil, callStatus(err)
	}
	if l.att.Boot() != r.GetBoot() {
		return nil, callStatus(api.Errorf(api.CodeConflict, "this boot has no link here"))
	}
	ctx, cancel := context.WithTimeout(ctx, leaseWithin)
	defer cancel()
	if err := l.att.Beat(ctx); err != nil {
		return nil, callStatus(err)
	}
	return &linkv1.BeatResponse{}, nil
}

// keep registers a link; a former one of the same identity was ended by the hub already.
func (s *Server) keep(id string, att Attachment) (*openLink, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.links[id] == nil && len(s.links) >= s.cfg.MaxLinks {
		return nil, api.Errorf(api.CodeLimit, "%d links are open, the limit", len(s.links))
	}
	l := &openLink{att: att, transfers: make(chan struct{}, 2*maxTransfers), signals: make(chan struct{}, 2*maxSignals)}
	l.over, l.end = context.WithCancelCause(context.Background())
	s.links[id] = l
	return l, nil
}

func (s *Server) drop(id string, l *openLink) {
	l.end(errLinkOver)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.links[id] == l {
		delete(s.links, id)
	}
}

// linkOf returns the link of the caller of a method.
func (s *Server) linkOf(ctx context.Context) (*openLink, error) {
	id, ok := s.cfg.Identity(ctx)
	if !ok {
		return nil, errNoIdentity()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.links[id]
	if l == nil {
		return nil, errNoLinkHere()
	}
	return l, nil
}

func (s *Server) linked(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.links[id] != nil
}

func errNoIdentity() error {
	return api.Errorf(api.CodeUnauthenticated, "the connection proves no identity")
}

func errNoLinkHere() error { return api.Errorf(api.CodeConflict, "this spoke has no link here") }

package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport/linkv1"
)

// client makes a gRPC connection that dials when it is first used. denied gets the network's word that it does not know us:
// gRPC passes on only the text of a dial's error.
func (l *Link) client(denied *atomic.Pointer[error], more ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///hub", append(more,
		grpc.WithTransportCredentials(l.cfg.Credentials),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := l.cfg.Dial(ctx)
			if err != nil && api.CodeOf(err) == api.CodeDenied {
				denied.Store(&err)
			}
			return c, err
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxFromHub), grpc.MaxCallSendMsgSize(maxFromSpoke)),
		grpc.WithReadBufferSize(readBuffer),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true}))...)
}

// closeConn waits only a moment: in front of a peer that takes nothing, gRPC tries for seconds to say goodbye.
func closeConn(cc *grpc.ClientConn) {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	_, _ = run.Bounded(ctx, func() (struct{}, error) { return struct{}{}, cc.Close() }, nil) // closed all the same
}

// once holds one connection. It reports whether a welcome came.
func (l *Link) once(ctx context.Context, h Handler) (welcomed bool, err error) {
	var denied atomic.Pointer[error]
	cc, err := l.client(&denied)
	if err != nil {
		return false, err
	}
	defer closeConn(cc)
	bulk, err := l.client(&denied, grpc.WithIdleTimeout(bulkIdle))
	if err != nil {
		return false, err
	}
	defer closeConn(bulk)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	client := linkv1.NewLinkClient(cc)
	hello, err := h.Hello(ctx)
	if err != nil {
		return false, err
	}
	stream, welcome, err := l.greet(ctx, client, hello)
	if err != nil {
		if d := denied.Load(); d != nil {
			err = *d
		}
		return false, err
	}
	conn := &connection{control: client, send: make(chan api.SpokeMessage, sendQueue), bulk: linkv1.NewLinkClient(bulk), over: ctx}
	l.set(conn)
	defer l.set(nil)
	if err := h.Connected(ctx, welcome); err != nil {
		return true, err
	}
	g := run.NewGroup(ctx)
	g.Go("send", func(ctx context.Context) error { return sendAll(ctx, stream, conn.send) })
	g.Go("beat", func(ctx context.Context) error { return l.beat(ctx, client, hello.Boot, welcome.Beat, h) })
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

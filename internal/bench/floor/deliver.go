package floor

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/nave-dev/nave/internal/run"
)

// The floor of a signal to an agent is two processes. The hub's takes it by a unary call, appends it to a file with a sync,
// answers, and sends it on a stream; both on gRPC with TLS of both sides, over loopback. The spoke's appends it to its file with
// a sync and starts the agent's program with it on standard input.
func init() {
	programs["deliver-hub"] = deliverHub
	programs["deliver-spoke"] = deliverSpoke
}

// RelaySignal and the stream are the methods of the floor's hub.
const (
	relayService = "floor.Relay"
	RelaySignal  = "/" + relayService + "/Signal"
	relayLink    = "/" + relayService + "/Link"
)

// relay is the floor's hub.
type relay struct {
	log  *synced
	link chan []byte // bound 1024: signals on their way to the spoke; when it is full callers wait
}

func (r *relay) signal(in *wrapperspb.BytesValue) (*emptypb.Empty, error) {
	if err := r.log.add(in.Value); err != nil {
		return nil, err
	}
	r.link <- in.Value
	return &emptypb.Empty{}, nil
}

func (r *relay) follow(stream grpc.ServerStream) error {
	for {
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case b := <-r.link:
			if err := stream.SendMsg(wrapperspb.Bytes(b)); err != nil {
				return err
			}
		}
	}
}

var relayDesc = grpc.ServiceDesc{
	ServiceName: relayService,
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Signal", Handler: func(srv any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.BytesValue)
		if err := decode(in); err != nil {
			return nil, err
		}
		return srv.(*relay).signal(in)
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Link", ServerStreams: true, ClientStreams: true, Handler: func(srv any, stream grpc.ServerStream) error {
		return srv.(*relay).follow(stream)
	}}},
}

// deliverHub DIR: its key is in DIR afterwards. It prints its address.
func deliverHub(ctx context.Context, args []string) error {
	dir := args[0]
	if err := makeKey(dir); err != nil {
		return err
	}
	creds, err := Mutual(dir)
	if err != nil {
		return err
	}
	log, err := newSynced(filepath.Join(dir, "hub.log"))
	if err != nil {
		return err
	}
	srv := grpc.NewServer(grpc.Creds(creds))
	srv.RegisterService(&relayDesc, &relay{log: log, link: make(chan []byte, 1024)})
	g := run.NewGroup(ctx)
	if err := serve(g, srv); err != nil {
		return err
	}
	return g.Wait()
}

// deliverSpoke DIR ADDRESS PROGRAM ARGUMENTS: a start of the program per signal.
func deliverSpoke(ctx context.Context, args []string) error {
	dir, address, argv := args[0], args[1], args[2:]
	creds, err := Mutual(dir)
	if err != nil {
		return err
	}
	log, err := newSynced(filepath.Join(dir, "spoke.log"))
	if err != nil {
		return err
	}
	cc, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	if err != nil {
		return err
	}
	defer cc.Close()
	g := run.NewGroup(ctx)
	stream, err := cc.NewStream(g.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, relayLink)
	if err != nil {
		return err
	}
	untilInputEnds(g, func() {}, "ready")
	g.Go("receive", func(ctx context.Context) error {
		for {
			in := new(wrapperspb.BytesValue)
			if err := stream.RecvMsg(in); ctx.Err() != nil {
				return nil // told to end
			} else if err != nil {
				return err
			}
			if err := log.add(in.Value); err != nil {
				return err
			}
			g.Go("program", func(context.Context) error { return start(argv, in.Value) })
		}
	})
	return g.Wait()
}

// start runs a program with something on standard input, and waits for it.
func start(argv []string, text []byte) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer w.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		r.Close()
		return err
	}
	defer null.Close()
	p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{Files: []*os.File{r, null, null}})
	r.Close()
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	w.Close()
	_, err = p.Wait()
	return err
}

// Handshake starts a program that prints what it reads, sends it a request of JSON-RPC, and waits for a line of answer: the
// least that a start of an agent can be. It returns when the answer is there, and how long that took.
func Handshake(argv []string) (time.Duration, error) {
	began := time.Now()
	inR, inW, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer inW.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		inR.Close()
		return 0, err
	}
	defer outR.Close()
	p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{Files: []*os.File{inR, outW, os.Stderr}})
	inR.Close()
	outW.Close()
	if err != nil {
		return 0, err
	}
	_, err = inW.WriteString(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}` + "\n")
	if err == nil {
		_, err = bufio.NewReader(outR).ReadString('\n')
	}
	took := time.Since(began)
	inW.Close()
	_, werr := p.Wait()
	if err == nil {
		err = werr
	}
	return took, err
}

// synced is a file to which records are appended, each with a sync.
type synced struct {
	mu sync.Mutex
	f  *os.File
}

func newSynced(path string) (*synced, error) {
	f, err := os.Create(path)
	return &synced{f: f}, err
}

func (s *synced) add(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.f.Write(b); err != nil {
		return err
	}
	return syscall.Fdatasync(int(s.f.Fd()))
}

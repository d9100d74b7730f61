package local

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/internal/unixsocket"
)

// Bounds of the server.
const (
	maxBody     = 2 << 20 // bytes: a payload of 1 MiB fits as base64
	callsAtOnce = 16
	connections = 64
	callWithin  = 45 * time.Second // a signal takes 30 s at most
)

// Config is what a server needs.
type Config struct {
	// Path is the absolute path of the socket, at most 107 bytes. A socket that nobody serves is replaced.
	Path string
	// Backend is required.
	Backend Backend
	// Log is required.
	Log *slog.Logger
}

// Server serves the local API.
type Server struct {
	c     Config
	calls chan struct{} // bound callsAtOnce: full while as many calls run as may; the others are refused
	conns atomic.Int64
	peer  func(net.Conn) (unixsocket.Credentials, error)

	listens chan struct{} // closed when it does
	once    sync.Once
}

// New checks the configuration. It starts nothing.
func New(c Config) (*Server, error) {
	if c.Backend == nil || c.Log == nil {
		return nil, api.Invalid("Backend", "and Log are required")
	}
	if err := unixsocket.Check("Path", c.Path); err != nil {
		return nil, err
	}
	return &Server{c: c, calls: make(chan struct{}, callsAtOnce), peer: unixsocket.Peer, listens: make(chan struct{})}, nil
}

// Ready is closed when calls are taken.
func (s *Server) Ready() <-chan struct{} { return s.listens }

// Run serves until ctx ends. Calls that run then end with it; the socket is gone afterwards.
func (s *Server) Run(ctx context.Context) error {
	l, err := unixsocket.Listen("Path", s.c.Path)
	if err != nil {
		return err
	}
	g := run.NewGroup(ctx)
	srv := &http.Server{
		Handler:           s.handler(),
		BaseContext:       func(net.Listener) context.Context { return g.Context() },
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       20 * time.Second,
		WriteTimeout:      callWithin + 20*time.Second,
		IdleTimeout:       10 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.c.Log.Handler(), slog.LevelDebug),
	}
	s.once.Do(func() { close(s.listens) })
	g.Go("serve", func(context.Context) error {
		if err := srv.Serve(&guarded{Listener: l, s: s, uid: uint32(os.Getuid())}); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go("close", func(ctx context.Context) error {
		<-ctx.Done()
		c, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if srv.Shutdown(c) != nil { // the calls have heard of the end by their context
			return srv.Close()
		}
		return nil
	})
	return g.Wait()
}

// guarded accepts connections of the server's own user and of root, a bounded number at a time.
type guarded struct {
	net.Listener
	s   *Server
	uid uint32
}

// Accept implements [net.Listener].
func (g *guarded) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, err := g.s.peer(conn)
		switch {
		case err != nil || peer.UID != g.uid && peer.UID != 0:
			g.s.c.Log.Warn("local call refused", "uid", peer.UID, "pid", peer.PID, "err", err)
		case g.s.conns.Add(1) > connections:
			g.s.conns.Add(-1)
		default:
			return &counted{Conn: conn, s: g.s}, nil
		}
		conn.Close()
	}
}

// counted gives its place back once.
type counted struct {
	net.Conn
	s    *Server
	once sync.Once
}

// Close implements [net.Conn].
func (c *counted) Close() error {
	c.once.Do(func() { c.s.conns.Add(-1) })
	return c.Conn.Close()
}

// paths are the calls that there are, with their methods.
var paths = map[string]string{"/v1/signal": http.MethodPost, "/v1/emit": http.MethodPost, "/v1/state": http.MethodGet}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/signal", s.call(func(ctx context.Context, body []byte) (any, error) {
		r, err := decodeSignal(body)
		if err != nil {
			return nil, err
		}
		return s.c.Backend.Signal(ctx, r)
	}))
	mux.HandleFunc("POST /v1/emit", s.call(func(ctx context.Context, body []byte) (any, error) {
		text, attributes, err := decodeNote(body)
		if err != nil {
			return nil, err
		}
		return struct{}{}, s.c.Backend.Emit(ctx, text, attributes)
	}))
	mux.HandleFunc("GET /v1/state", s.call(func(ctx context.Context, _ []byte) (any, error) {
		st := s.c.Backend.State(ctx)
		if st.Signals == nil {
			st.Signals = []uint64{} // a list, whatever is in it
		}
		return st, nil
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if method, known := paths[r.URL.Path]; known {
			w.Header().Set("Allow", method)
			answer(w, http.StatusMethodNotAllowed, errorBody(api.Invalid("method", "%.20q: want %s", r.Method, method)))
			return
		}
		fail(w, api.Errorf(api.CodeNotFound, "there is no call %.80q", r.URL.Path))
	})
	return mux
}

// call serves one kind of call, bounded in number, size and time.
func (s *Server) call(f func(ctx context.Context, body []byte) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.calls <- struct{}{}:
			defer func() { <-s.calls }()
		default:
			w.Header().Set("Connection", "close") // its body is not read
			fail(w, api.Errorf(api.CodeLimit, "%d calls run already, the limit: repeat when one has ended", callsAtOnce))
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			fail(w, limit("body", "at most %d bytes are allowed; a payload of bytes or of many escapes takes less room with \"encoding\": %q", maxBody, encodingBase64))
			return
		case err != nil:
			fail(w, api.Invalid("body", "it did not come: %w", err))
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), callWithin)
		defer cancel()
		out, err := f(ctx, body)
		if err != nil {
			fail(w, err)
			return
		}
		answer(w, http.StatusOK, out)
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the caller may be gone
}

package modelserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nave-dev/nave/internal/run"
)

// Config says what a server answers and how much it bears.
type Config struct {
	Script   Script           // required
	Listener net.Listener     // required; loopback only. Run closes it
	Key      string           // that requests are to carry, as a bearer token, in x-api-key or in x-goog-api-key; empty: none is asked for
	Models   []string         // that /v1/models lists; default "scripted"
	Longest  time.Duration    // of one answer; default 2 min
	Keep     int              // requests that are recorded and answered; default 1,000
	Now      func() time.Time // default time.Now
}

// Request is one request as it was recorded.
type Request struct {
	Conversation Conversation
	Stream       bool
	Body         string // as it came
}

// Server is the model.
type Server struct {
	cfg Config

	mu       sync.Mutex
	requests []Request
	open     int      // answers that are being given
	refused  []string // what was wrong with requests that could not be understood
}

// New returns a server that serves when it is run.
func New(cfg Config) (*Server, error) {
	if cfg.Script == nil || cfg.Listener == nil {
		return nil, errors.New("a model server needs a script and a listener")
	}
	if a, ok := cfg.Listener.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		return nil, fmt.Errorf("a model server listens on loopback only, not on %v", cfg.Listener.Addr())
	}
	if len(cfg.Models) == 0 {
		cfg.Models = []string{"scripted"}
	}
	if cfg.Longest == 0 {
		cfg.Longest = 2 * time.Minute
	}
	if cfg.Keep == 0 {
		cfg.Keep = 1000
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Server{cfg: cfg}, nil
}

// URL is the base that the doors lie behind; it ends in /v1.
func (s *Server) URL() string { return s.Root() + "/v1" }

// Root is the URL without the version: the clients of Anthropic and Google add it themselves.
func (s *Server) Root() string { return "http://" + s.cfg.Listener.Addr().String() }

// Requests are the conversations that were asked, in the order in which they came.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Refused says what was wrong with the requests that were refused: for a test that all of them were understood.
func (s *Server) Refused() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.refused)
}

// Answering is how many answers are being given now. An agent that was cancelled leaves none.
func (s *Server) Answering() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// drain bounds how long Run waits for answers that are being cut.
const drain = 5 * time.Second

// Run serves until ctx ends. Answers that are being given are cut.
func (s *Server) Run(ctx context.Context) error {
	g := run.NewGroup(ctx)
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return g.Context() }}
	g.Go("serve", func(context.Context) error {
		if err := srv.Serve(s.cfg.Listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go("close", func(ctx context.Context) error {
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.Background(), drain)
		defer cancel()
		return errors.Join(srv.Shutdown(ctx), srv.Close()) // the answers' contexts have ended with the group's
	})
	return g.Wait()
}

// ServeHTTP implements http.Handler. Clients know the doors with and without the version in front.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/v1beta"), "/v1"), "/")
	var d dialect
	switch API(strings.TrimSuffix(path, "/count_tokens")) {
	case Chat:
		d = chat{}
	case Responses:
		d = responses{}
	case Messages:
		d = messages{}
	default:
		if g, ok := googleDoor(path); ok {
			d = g
		}
	}
	counting := path == string(Messages)+"/count_tokens"
	switch {
	case r.Method == http.MethodHead: // some agents look first whether anybody is there
		w.WriteHeader(http.StatusOK)
	case !s.mayAsk(r):
		s.refuse(w, orChat(d), http.StatusUnauthorized, "the key is missing or not the right one")
	case path == "models" && r.Method == http.MethodGet:
		s.models(w)
	case d == nil || strings.HasSuffix(path, "/count_tokens") && !counting:
		s.refuse(w, chat{}, http.StatusNotFound, r.Method+" "+r.URL.Path+" is no door of this server")
	case r.Method != http.MethodPost:
		s.refuse(w, d, http.StatusMethodNotAllowed, r.Method+" "+r.URL.Path+": only POST is served")
	default:
		s.converse(w, r, d, counting)
	}
}

func orChat(d dialect) dialect {
	if d == nil {
		return chat{}
	}
	return d
}

func (s *Server) mayAsk(r *http.Request) bool {
	return s.cfg.Key == "" || r.Header.Get("X-Api-Key") == s.cfg.Key || r.Header.Get("X-Goog-Api-Key") == s.cfg.Key || r.Header.Get("Authorization") == "Bearer "+s.cfg.Key
}

// models lists the models in a form that clients of both makers read.
func (s *Server) models(w http.ResponseWriter) {
	list := []object{}
	for _, m := range s.cfg.Models {
		list = append(list, object{"id": m, "object": "model", "created": 1, "owned_by": "nave", "type": "model", "display_name": m, "created_at": "2026-01-01T00:00:00Z"})
	}
	reply(w, http.StatusOK, object{"object": "list", "data": list, "has_more": false, "first_id": s.cfg.Models[0], "last_id": s.cfg.Models[len(list)-1]})
}

// maxBody is far above what an agent sends in a test.
const maxBody = 32 << 20

// converse answers one conversation.
func (s *Server) converse(w http.ResponseWriter, r *http.Request, d dialect, counting bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		s.refuse(w, d, http.StatusBadRequest, "read the request: "+err.Error())
		return
	}
	q, err := d.decode(body)
	if err != nil {
		s.refuse(w, d, http.StatusBadRequest, err.Error())
		return
	}
	if counting {
		reply(w, http.StatusOK, object{"input_tokens": tokens(len(body))})
		return
	}
	s.mu.Lock()
	full := len(s.requests) >= s.cfg.Keep
	if !full {
		s.requests = append(s.requests, Request{Conversation: q.conversation, Stream: q.stream, Body: string(body)})
	}
	n := len(s.requests)
	s.open++
	s.mu.Unlock()
	defer s.answered()
	if full {
		s.refuse(w, d, http.StatusTooManyRequests, fmt.Sprintf("the server has recorded %d requests and takes no more", s.cfg.Keep))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Longest)
	defer cancel()
	a := s.cfg.Script(q.conversation).check(q.conversation)
	m := meta{n: n, model: q.conversation.Model, created: s.cfg.Now().Unix(), in: tokens(len(body)), withUsage: q.usage}
	switch {
	case a.Status != 0:
		reply(w, a.Status, d.fault(a.Status, a.Error))
	case a.Hang:
		<-ctx.Done()
	case q.stream:
		perform(ctx, d.stream(newEvents(w), m), a)
	case a.Endless:
		<-ctx.Done() // a document without an end never comes
	default:
		if wait(ctx, a.Pause*time.Duration(len(a.Text))) {
			reply(w, http.StatusOK, d.whole(m, a))
		}
	}
}

func (s *Server) answered() {
	s.mu.Lock()
	s.open--
	s.mu.Unlock()
}

// refuse answers what cannot be answered, and notes it.
func (s *Server) refuse(w http.ResponseWriter, d dialect, status int, message string) {
	s.mu.Lock()
	if len(s.refused) < s.cfg.Keep {
		s.refused = append(s.refused, fmt.Sprintf("%d: %s", status, message))
	}
	s.mu.Unlock()
	reply(w, status, d.fault(status, message))
}

func reply(w http.ResponseWriter, status int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document) // a client that has gone away is not told
}

// tokens counts bytes as tokens.
func tokens(bytes int) int { return (bytes + 3) / 4 }

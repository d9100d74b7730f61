package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/api/navev1/navev1connect"
)

// testToken is the only token that the hub of the tests accepts.
const testToken = "t0ken"

var testNow = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// testHub is a small hub in memory: it keeps what it is given, so that tests look at the state of the world.
type testHub struct {
	mu       sync.Mutex
	nouns    map[string]noun   // by kind/name
	former   map[string][]noun // every revision, the first one first
	clusters map[string]*navev1.Cluster
	sessions []*navev1.Session
	signals  map[string]*navev1.SignalResponse // by idempotency key
	payloads map[string]string
	events   []*navev1.Event
	explain  *navev1.ExplainResponse
	dead     []*navev1.DeadLetter
	side     []*navev1.Event
	asked    []*navev1.Approval
	status   *navev1.StatusResponse
	deltas   bool                // streams were asked for deltas
	ticking  bool                // a followed log brings an event every now and then
	then     map[string][]func() // what happens after the next calls of a method
	notes    []string            // of changed intents
	cuts     []int               // stream i of events breaks after so many
	streams  int
	calls    int // requests of any kind
	rpcOnce  map[string]error
}

func refuse(code api.Code, field, format string, args ...any) error {
	status := map[api.Code]connect.Code{api.CodeInvalid: connect.CodeInvalidArgument, api.CodeNotFound: connect.CodeNotFound,
		api.CodeUnauthenticated: connect.CodeUnauthenticated, api.CodeConflict: connect.CodeAborted, api.CodeInUse: connect.CodeFailedPrecondition,
		api.CodeDenied: connect.CodePermissionDenied, api.CodeExists: connect.CodeAlreadyExists}[code]
	ce := connect.NewError(cmp.Or(status, connect.CodeUnknown), fmt.Errorf(format, args...))
	d, err := connect.NewErrorDetail(&errdetails.ErrorInfo{Domain: "nave.dev", Reason: string(code), Metadata: map[string]string{"field": field}})
	if err != nil {
		panic(err)
	}
	ce.AddDetail(d)
	return ce
}

// newTestHub serves a hub over TLS and returns it with its address and authority.
func newTestHub(t *testing.T) (*testHub, *httptest.Server) {
	h := &testHub{nouns: map[string]noun{}, former: map[string][]noun{}, then: map[string][]func(){}, clusters: map[string]*navev1.Cluster{}, signals: map[string]*navev1.SignalResponse{}, payloads: map[string]string{}, rpcOnce: map[string]error{}}
	mux := http.NewServeMux()
	mux.Handle(navev1connect.NewEnvironmentsHandler(&environments{h: h}))
	mux.Handle(navev1connect.NewAgentsHandler(&agents{h: h}))
	mux.Handle(navev1connect.NewPlacementPoliciesHandler(&policies{h: h}))
	mux.Handle(navev1connect.NewGrantsHandler(&grants{h: h}))
	mux.Handle(navev1connect.NewApprovalsHandler(&asked{h: h}))
	mux.Handle(navev1connect.NewClustersHandler(&clusters{h: h}))
	mux.Handle(navev1connect.NewSessionsHandler(&sessions{h: h}))
	mux.Handle(navev1connect.NewSystemHandler(&system{h: h}))
	s := httptest.NewUnstartedServer(mux)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return h, s
}

// enter counts a call and answers what every call may be answered with.
func (h *testHub) enter(ctx context.Context, method string) error {
	h.calls++
	if next := h.then[method]; len(next) > 0 {
		defer next[0]()
		h.then[method] = next[1:]
	}
	if err, ok := h.rpcOnce[method]; ok {
		delete(h.rpcOnce, method)
		return err
	}
	info, _ := connect.CallInfoForHandlerContext(ctx)
	if info.RequestHeader().Get("Authorization") != "Bearer "+testToken {
		return refuse(api.CodeUnauthenticated, "", "the token is not known")
	}
	return nil
}

type system struct {
	navev1connect.UnimplementedSystemHandler
	h *testHub
}

func (s *system) Info(ctx context.Context, _ *navev1.InfoRequest) (*navev1.InfoResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	return &navev1.InfoResponse{Version: "v9", Subject: "ann", Role: "admin", Organization: "default"}, s.h.enter(ctx, "Info")
}

func (s *system) Status(ctx context.Context, _ *navev1.StatusRequest) (*navev1.StatusResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	res := s.h.status
	return res, s.h.enter(ctx, "Status")
}

var errCut = connect.NewError(connect.CodeUnavailable, errors.New("cut"))

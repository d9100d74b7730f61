package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

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
	nouns    map[string]noun // by kind/name
	clusters map[string]*navev1.Cluster
	sessions []*navev1.Session
	signals  map[string]*navev1.SignalResponse // by idempotency key
	payloads map[string]string
	events   []*navev1.Event
	explain  *navev1.ExplainResponse
	dead     []*navev1.DeadLetter
	side     []*navev1.Event
	notes    []string // of changed intents
	cuts     []int    // stream i of events breaks after so many
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
	h := &testHub{nouns: map[string]noun{}, clusters: map[string]*navev1.Cluster{}, signals: map[string]*navev1.SignalResponse{}, payloads: map[string]string{}, rpcOnce: map[string]error{}}
	mux := http.NewServeMux()
	mux.Handle(navev1connect.NewEnvironmentsHandler(&environments{h: h}))
	mux.Handle(navev1connect.NewAgentsHandler(&agents{h: h}))
	mux.Handle(navev1connect.NewPlacementPoliciesHandler(&policies{h: h}))
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

func (h *testHub) put(ctx context.Context, k *kind, n noun, dryRun bool) (navev1.Outcome, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.enter(ctx, "Put"); err != nil {
		return 0, err
	}
	if a, ok := n.(*navev1.Agent); ok && h.nouns["environment/"+a.GetSpec().GetEnvironment()] == nil {
		return 0, refuse(api.CodeInvalid, "spec.environment", "there is no environment %q: create it first", a.GetSpec().GetEnvironment())
	}
	key, outcome, revision := k.singular()+"/"+n.GetMeta().GetName(), navev1.Outcome_OUTCOME_CREATED, uint64(1)
	if old := h.nouns[key]; old != nil {
		outcome, revision = navev1.Outcome_OUTCOME_UPDATED, old.GetMeta().GetRevision()+1
		same := proto.Clone(old).(noun)
		same.ProtoReflect().Set(same.ProtoReflect().Descriptor().Fields().ByName("meta"), n.ProtoReflect().Get(n.ProtoReflect().Descriptor().Fields().ByName("meta")))
		if proto.Equal(same, n) && maps.Equal(old.GetMeta().GetLabels(), n.GetMeta().GetLabels()) {
			return navev1.Outcome_OUTCOME_UNCHANGED, nil
		}
	}
	if dryRun {
		return outcome, nil
	}
	n = proto.Clone(n).(noun)
	m := n.GetMeta()
	m.Organization = cmp.Or(m.Organization, "default")
	m.Id, m.Revision, m.Etag, m.UpdatedAt = "01ID", revision, "e", timestamppb.New(testNow.Add(-90*time.Minute))
	h.nouns[key] = n
	return outcome, nil
}

func (h *testHub) get(ctx context.Context, k *kind, name string) (noun, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.enter(ctx, "Get"); err != nil {
		return nil, err
	}
	if n := h.nouns[k.singular()+"/"+name]; n != nil {
		return n, nil
	}
	return nil, refuse(api.CodeNotFound, "name", "there is no %s %q", k.singular(), name)
}

// list answers one noun a page, so that every list has several.
func (h *testHub) list(ctx context.Context, k *kind, r *navev1.ListRequest) (noun, string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.enter(ctx, "List"); err != nil {
		return nil, "", err
	}
	var names []string
	for key, n := range h.nouns {
		name, value, _ := strings.Cut(r.GetSelector(), "=")
		if strings.HasPrefix(key, k.singular()+"/") && key > r.GetPageToken() && (name == "" || n.GetMeta().GetLabels()[name] == value) {
			names = append(names, key)
		}
	}
	slices.Sort(names)
	switch len(names) {
	case 0:
		return nil, "", nil
	case 1:
		return h.nouns[names[0]], "", nil
	}
	return h.nouns[names[0]], names[0], nil
}

func (h *testHub) delete(ctx context.Context, k *kind, r *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
	if _, err := h.get(ctx, k, r.GetName()); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.nouns {
		if a, ok := n.(*navev1.Agent); ok && k == environmentKind && a.GetSpec().GetEnvironment() == r.GetName() {
			return nil, refuse(api.CodeInUse, "", "used by agent/%s: delete that first", a.GetMeta().GetName())
		}
	}
	if !r.GetDryRun() {
		delete(h.nouns, k.singular()+"/"+r.GetName())
	}
	return &navev1.DeleteResponse{Outcome: navev1.Outcome_OUTCOME_DELETED}, nil
}

type environments struct {
	navev1connect.UnimplementedEnvironmentsHandler
	h *testHub
}

func (s *environments) Put(ctx context.Context, r *navev1.PutEnvironmentRequest) (*navev1.PutEnvironmentResponse, error) {
	o, err := s.h.put(ctx, environmentKind, r.GetEnvironment(), r.GetDryRun())
	return &navev1.PutEnvironmentResponse{Outcome: o}, err
}

func (s *environments) Get(ctx context.Context, r *navev1.GetRequest) (*navev1.Environment, error) {
	n, err := s.h.get(ctx, environmentKind, r.GetName())
	e, _ := n.(*navev1.Environment)
	return e, err
}

func (s *environments) List(ctx context.Context, r *navev1.ListRequest) (*navev1.ListEnvironmentsResponse, error) {
	n, next, err := s.h.list(ctx, environmentKind, r)
	res := &navev1.ListEnvironmentsResponse{NextPageToken: next}
	if n != nil {
		res.Environments = append(res.Environments, n.(*navev1.Environment))
	}
	return res, err
}

func (s *environments) Delete(ctx context.Context, r *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
	return s.h.delete(ctx, environmentKind, r)
}

type agents struct {
	navev1connect.UnimplementedAgentsHandler
	h *testHub
}

func (s *agents) Put(ctx context.Context, r *navev1.PutAgentRequest) (*navev1.PutAgentResponse, error) {
	o, err := s.h.put(ctx, agentKind, r.GetAgent(), r.GetDryRun())
	return &navev1.PutAgentResponse{Outcome: o}, err
}

func (s *agents) Get(ctx context.Context, r *navev1.GetRequest) (*navev1.Agent, error) {
	n, err := s.h.get(ctx, agentKind, r.GetName())
	a, _ := n.(*navev1.Agent)
	return a, err
}

func (s *agents) List(ctx context.Context, r *navev1.ListRequest) (*navev1.ListAgentsResponse, error) {
	n, next, err := s.h.list(ctx, agentKind, r)
	res := &navev1.ListAgentsResponse{NextPageToken: next}
	if n != nil {
		res.Agents = append(res.Agents, n.(*navev1.Agent))
	}
	return res, err
}

func (s *agents) Delete(ctx context.Context, r *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
	return s.h.delete(ctx, agentKind, r)
}

type policies struct {
	navev1connect.UnimplementedPlacementPoliciesHandler
	h *testHub
}

func (s *policies) Put(ctx context.Context, r *navev1.PutPlacementPolicyRequest) (*navev1.PutPlacementPolicyResponse, error) {
	o, err := s.h.put(ctx, policyKind, r.GetPlacementPolicy(), r.GetDryRun())
	return &navev1.PutPlacementPolicyResponse{Outcome: o}, err
}

func (s *policies) List(ctx context.Context, r *navev1.ListRequest) (*navev1.ListPlacementPoliciesResponse, error) {
	n, next, err := s.h.list(ctx, policyKind, r)
	res := &navev1.ListPlacementPoliciesResponse{NextPageToken: next}
	if n != nil {
		res.PlacementPolicies = append(res.PlacementPolicies, n.(*navev1.PlacementPolicy))
	}
	return res, err
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

var errCut = connect.NewError(connect.CodeUnavailable, errors.New("cut"))

package rpc

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub"
)

// environments implements nave.v1.Environments.
type environments struct {
	navev1.UnsafeEnvironmentsServer // adds nothing: a method that is missing does not compile
	s                               *Server
}

func (h environments) Put(ctx context.Context, req *navev1.PutEnvironmentRequest) (*navev1.PutEnvironmentResponse, error) {
	m, outcome, err := put(ctx, h.s, req.GetEnvironment(), req)
	return &navev1.PutEnvironmentResponse{Environment: m, Outcome: outcome}, err
}

func (h environments) Get(ctx context.Context, req *navev1.GetRequest) (*navev1.Environment, error) {
	return get[*navev1.Environment](ctx, h.s, api.KindEnvironment, req)
}

func (h environments) List(ctx context.Context, req *navev1.ListRequest) (*navev1.ListEnvironmentsResponse, error) {
	items, next, err := list[*navev1.Environment](ctx, h.s, api.KindEnvironment, req)
	return &navev1.ListEnvironmentsResponse{Environments: items, NextPageToken: next}, err
}

func (h environments) ListRevisions(ctx context.Context, req *navev1.ListRevisionsRequest) (*navev1.ListEnvironmentsResponse, error) {
	items, next, err := revisions[*navev1.Environment](ctx, h.s, api.KindEnvironment, req)
	return &navev1.ListEnvironmentsResponse{Environments: items, NextPageToken: next}, err
}

func (h environments) Delete(ctx context.Context, req *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
	return remove(ctx, h.s, api.KindEnvironment, req)
}

// agents implements nave.v1.Agents.
type agents struct {
	navev1.UnsafeAgentsServer
	s *Server
}

func (h agents) Put(ctx context.Context, req *navev1.PutAgentRequest) (*navev1.PutAgentResponse, error) {
	m, outcome, err := put(ctx, h.s, req.GetAgent(), req)
	return &navev1.PutAgentResponse{Agent: m, Outcome: outcome}, err
}

func (h agents) Get(ctx context.Context, req *navev1.GetRequest) (*navev1.Agent, error) {
	return get[*navev1.Agent](ctx, h.s, api.KindAgent, req)
}

func (h agents) List(ctx context.Context, req *navev1.ListRequest) (*navev1.ListAgentsResponse, error) {
	items, next, err := list[*navev1.Agent](ctx, h.s, api.KindAgent, req)
	return &navev1.ListAgentsResponse{Agents: items, NextPageToken: next}, err
}

func (h agents) ListRevisions(ctx context.Context, req *navev1.ListRevisionsRequest) (*navev1.ListAgentsResponse, error) {
	items, next, err := revisions[*navev1.Agent](ctx, h.s, api.KindAgent, req)
	return &navev1.ListAgentsResponse{Agents: items, NextPageToken: next}, err
}

func (h agents) Delete(ctx context.Context, req *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
	return remove(ctx, h.s, api.KindAgent, req)
}

// policies implements nave.v1.PlacementPolicies.
type policies struct {
	navev1.UnsafePlacementPoliciesServer
	s *Server
}

func (h policies) Put(ctx context.Context, req *navev1.PutPlacementPolicyRequest) (*navev1.PutPlacementPolicyResponse, error) {
	m, outcome, err := put(ctx, h.s, req.GetPlacementPolicy(), req)
	return &navev1.PutPlacementPolicyResponse{PlacementPolicy: m, Outcome: outcome}, err
}

func (h policies) Get(ctx context.Context, req *navev1.GetRequest) (*navev1.PlacementPolicy, error) {
	return get[*navev1.PlacementPolicy](ctx, h.s, api.KindPlacementPolicy, req)
}

func (h policies) List(ctx context.Context, req *navev1.ListRequest) (*navev1.ListPlacementPoliciesResponse, error) {
	items, next, err := list[*navev1.PlacementPolicy](ctx, h.s, api.KindPlacementPolicy, req)
	return &navev1.ListPlacementPoliciesResponse{PlacementPolicies: items, NextPageToken: next}, err
}

func (h policies) ListRevisions(ctx context.Context, req *navev1.ListRevisionsRequest) (*navev1.ListPlacementPoliciesResponse, error) {
	items, next, err := revisions[*navev1.PlacementPolicy](ctx, h.s, api.KindPlacementPolicy, req)
	return &navev1.ListPlacementPoliciesResponse{PlacementPolicies: items, NextPageToken: next}, err
}

func (h policies) Delete(ctx context.Context, req *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
	return remove(ctx, h.s, api.KindPlacementPolicy, req)
}

// putRequest is what the put requests have in common.
type putRequest interface {
	GetDryRun() bool
	GetCreateOnly() bool
	GetRequestId() string
}

func put[M proto.Message](ctx context.Context, s *Server, m M, req putRequest) (none M, _ navev1.Outcome, _ error) {
	d, err := navev1.DefinitionFromProto(m)
	if err != nil {
		return none, 0, err
	}
	if d.Org, err = orgOf(ctx, string(d.Org)); err != nil {
		return none, 0, err
	}
	d, outcome, err := s.cfg.Catalog.Put(ctx, hub.PutRequest{Definition: d, DryRun: req.GetDryRun(), CreateOnly: req.GetCreateOnly(), RequestID: req.GetRequestId(), By: caller(ctx).Subject})
	if err != nil {
		return none, 0, err
	}
	return navev1.DefinitionToProto(d).(M), outcomes[outcome], nil
}

func get[M proto.Message](ctx context.Context, s *Server, kind api.Kind, req *navev1.GetRequest) (none M, _ error) {
	org, err := orgOf(ctx, req.GetOrganization())
	if err != nil {
		return none, err
	}
	d, err := s.cfg.Catalog.Definition(ctx, org, kind, req.GetName(), req.GetRevision())
	if err != nil {
		return none, err
	}
	return navev1.DefinitionToProto(d).(M), nil
}

func list[M proto.Message](ctx context.Context, s *Server, kind api.Kind, req *navev1.ListRequest) ([]M, string, error) {
	org, err := orgOf(ctx, req.GetOrganization())
	if err != nil {
		return nil, "", err
	}
	ds, next, err := s.cfg.Catalog.List(ctx, org, kind, req.GetSelector(), int(req.GetPageSize()), req.GetPageToken())
	return messages[M](ds), next, err
}

func revisions[M proto.Message](ctx context.Context, s *Server, kind api.Kind, req *navev1.ListRevisionsRequest) ([]M, string, error) {
	org, err := orgOf(ctx, req.GetOrganization())
	if err != nil {
		return nil, "", err
	}
	ds, next, err := s.cfg.Catalog.Revisions(ctx, org, kind, req.GetName(), int(req.GetPageSize()), req.GetPageToken())
	return messages[M](ds), next, err
}

func remove(ctx context.Context, s *Server, kind api.Kind, req *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
	org, err := orgOf(ctx, req.GetOrganization())
	if err != nil {
		return nil, err
	}
	if err := s.cfg.Catalog.Delete(ctx, org, kind, req.GetName(), req.GetEtag(), req.GetDryRun()); err != nil {
		return nil, err
	}
	return &navev1.DeleteResponse{Outcome: navev1.Outcome_OUTCOME_DELETED}, nil
}

func messages[M proto.Message](ds []api.Definition) []M {
	out := make([]M, len(ds))
	for i, d := range ds {
		out[i] = navev1.DefinitionToProto(d).(M)
	}
	return out
}

var outcomes = map[hub.WriteOutcome]navev1.Outcome{
	hub.Created:   navev1.Outcome_OUTCOME_CREATED,
	hub.Updated:   navev1.Outcome_OUTCOME_UPDATED,
	hub.Unchanged: navev1.Outcome_OUTCOME_UNCHANGED,
	hub.Deleted:   navev1.Outcome_OUTCOME_DELETED,
}

// orgOf is the organization that a request is about: the caller's, and no other exists for it.
func orgOf(ctx context.Context, named string) (api.OrgID, error) {
	own := caller(ctx).Org
	if named != "" && api.OrgID(named) != own {
		return "", &api.Error{Code: api.CodeNotFound, Field: "organization", Err: fmt.Errorf("there is no organization %.80q: use %q, or leave it out", named, own)}
	}
	return own, nil
}

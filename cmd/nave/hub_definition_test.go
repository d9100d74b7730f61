package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/api/navev1/navev1connect"
)

func (h *testHub) put(ctx context.Context, k *kind, n noun, dryRun bool) (noun, navev1.Outcome, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.enter(ctx, "Put"); err != nil {
		return nil, 0, err
	}
	if a, ok := n.(*navev1.Agent); ok && h.nouns["environment/"+a.GetSpec().GetEnvironment()] == nil {
		return nil, 0, refuse(api.CodeInvalid, "spec.environment", "there is no environment %q: create it first", a.GetSpec().GetEnvironment())
	}
	if g, ok := n.(*navev1.Grant); ok && h.nouns["agent/"+g.GetSpec().GetObject().GetName()] == nil {
		return nil, 0, refuse(api.CodeInvalid, "spec.object.name", "there is no Agent %q: create it first, or name another", g.GetSpec().GetObject().GetName())
	}
	key, outcome, revision := k.singular()+"/"+n.GetMeta().GetName(), navev1.Outcome_OUTCOME_CREATED, uint64(1)
	if old := h.nouns[key]; old != nil {
		if e := n.GetMeta().GetEtag(); e != "" && e != old.GetMeta().GetEtag() {
			return nil, 0, refuse(api.CodeConflict, "", "%s %q has changed since it was read: read it again, then repeat", k.name, n.GetMeta().GetName())
		}
		outcome, revision = navev1.Outcome_OUTCOME_UPDATED, old.GetMeta().GetRevision()+1
		same := proto.Clone(old).(noun)
		same.ProtoReflect().Set(same.ProtoReflect().Descriptor().Fields().ByName("meta"), n.ProtoReflect().Get(n.ProtoReflect().Descriptor().Fields().ByName("meta")))
		if proto.Equal(same, n) && maps.Equal(old.GetMeta().GetLabels(), n.GetMeta().GetLabels()) {
			return old, navev1.Outcome_OUTCOME_UNCHANGED, nil
		}
	}
	if dryRun {
		return n, outcome, nil
	}
	n = proto.Clone(n).(noun)
	m := n.GetMeta()
	m.Organization = cmp.Or(m.Organization, "default")
	m.Id, m.Revision, m.Etag, m.UpdatedAt, m.UpdatedBy = "01ID", revision, fmt.Sprint("e", revision), timestamppb.New(testNow.Add(-90*time.Minute)), "ann"
	h.nouns[key] = n
	h.former[key] = append(h.former[key], n)
	if err, ok := h.rpcOnce["PutAnswer"]; ok { // lost after it was written
		delete(h.rpcOnce, "PutAnswer")
		return nil, 0, err
	}
	return n, outcome, nil
}

func (h *testHub) get(ctx context.Context, k *kind, r *navev1.GetRequest) (noun, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.enter(ctx, "Get"); err != nil {
		return nil, err
	}
	key := k.singular() + "/" + r.GetName()
	all := h.former[key]
	switch n := r.GetRevision(); {
	case h.nouns[key] == nil:
		return nil, refuse(api.CodeNotFound, "name", "there is no %s %q", k.singular(), r.GetName())
	case n == 0:
		return h.nouns[key], nil
	case n > uint64(len(all)):
		return nil, refuse(api.CodeNotFound, "revision", "%s %q has no revision %d", k.singular(), r.GetName(), n)
	default:
		return all[n-1], nil
	}
}

// revisions answers one a page, the latest first.
func (h *testHub) revisions(ctx context.Context, k *kind, r *navev1.ListRevisionsRequest) (noun, string, error) {
	if _, err := h.get(ctx, k, &navev1.GetRequest{Name: r.GetName()}); err != nil {
		return nil, "", err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.former[k.singular()+"/"+r.GetName()]
	i := len(all) - 1
	if r.GetPageToken() != "" {
		i, _ = strconv.Atoi(r.GetPageToken())
	}
	next := ""
	if i > 0 {
		next = strconv.Itoa(i - 1)
	}
	return all[i], next, nil
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
	if _, err := h.get(ctx, k, &navev1.GetRequest{Name: r.GetName()}); err != nil {
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

// some is a list of the one noun that there may be.
func some[T noun](n noun) (out []T) {
	if n != nil {
		out = append(out, n.(T))
	}
	return out
}

type environments struct {
	navev1connect.UnimplementedEnvironmentsHandler
	h *testHub
}

func (s *environments) Put(ctx context.Context, r *navev1.PutEnvironmentRequest) (*navev1.PutEnvironmentResponse, error) {
	n, o, err := s.h.put(ctx, environmentKind, r.GetEnvironment(), r.GetDryRun())
	x, _ := n.(*navev1.Environment)
	return &navev1.PutEnvironmentResponse{Environment: x, Outcome: o}, err
}

func (s *environments) Get(ctx context.Context, r *navev1.GetRequest) (*navev1.Environment, error) {
	n, err := s.h.get(ctx, environmentKind, r)
	x, _ := n.(*navev1.Environment)
	return x, err
}

func (s *environments) List(ctx context.Context, r *navev1.ListRequest) (*navev1.ListEnvironmentsResponse, error) {
	n, next, err := s.h.list(ctx, environmentKind, r)
	return &navev1.ListEnvironmentsResponse{Environments: some[*navev1.Environment](n), NextPageToken: next}, err
}

func (s *environments) ListRevisions(ctx context.Context, r *navev1.ListRevisionsRequest) (*navev1.ListEnvironmentsResponse, error) {
	n, next, err := s.h.revisions(ctx, environmentKind, r)
	return &navev1.ListEnvironmentsResponse{Environments: some[*navev1.Environment](n), NextPageToken: next}, err
}

func (s *environments) Delete(ctx context.Context, r *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
	return s.h.delete(ctx, environmentKind, r)
}

type agents struct {
	navev1connect.UnimplementedAgentsHandler
	h *testHub
}

func (s *agents) Put(ctx context.Context, r *navev1.PutAgentRequest) (*navev1.PutAgentResponse, error) {
	n, o, err := s.h.put(ctx, agentKind, r.GetAgent(), r.GetDryRun())
	x, _ := n.(*navev1.Agent)
	return &navev1.PutAgentResponse{Agent: x, Outcome: o}, err
}

func (s *agents) Get(ctx context.Context, r *navev1.GetRequest) (*navev1.Agent, error) {
	n, err := s.h.get(ctx, agentKind, r)
	x, _ := n.(*navev1.Agent)
	return x, err
}

func (s *agents) List(ctx context.Context, r *navev1.ListRequest) (*navev1.ListAgentsResponse, error) {
	n, next, err := s.h.list(ctx, agentKind, r)
	return &navev1.ListAgentsResponse{Agents: some[*navev1.Agent](n), NextPageToken: next}, err
}

func (s *agents) ListRevisions(ctx context.Context, r *navev1.ListRevisionsRequest) (*navev1.ListAgentsResponse, error) {
	n, next, err := s.h.revisions(ctx, agentKind, r)
	return &navev1.ListAgentsResponse{Agents: some[*navev1.Agent](n), NextPageToken: next}, err
}

func (s *agents) Delete(ctx context.Context, r *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
	return s.h.delete(ctx, agentKind, r)
}

type policies struct {
	navev1connect.UnimplementedPlacementPoliciesHandler
	h *testHub
}

func (s *policies) Put(ctx context.Context, r *navev1.PutPlacementPolicyRequest) (*navev1.PutPlacementPolicyResponse, error) {
	n, o, err := s.h.put(ctx, policyKind, r.GetPlacementPolicy(), r.GetDryRun())
	x, _ := n.(*navev1.PlacementPolicy)
	return &navev1.PutPlacementPolicyResponse{PlacementPolicy: x, Outcome: o}, err
}

func (s *policies) Get(ctx context.Context, r *navev1.GetRequest) (*navev1.PlacementPolicy, error) {
	n, err := s.h.get(ctx, policyKind, r)
	x, _ := n.(*navev1.PlacementPolicy)
	return x, err
}

func (s *policies) List(ctx context.Context, r *navev1.ListRequest) (*navev1.ListPlacementPoliciesResponse, error) {
	n, next, err := s.h.list(ctx, policyKind, r)
	return &navev1.ListPlacementPoliciesResponse{PlacementPolicies: some[*navev1.PlacementPolicy](n), NextPageToken: next}, err
}

func (s *policies) ListRevisions(ctx context.Context, r *navev1.ListRevisionsRequest) (*navev1.ListPlacementPoliciesResponse, error) {
	n, next, err := s.h.revisions(ctx, policyKind, r)
	return &navev1.ListPlacementPoliciesResponse{PlacementPolicies: some[*navev1.PlacementPolicy](n), NextPageToken: next}, err
}

func (s *policies) Delete(ctx context.Context, r *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
	return s.h.delete(ctx, policyKind, r)
}

type grants struct {
	navev1connect.UnimplementedGrantsHandler
	h *testHub
}

func (s *grants) Put(ctx context.Context, r *navev1.PutGrantRequest) (*navev1.PutGrantResponse, error) {
	n, o, err := s.h.put(ctx, grantKind, r.GetGrant(), r.GetDryRun())
	x, _ := n.(*navev1.Grant)
	return &navev1.PutGrantResponse{Grant: x, Outcome: o}, err
}

func (s *grants) Get(ctx context.Context, r *navev1.GetRequest) (*navev1.Grant, error) {
	n, err := s.h.get(ctx, grantKind, r)
	x, _ := n.(*navev1.Grant)
	return x, err
}

func (s *grants) List(ctx context.Context, r *navev1.ListRequest) (*navev1.ListGrantsResponse, error) {
	n, next, err := s.h.list(ctx, grantKind, r)
	return &navev1.ListGrantsResponse{Grants: some[*navev1.Grant](n), NextPageToken: next}, err
}

func (s *grants) ListRevisions(ctx context.Context, r *navev1.ListRevisionsRequest) (*navev1.ListGrantsResponse, error) {
	n, next, err := s.h.revisions(ctx, grantKind, r)
	return &navev1.ListGrantsResponse{Grants: some[*navev1.Grant](n), NextPageToken: next}, err
}

func (s *grants) Delete(ctx context.Context, r *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
	return s.h.delete(ctx, grantKind, r)
}

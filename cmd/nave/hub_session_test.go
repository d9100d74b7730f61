package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/api/navev1/navev1connect"
)

type clusters struct {
	navev1connect.UnimplementedClustersHandler
	h *testHub
}

func (s *clusters) Register(ctx context.Context, r *navev1.RegisterClusterRequest) (*navev1.RegisterClusterResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if err := s.h.enter(ctx, "Register"); err != nil {
		return nil, err
	}
	c := proto.Clone(r.GetCluster()).(*navev1.Cluster)
	if s.h.clusters[c.GetMeta().GetName()] != nil {
		return nil, refuse(api.CodeExists, "cluster.meta.name", "there is a cluster %q already: choose another name", c.GetMeta().GetName())
	}
	c.Meta.Id, c.Meta.Etag, c.Status = "01CLUSTER", "1", &navev1.ClusterStatus{Health: "Pending"}
	if r.GetDryRun() {
		return &navev1.RegisterClusterResponse{Cluster: c}, nil
	}
	s.h.clusters[c.GetMeta().GetName()] = c
	lifetime := cmp.Or(r.GetTokenLifetime().AsDuration(), time.Hour)
	return &navev1.RegisterClusterResponse{Cluster: c, JoinToken: "hush", ExpiresAt: timestamppb.New(testNow.Add(lifetime))}, nil
}

func (s *clusters) Get(ctx context.Context, r *navev1.GetRequest) (*navev1.Cluster, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if err := s.h.enter(ctx, "Get"); err != nil {
		return nil, err
	}
	if c := s.h.clusters[r.GetName()]; c != nil {
		return proto.Clone(c).(*navev1.Cluster), nil
	}
	return nil, refuse(api.CodeNotFound, "name", "there is no cluster %q", r.GetName())
}

func (s *clusters) List(ctx context.Context, _ *navev1.ListRequest) (*navev1.ListClustersResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	res := &navev1.ListClustersResponse{}
	for _, c := range s.h.clusters {
		res.Clusters = append(res.Clusters, c)
	}
	slices.SortFunc(res.Clusters, func(a, b *navev1.Cluster) int { return cmp.Compare(a.GetMeta().GetName(), b.GetMeta().GetName()) })
	return res, s.h.enter(ctx, "List")
}

func (s *clusters) Update(ctx context.Context, r *navev1.UpdateClusterRequest) (*navev1.UpdateClusterResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if err := s.h.enter(ctx, "Update"); err != nil {
		return nil, err
	}
	old := s.h.clusters[r.GetCluster().GetMeta().GetName()]
	if r.GetCluster().GetMeta().GetEtag() != old.GetMeta().GetEtag() {
		return nil, refuse(api.CodeConflict, "cluster.meta.etag", "changed meanwhile")
	}
	c := proto.Clone(r.GetCluster()).(*navev1.Cluster)
	c.Status = old.GetStatus()
	c.Meta.Etag += "1"
	s.h.clusters[c.GetMeta().GetName()] = c
	return &navev1.UpdateClusterResponse{Cluster: c, Outcome: navev1.Outcome_OUTCOME_UPDATED}, nil
}

func (s *clusters) Delete(ctx context.Context, r *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if err := s.h.enter(ctx, "Delete"); err != nil {
		return nil, err
	}
	if n := s.h.clusters[r.GetName()].GetStatus().GetSessions(); n > 0 {
		return nil, refuse(api.CodeInUse, "", "%d sessions are assigned to it: drain it first", n)
	}
	delete(s.h.clusters, r.GetName())
	return &navev1.DeleteResponse{Outcome: navev1.Outcome_OUTCOME_DELETED}, nil
}

type sessions struct {
	navev1connect.UnimplementedSessionsHandler
	h *testHub
}

func (s *sessions) Signal(ctx context.Context, r *navev1.SignalRequest) (*navev1.SignalResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	res, err := s.acceptLocked(r)
	if err != nil || r.GetDryRun() {
		return res, err
	}
	// The signal is durable by now: an error here is what a lost answer looks like.
	return res, s.h.enter(ctx, "Signal")
}

func (s *sessions) SignalMany(ctx context.Context, r *navev1.SignalManyRequest) (*navev1.SignalManyResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if len(r.GetSignals()) == 0 || len(r.GetSignals()) > api.MaxSignalsPerCall {
		return nil, refuse(api.CodeInvalid, "signals", "%d of them", len(r.GetSignals()))
	}
	out := &navev1.SignalManyResponse{}
	for _, sig := range r.GetSignals() {
		if sig.GetAgent() == "nobody" {
			out.Results = append(out.Results, &navev1.SignalResult{Error: &navev1.SignalError{Code: "not_found", Field: "agent", Message: "there is no agent \"nobody\""}})
			continue
		}
		res, err := s.acceptLocked(sig)
		if err != nil {
			return nil, err
		}
		out.Results = append(out.Results, &navev1.SignalResult{Accepted: res})
	}
	return out, s.h.enter(ctx, "SignalMany")
}

func (s *sessions) acceptLocked(r *navev1.SignalRequest) (*navev1.SignalResponse, error) {
	if r.GetIdempotencyKey() == "" {
		return nil, refuse(api.CodeInvalid, "idempotency_key", "the tests want one always")
	}
	if r.GetDryRun() {
		return &navev1.SignalResponse{}, nil
	}
	res := s.h.signals[r.GetIdempotencyKey()]
	if res != nil {
		res.Duplicate = true
	} else {
		res = &navev1.SignalResponse{SignalId: "01SIGNAL", SessionId: "01SESSION", Sequence: uint64(len(s.h.signals) + 1)}
		s.h.signals[r.GetIdempotencyKey()] = res
		s.h.payloads[fmt.Sprintf("%s/%s#%d", r.GetAgent(), r.GetKey(), res.GetSequence())] = string(r.GetPayload())
	}
	return proto.Clone(res).(*navev1.SignalResponse), nil
}

func (s *sessions) List(ctx context.Context, r *navev1.ListSessionsRequest) (*navev1.ListSessionsResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	res := &navev1.ListSessionsResponse{}
	for _, x := range s.h.sessions {
		if (r.GetAgent() == "" || r.GetAgent() == x.GetAgent()) && (r.GetPhase() == "" || r.GetPhase() == x.GetPhase()) && (r.GetCluster() == "" || r.GetCluster() == x.GetCluster()) {
			res.Sessions = append(res.Sessions, x)
		}
	}
	return res, s.h.enter(ctx, "List")
}

func (s *sessions) Explain(ctx context.Context, r *navev1.ExplainRequest) (*navev1.ExplainResponse, error) {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if err := s.h.enter(ctx, "Explain"); err != nil {
		return nil, err
	}
	if s.h.explain == nil || s.h.explain.GetSession().GetId() != r.GetSessionId() {
		return nil, refuse(api.CodeNotFound, "session_id", "there is no session %q", r.GetSessionId())
	}
	return s.h.explain, nil
}

// Events sends the log from a number on; a followed stream stays open at its end as a hub's does.
func (s *sessions) Events(ctx context.Context, r *navev1.EventsRequest, out *connect.ServerStream[navev1.Event]) error {
	s.h.mu.Lock()
	err := s.h.enter(ctx, "Events")
	events, cut := s.h.events, -1
	if s.h.streams < len(s.h.cuts) {
		cut = s.h.cuts[s.h.streams]
	}
	s.h.streams++
	s.h.deltas = s.h.deltas || r.GetDeltas()
	s.h.mu.Unlock()
	if err != nil {
		return err
	}
	sent := 0
	for _, e := range events {
		if e.GetNumber() < r.GetFrom() && (e.GetDelta() == nil || !r.GetDeltas()) {
			continue
		}
		if sent == cut {
			return errCut
		}
		if r.GetLimit() > 0 && sent == int(r.GetLimit()) {
			return nil
		}
		if err := out.Send(e); err != nil {
			return err
		}
		if e.GetDelta() != nil {
			continue // is not counted
		}
		sent++
	}
	if r.GetFollow() && s.h.ticking { // something happened
		return out.Send(&navev1.Event{SessionId: r.GetSessionId(), Number: r.GetFrom() + uint64(sent), Type: "log"})
	}
	if r.GetFollow() {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

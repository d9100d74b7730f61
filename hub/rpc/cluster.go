package rpc

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub"
)

// clusters implements nave.v1.Clusters.
type clusters struct {
	navev1.UnsafeClustersServer
	s *Server
}

func (h clusters) Register(ctx context.Context, req *navev1.RegisterClusterRequest) (*navev1.RegisterClusterResponse, error) {
	c, err := clusterOf(ctx, req.GetCluster())
	if err != nil {
		return nil, err
	}
	lifetime, err := navev1.DurationFromProto("token_lifetime", req.GetTokenLifetime())
	if err != nil {
		return nil, err
	}
	c, secret, err := h.s.cfg.Fleet.Register(ctx, c, lifetime, req.GetDryRun(), req.GetRequestId())
	if err != nil {
		return nil, err
	}
	res := &navev1.RegisterClusterResponse{Cluster: navev1.ClusterToProto(c), JoinToken: secret.Secret}
	if !secret.ExpiresAt.IsZero() {
		res.ExpiresAt = timestamppb.New(secret.ExpiresAt)
	}
	return res, nil
}

func (h clusters) Get(ctx context.Context, req *navev1.GetRequest) (*navev1.Cluster, error) {
	org, err := orgOf(ctx, req.GetOrganization())
	if err != nil {
		return nil, err
	}
	if req.GetRevision() != 0 {
		return nil, api.Invalid("revision", "clusters have no revisions: leave it out")
	}
	c, err := h.s.cfg.Fleet.Cluster(ctx, org, req.GetName())
	if err != nil {
		return nil, err
	}
	return navev1.ClusterToProto(c), nil
}

func (h clusters) List(ctx context.Context, req *navev1.ListRequest) (*navev1.ListClustersResponse, error) {
	org, err := orgOf(ctx, req.GetOrganization())
	if err != nil {
		return nil, err
	}
	cs, next, err := h.s.cfg.Fleet.List(ctx, org, req.GetSelector(), int(req.GetPageSize()), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	res := &navev1.ListClustersResponse{NextPageToken: next}
	for _, c := range cs {
		res.Clusters = append(res.Clusters, navev1.ClusterToProto(c))
	}
	return res, nil
}

func (h clusters) Update(ctx context.Context, req *navev1.UpdateClusterRequest) (*navev1.UpdateClusterResponse, error) {
	c, err := clusterOf(ctx, req.GetCluster())
	if err != nil {
		return nil, err
	}
	c, outcome, err := h.s.cfg.Fleet.Update(ctx, c, req.GetDryRun())
	if err != nil {
		return nil, err
	}
	return &navev1.UpdateClusterResponse{Cluster: navev1.ClusterToProto(c), Outcome: outcomes[outcome]}, nil
}

func (h clusters) Delete(ctx context.Context, req *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
	org, err := orgOf(ctx, req.GetOrganization())
	if err != nil {
		return nil, err
	}
	if err := h.s.cfg.Fleet.Delete(ctx, org, req.GetName(), req.GetEtag(), req.GetDryRun()); err != nil {
		return nil, err
	}
	return &navev1.DeleteResponse{Outcome: navev1.Outcome_OUTCOME_DELETED}, nil
}

// clusterOf takes what a client declares out of a message, in the caller's organization.
func clusterOf(ctx context.Context, m *navev1.Cluster) (api.Cluster, error) {
	c := navev1.ClusterFromProto(m)
	org, err := orgOf(ctx, string(c.Org))
	return api.Cluster{Org: org, Name: c.Name, Labels: c.Labels, Taints: c.Taints, Cordoned: c.Cordoned, Etag: c.Etag}, err
}

// Rejoiner lets another spoke take a cluster over.
type Rejoiner interface {
	// Rejoin revokes the identity of the cluster's present spoke, cuts its link, and makes a secret with which one spoke
	// joins; a lifetime of 0 is hub.DefaultJoinLifetime. It returns how long the new spoke waits at the longest before it is
	// let in. force repeats the cluster's name where sessions with stop_after "never" could still run at the former spoke.
	Rejoin(ctx context.Context, org api.OrgID, name string, lifetime time.Duration, force string, dryRun bool) (cluster api.Cluster, secret hub.JoinSecret, wait time.Duration, err error)
}

func (h clusters) Rejoin(ctx context.Context, req *navev1.RejoinClusterRequest) (*navev1.RejoinClusterResponse, error) {
	org, err := orgOf(ctx, req.GetOrganization())
	if err != nil {
		return nil, err
	}
	if err := api.ValidateName("name", req.GetName()); err != nil {
		return nil, err
	}
	lifetime, err := navev1.DurationFromProto("token_lifetime", req.GetTokenLifetime())
	if err != nil {
		return nil, err
	}
	if lifetime != 0 && (lifetime < hub.MinJoinLifetime || lifetime > hub.MaxJoinLifetime) {
		return nil, api.Invalid("token_lifetime", "%v: want %v to %v, or leave it out for %v", lifetime, hub.MinJoinLifetime, hub.MaxJoinLifetime, hub.DefaultJoinLifetime)
	}
	if req.GetForce() != "" && req.GetForce() != req.GetName() {
		return nil, api.Invalid("force", "%.40q is not the cluster's name: repeat the name to force it, or leave it out", req.GetForce())
	}
	c, secret, wait, err := h.s.cfg.Rejoin.Rejoin(ctx, org, req.GetName(), lifetime, req.GetForce(), req.GetDryRun())
	if err != nil {
		return nil, err
	}
	res := &navev1.RejoinClusterResponse{Cluster: navev1.ClusterToProto(c), JoinToken: secret.Secret, Wait: durationpb.New(wait)}
	if !secret.ExpiresAt.IsZero() {
		res.ExpiresAt = timestamppb.New(secret.ExpiresAt)
	}
	return res, nil
}

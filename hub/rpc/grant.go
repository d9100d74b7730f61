package rpc

import (
	"context"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

// grants implements nave.v1.Grants.
type grants struct {
	navev1.UnsafeGrantsServer
	s *Server
}

func (h grants) Put(ctx context.Context, req *navev1.PutGrantRequest) (*navev1.PutGrantResponse, error) {
	m, outcome, err := put(ctx, h.s, req.GetGrant(), req)
	return &navev1.PutGrantResponse{Grant: m, Outcome: outcome}, err
}

func (h grants) Get(ctx context.Context, req *navev1.GetRequest) (*navev1.Grant, error) {
	return get[*navev1.Grant](ctx, h.s, api.KindGrant, req)
}

func (h grants) List(ctx context.Context, req *navev1.ListRequest) (*navev1.ListGrantsResponse, error) {
	items, next, err := list[*navev1.Grant](ctx, h.s, api.KindGrant, req)
	return &navev1.ListGrantsResponse{Grants: items, NextPageToken: next}, err
}

func (h grants) ListRevisions(ctx context.Context, req *navev1.ListRevisionsRequest) (*navev1.ListGrantsResponse, error) {
	items, next, err := revisions[*navev1.Grant](ctx, h.s, api.KindGrant, req)
	return &navev1.ListGrantsResponse{Grants: items, NextPageToken: next}, err
}

func (h grants) Delete(ctx context.Context, req *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
	return remove(ctx, h.s, api.KindGrant, req)
}

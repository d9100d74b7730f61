package rpc

import (
	"context"

	"github.com/nave-dev/nave/api/navev1"
)

// grants implements nave.v1.Grants.
type grants struct {
	navev1.UnsafeGrantsServer
	s *Server
}

func (h grants) Put(context.Context, *navev1.PutGrantRequest) (*navev1.PutGrantResponse, error) {
	return nil, errNotBuilt
}

func (h grants) Get(context.Context, *navev1.GetRequest) (*navev1.Grant, error) {
	return nil, errNotBuilt
}

func (h grants) List(context.Context, *navev1.ListRequest) (*navev1.ListGrantsResponse, error) {
	return nil, errNotBuilt
}

func (h grants) ListRevisions(context.Context, *navev1.ListRevisionsRequest) (*navev1.ListGrantsResponse, error) {
	return nil, errNotBuilt
}

func (h grants) Delete(context.Context, *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
	return nil, errNotBuilt
}

package main

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

var environmentKind = &kind{
	name:   api.KindEnvironment,
	words:  []string{"environment", "environments", "env", "envs"},
	header: []string{"IMAGE", "FLAVOR"},
	cells: func(n noun) []string {
		s := n.(*navev1.Environment).GetSpec()
		return []string{s.GetImage(), s.GetFlavor()}
	},
	empty: func() noun { return &navev1.Environment{} },
	get: func(ctx context.Context, c *client.Client, r *navev1.GetRequest) (noun, error) {
		return c.Environments.Get(ctx, r)
	},
	list: func(ctx context.Context, c *client.Client, r *navev1.ListRequest) ([]noun, string, error) {
		res, err := c.Environments.List(ctx, r)
		return nouns(res.GetEnvironments()), res.GetNextPageToken(), err
	},
	revisions: func(ctx context.Context, c *client.Client, r *navev1.ListRevisionsRequest) ([]noun, string, error) {
		res, err := c.Environments.ListRevisions(ctx, r)
		return nouns(res.GetEnvironments()), res.GetNextPageToken(), err
	},
	page: func(ns []noun) proto.Message {
		return &navev1.ListEnvironmentsResponse{Environments: narrow[*navev1.Environment](ns)}
	},
	put: func(ctx context.Context, c *client.Client, n noun, dryRun bool) (noun, navev1.Outcome, error) {
		res, err := c.Environments.Put(ctx, &navev1.PutEnvironmentRequest{Environment: n.(*navev1.Environment), DryRun: dryRun, RequestId: client.NewKey()})
		return res.GetEnvironment(), res.GetOutcome(), err
	},
	delete: func(ctx context.Context, c *client.Client, r *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
		return c.Environments.Delete(ctx, r)
	},
}

package main

import (
	"context"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

var policyKind = &kind{
	name:   api.KindPlacementPolicy,
	words:  []string{"policy", "policies", "placementpolicy", "placementpolicies"},
	header: []string{"REQUIREMENTS", "PREFERENCES"},
	cells: func(n noun) []string {
		s := n.(*navev1.PlacementPolicy).GetSpec()
		return []string{requirements(s.GetRequirements()), strconv.Itoa(len(s.GetPreferences()))}
	},
	empty: func() noun { return &navev1.PlacementPolicy{} },
	get: func(ctx context.Context, c *client.Client, r *navev1.GetRequest) (noun, error) {
		return c.PlacementPolicies.Get(ctx, r)
	},
	list: func(ctx context.Context, c *client.Client, r *navev1.ListRequest) ([]noun, string, error) {
		res, err := c.PlacementPolicies.List(ctx, r)
		return nouns(res.GetPlacementPolicies()), res.GetNextPageToken(), err
	},
	revisions: func(ctx context.Context, c *client.Client, r *navev1.ListRevisionsRequest) ([]noun, string, error) {
		res, err := c.PlacementPolicies.ListRevisions(ctx, r)
		return nouns(res.GetPlacementPolicies()), res.GetNextPageToken(), err
	},
	page: func(ns []noun) proto.Message {
		return &navev1.ListPlacementPoliciesResponse{PlacementPolicies: narrow[*navev1.PlacementPolicy](ns)}
	},
	put: func(ctx context.Context, c *client.Client, n noun, dryRun bool) (noun, navev1.Outcome, error) {
		res, err := c.PlacementPolicies.Put(ctx, &navev1.PutPlacementPolicyRequest{PlacementPolicy: n.(*navev1.PlacementPolicy), DryRun: dryRun, RequestId: client.NewKey()})
		return res.GetPlacementPolicy(), res.GetOutcome(), err
	},
	delete: func(ctx context.Context, c *client.Client, r *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
		return c.PlacementPolicies.Delete(ctx, r)
	},
}

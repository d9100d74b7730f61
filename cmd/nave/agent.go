package main

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

var agentKind = &kind{
	name:   api.KindAgent,
	words:  []string{"agent", "agents"},
	header: []string{"ENVIRONMENT", "HARNESS", "MODEL", "POLICY"},
	cells: func(n noun) []string {
		s := n.(*navev1.Agent).GetSpec()
		return []string{s.GetEnvironment(), s.GetHarness().GetProtocol(), s.GetModel().GetName(), s.GetPlacementPolicy()}
	},
	empty: func() noun { return &navev1.Agent{} },
	refs:  []reference{{"environment", environmentKind}, {"placement_policy", policyKind}},
	get: func(ctx context.Context, c *client.Client, r *navev1.GetRequest) (noun, error) {
		return c.Agents.Get(ctx, r)
	},
	list: func(ctx context.Context, c *client.Client, r *navev1.ListRequest) ([]noun, string, error) {
		res, err := c.Agents.List(ctx, r)
		return nouns(res.GetAgents()), res.GetNextPageToken(), err
	},
	revisions: func(ctx context.Context, c *client.Client, r *navev1.ListRevisionsRequest) ([]noun, string, error) {
		res, err := c.Agents.ListRevisions(ctx, r)
		return nouns(res.GetAgents()), res.GetNextPageToken(), err
	},
	page: func(ns []noun) proto.Message {
		return &navev1.ListAgentsResponse{Agents: narrow[*navev1.Agent](ns)}
	},
	put: func(ctx context.Context, c *client.Client, n noun, dryRun bool) (noun, navev1.Outcome, error) {
		res, err := c.Agents.Put(ctx, &navev1.PutAgentRequest{Agent: n.(*navev1.Agent), DryRun: dryRun, RequestId: client.NewKey()})
		return res.GetAgent(), res.GetOutcome(), err
	},
	delete: func(ctx context.Context, c *client.Client, r *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
		return c.Agents.Delete(ctx, r)
	},
}

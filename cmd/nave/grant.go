package main

import (
	"context"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

var grantKind = &kind{
	name:   api.KindGrant,
	words:  []string{"grant", "grants"},
	header: []string{"SUBJECT", "RELATION", "OBJECT"},
	cells: func(n noun) []string {
		s := n.(*navev1.Grant).GetSpec()
		return []string{party(s.GetSubject()), s.GetRelation(), party(s.GetObject())}
	},
	empty: func() noun { return &navev1.Grant{} },
	refs:  []reference{{"subject.name", agentKind}, {"object.name", agentKind}},
	get: func(ctx context.Context, c *client.Client, r *navev1.GetRequest) (noun, error) {
		return c.Grants.Get(ctx, r)
	},
	list: func(ctx context.Context, c *client.Client, r *navev1.ListRequest) ([]noun, string, error) {
		res, err := c.Grants.List(ctx, r)
		return nouns(res.GetGrants()), res.GetNextPageToken(), err
	},
	revisions: func(ctx context.Context, c *client.Client, r *navev1.ListRevisionsRequest) ([]noun, string, error) {
		res, err := c.Grants.ListRevisions(ctx, r)
		return nouns(res.GetGrants()), res.GetNextPageToken(), err
	},
	page: func(ns []noun) proto.Message {
		return &navev1.ListGrantsResponse{Grants: narrow[*navev1.Grant](ns)}
	},
	put: func(ctx context.Context, c *client.Client, n noun, dryRun bool) (noun, navev1.Outcome, error) {
		res, err := c.Grants.Put(ctx, &navev1.PutGrantRequest{Grant: n.(*navev1.Grant), DryRun: dryRun, RequestId: client.NewKey()})
		return res.GetGrant(), res.GetOutcome(), err
	},
	delete: func(ctx context.Context, c *client.Client, r *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
		return c.Grants.Delete(ctx, r)
	},
}

// party renders one side of a grant.
func party(p *navev1.GrantParty) string { return strings.ToLower(p.GetKind()) + "/" + p.GetName() }

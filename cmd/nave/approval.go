package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

func (a *app) approvalsCommand() *cobra.Command {
	req := &navev1.ListApprovalsRequest{PageSize: pageSize}
	var watch bool
	cmd := &cobra.Command{
		Use: "approvals", Aliases: []string{"approval"}, Short: "Show what agents ask permission for", Args: cobra.NoArgs,
		Long: `Approvals shows the requests for permission that wait for a person, the oldest first. HOLD says how the answer
reaches the agent: it waits for it, or its turn has ended and the answer comes as a signal.`,
		Example: `  nave approvals
  nave approvals --agent auditor --watch
  nave approvals show abcd2345
  nave approve abcd2345`,
		RunE: a.do(func(ctx context.Context, _ []string) error {
			return a.show(ctx, watch, func(ctx context.Context, c *client.Client) (*listing, error) {
				all, err := allApprovals(ctx, c, req)
				return a.approvalList(all), err
			})
		}, formatTable, formatJSON, formatName),
	}
	f := cmd.Flags()
	f.StringVar(&req.Agent, "agent", "", "only those of this agent")
	f.StringVar(&req.SessionId, "session", "", "only those of this session")
	f.BoolVar(&req.Closed, "all", false, "also those that were answered, expired or are not needed any more: of the last 24 hours")
	watchFlag(cmd, &watch)
	cmd.AddCommand(a.approvalShowCommand())
	return cmd
}

func allApprovals(ctx context.Context, c *client.Client, req *navev1.ListApprovalsRequest) ([]*navev1.Approval, error) {
	return client.Collect(ctx, func(ctx context.Context, token string) ([]*navev1.Approval, string, error) {
		req.PageToken = token
		res, err := c.Approvals.List(ctx, req)
		return res.GetApprovals(), res.GetNextPageToken(), err
	})
}

func (a *app) approvalList(all []*navev1.Approval) *listing {
	l := &listing{none: "nothing waits for an answer", header: []string{"ID", "AGENT", "KEY", "ASKED", "STATE", "HOLD", "TITLE"},
		moving: []string{"ASKED", "HOLD"}, page: &navev1.ListApprovalsResponse{Approvals: all}}
	for _, p := range all {
		l.items = append(l.items, item{key: p.GetId(), name: p.GetId(), message: p,
			cells: []string{short(p.GetId()), p.GetAgent(), p.GetKey(), a.age(p.GetAskedAt()), p.GetState(), a.hold(p), p.GetTitle()}})
	}
	return l
}

// shortID is how many letters of an approval's id people type.
const shortID = 8

// short is the end of an approval's id: enough to name it among those that are open.
func short(id string) string { return id[max(0, len(id)-shortID):] }

// hold says how the answer reaches the agent.
func (a *app) hold(p *navev1.Approval) string {
	switch {
	case p.GetTaken():
		return "taken"
	case p.GetSignalId() != "":
		return "as a signal"
	case p.GetState() == string(api.ApprovalExpired), p.GetState() == string(api.ApprovalWithdrawn):
		return ""
	case p.GetHeldUntil() != nil && p.GetHeldUntil().AsTime().After(a.now()):
		return "waits " + span(p.GetHeldUntil().AsTime().Sub(a.now()))
	}
	return "as a signal"
}

func (a *app) approvalShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show one with its detail and its options", Args: cobra.ExactArgs(1),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.with(func(c *client.Client) error {
				p, err := findApproval(ctx, c, args[0])
				if err != nil {
					return err
				}
				if a.output == formatJSON {
					return a.printJSON(p)
				}
				a.showApproval(p)
				return nil
			})
		}, formatText, formatJSON),
	}
}

func (a *app) showApproval(p *navev1.Approval) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(a.out, "%-9s %s\n", name, clean(fmt.Sprintf(format, args...), false))
	}
	line("approval", "%s", p.GetId())
	line("agent", "%s, key %s", p.GetAgent(), p.GetKey())
	line("session", "%s, for signal %d", p.GetSessionId(), p.GetSequence())
	if p.GetCluster() != "" {
		line("cluster", "%s", p.GetCluster())
	}
	line("asked", "%s", stamp(p.GetAskedAt()))
	open := p.GetState() == string(api.ApprovalOpen)
	switch {
	case open:
		line("state", "%s until %s; %s", p.GetState(), stamp(p.GetExpiresAt()), a.hold(p))
	case p.GetBy() != "":
		line("state", "%s by %s at %s: option %s", p.GetState(), p.GetBy(), stamp(p.GetAnsweredAt()), p.GetOption())
	default:
		line("state", "%s", p.GetState())
	}
	if p.GetReason() != "" {
		line("reason", "%s", p.GetReason())
	}
	if p.GetSignalId() != "" {
		line("signal", "%s carries the answer", p.GetSignalId())
	}
	line("title", "%s", p.GetTitle())
	for _, o := range p.GetOptions() {
		line("option", "%s: %s (%s)", o.GetId(), o.GetName(), o.GetKind())
	}
	if d := strings.TrimRight(p.GetDetail(), "\n"); d != "" {
		fmt.Fprintf(a.out, "\n%s\n", a.text(d))
	}
	if open {
		a.note("answer it: nave approve %s, or nave deny %s", short(p.GetId()), short(p.GetId()))
	}
}

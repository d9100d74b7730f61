package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

func (a *app) sessionsCommand() *cobra.Command {
	req := &navev1.ListSessionsRequest{PageSize: pageSize}
	var watch bool
	cmd := &cobra.Command{
		Use: "sessions", Aliases: []string{"session"}, Short: "List sessions, or show one", Args: cobra.NoArgs,
		Example: `  nave sessions --agent auditor --watch
  nave sessions --phase Lost -o json
  nave sessions get 01JDKQ7V3M5R8N2C4T6W9XYZAB`,
		RunE: a.do(func(ctx context.Context, _ []string) error {
			if req.Phase != "" && !slices.Contains(api.Phases(), api.Phase(req.Phase)) {
				return usage("--phase %q: want one of %v", req.Phase, api.Phases())
			}
			return a.show(ctx, watch, func(ctx context.Context, c *client.Client) (*listing, error) {
				all, err := allSessions(ctx, c, req)
				return a.sessionList(all), err
			})
		}, formatTable, formatJSON, formatName),
	}
	f := cmd.Flags()
	selectorFlag(cmd, &req.Selector)
	f.StringVar(&req.Agent, "agent", "", "only sessions of this agent")
	f.StringVar(&req.Phase, "phase", "", "only sessions in this phase")
	f.StringVar(&req.Cluster, "cluster", "", "only sessions assigned to this cluster")
	watchFlag(cmd, &watch)
	cmd.AddCommand(a.sessionGetCommand())
	return cmd
}

func allSessions(ctx context.Context, c *client.Client, req *navev1.ListSessionsRequest) ([]*navev1.Session, error) {
	return client.Collect(ctx, func(ctx context.Context, token string) ([]*navev1.Session, string, error) {
		req.PageToken = token
		res, err := c.Sessions.List(ctx, req)
		return res.GetSessions(), res.GetNextPageToken(), err
	})
}

func (a *app) sessionList(all []*navev1.Session) *listing {
	l := &listing{none: "no sessions", header: []string{"ID", "AGENT", "KEY", "INTENT", "PHASE", "CLUSTER", "EPOCH", "PENDING", "AGE", "REASON"},
		moving: []string{"AGE"}, page: &navev1.ListSessionsResponse{Sessions: all}}
	for _, s := range all {
		l.items = append(l.items, item{key: s.GetId(), name: s.GetId(), message: s,
			cells: []string{s.GetId(), s.GetAgent(), s.GetKey(), intent(s), s.GetPhase(), s.GetCluster(), s.GetEpoch(),
				fmt.Sprint(s.GetPending()), a.age(s.GetCreatedAt()), s.GetReason()}})
	}
	return l
}

// intent renders what people want of a session, with why it is paused.
func intent(s *navev1.Session) string {
	if p := s.GetPauses(); len(p) > 0 {
		return s.GetIntent() + ": " + strings.Join(p, ", ")
	}
	return s.GetIntent()
}

func (a *app) sessionGetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "get SESSION", Short: "Show one session, also one that ended", Args: cobra.ExactArgs(1),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.with(func(c *client.Client) error {
				s, err := c.Sessions.Get(ctx, &navev1.GetSessionRequest{Id: args[0]})
				if err != nil {
					return err
				}
				if a.output == formatJSON {
					return a.printJSON(s)
				}
				a.showSession(s)
				return nil
			})
		}, formatText, formatJSON),
	}
}

// showSession prints what is known of a session, a line each; what is not there has no line.
func (a *app) showSession(s *navev1.Session) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(a.out, "%-15s %s\n", name, clean(fmt.Sprintf(format, args...), false))
	}
	line("session", "%s", s.GetId())
	line("agent", "%s", s.GetAgent())
	line("key", "%s", s.GetKey())
	if len(s.GetLabels()) > 0 {
		line("labels", "%s", labels(s.GetLabels()))
	}
	line("created", "%s", stamp(s.GetCreatedAt()))
	line("intent", "%s", intent(s))
	line("phase", "%s", s.GetPhase())
	if s.GetReason() != "" {
		line("reason", "%s", s.GetReason())
	}
	switch {
	case s.GetCluster() != "":
		line("cluster", "%s, epoch %s, agent revision %d", s.GetCluster(), s.GetEpoch(), s.GetAgentRevision())
	case s.GetLastCluster() != "":
		line("cluster", "none; last %s, epoch %s", s.GetLastCluster(), s.GetEpoch())
	}
	pending := fmt.Sprintf("%d accepted, %d not settled", s.GetLastSequence(), s.GetPending())
	if n := s.GetConsumed(); n > 0 {
		pending += fmt.Sprintf(", of these %d consumed and waiting for a checkpoint", n)
	}
	line("signals", "%s", pending)
	if n := s.GetCancelledUpTo(); n > 0 {
		line("cancelled", "signals up to %d", n)
	}
	if n := s.GetOpenApprovals(); n > 0 {
		line("approvals", "%s for an answer: nave approvals --session %s", waits(int(n)), s.GetId())
	}
	if n := s.GetStartFailures(); n > 0 {
		line("start failures", "%d in a row; %d lead to a pause", n, api.MaxStartFailures)
	}
	if s.GetCheckpoint() != "" {
		line("checkpoint", "%s", s.GetCheckpoint())
	}
}

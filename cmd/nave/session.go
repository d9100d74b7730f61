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
	cmd := &cobra.Command{
		Use: "sessions", Aliases: []string{"session"}, Short: "List sessions, or show one", Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error {
			if req.Phase != "" && !slices.Contains(api.Phases(), api.Phase(req.Phase)) {
				return usage("--phase %q: want one of %v", req.Phase, api.Phases())
			}
			return a.with(func(c *client.Client) error { return a.listSessions(ctx, c, req) })
		}, formatTable, formatJSON, formatName),
	}
	f := cmd.Flags()
	selectorFlag(cmd, &req.Selector)
	f.StringVar(&req.Agent, "agent", "", "only sessions of this agent")
	f.StringVar(&req.Phase, "phase", "", "only sessions in this phase")
	f.StringVar(&req.Cluster, "cluster", "", "only sessions assigned to this cluster")
	cmd.AddCommand(a.sessionGetCommand())
	return cmd
}

func (a *app) listSessions(ctx context.Context, c *client.Client, req *navev1.ListSessionsRequest) error {
	all, err := client.Collect(ctx, func(ctx context.Context, token string) ([]*navev1.Session, string, error) {
		req.PageToken = token
		res, err := c.Sessions.List(ctx, req)
		return res.GetSessions(), res.GetNextPageToken(), err
	})
	if err != nil {
		return err
	}
	switch {
	case a.output == formatJSON:
		return a.printJSON(&navev1.ListSessionsResponse{Sessions: all})
	case len(all) == 0:
		a.note("no sessions")
		return nil
	case a.output == formatName:
		for _, s := range all {
			fmt.Fprintln(a.out, clean(s.GetId(), false))
		}
		return nil
	}
	t := a.table("ID", "AGENT", "KEY", "INTENT", "PHASE", "CLUSTER", "EPOCH", "PENDING", "AGE", "REASON")
	for _, s := range all {
		t.row(s.GetId(), s.GetAgent(), s.GetKey(), intent(s), s.GetPhase(), s.GetCluster(), s.GetEpoch(),
			fmt.Sprint(s.GetPending()), a.age(s.GetCreatedAt()), s.GetReason())
	}
	t.print(a.out)
	return nil
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
	if n := s.GetStartFailures(); n > 0 {
		line("start failures", "%d in a row; %d lead to a pause", n, api.MaxStartFailures)
	}
	if s.GetCheckpoint() != "" {
		line("checkpoint", "%s", s.GetCheckpoint())
	}
}

func (a *app) explainCommand() *cobra.Command {
	var every bool
	cmd := &cobra.Command{
		Use: "explain SESSION", Short: "Show why a session runs where it runs", Args: cobra.ExactArgs(1),
		Long: `Explain shows the latest placement of a session: for each cluster the terms of its score, or the rule
that excluded it with the values that were compared.`,
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.with(func(c *client.Client) error {
				res, err := c.Sessions.Explain(ctx, &navev1.ExplainRequest{SessionId: args[0]})
				if err != nil {
					return err
				}
				if a.output == formatJSON {
					return a.printJSON(res)
				}
				a.explain(res, every)
				return nil
			})
		}, formatTable, formatJSON),
	}
	cmd.Flags().BoolVar(&every, "all", false, "show earlier placements too")
	return cmd
}

func (a *app) explain(res *navev1.ExplainResponse, every bool) {
	s := res.GetSession()
	line := func(format string, args ...any) { fmt.Fprintln(a.out, clean(fmt.Sprintf(format, args...), false)) }
	line("session %s: agent %s, key %s, %s", s.GetId(), s.GetAgent(), s.GetKey(), s.GetPhase())
	if s.GetReason() != "" {
		line("because: %s", s.GetReason())
	}
	decisions := res.GetDecisions()
	if len(decisions) == 0 {
		line("it was not placed yet")
	}
	for i, d := range decisions {
		if i > 0 && !every {
			a.note("%d earlier placements: --all shows them", len(decisions)-1)
			break
		}
		fmt.Fprintln(a.out)
		chosen := "nothing fits"
		if d.GetCluster() != "" {
			chosen = d.GetCluster() + " at epoch " + d.GetEpoch()
		}
		line("%s  %s", stamp(d.GetTime()), chosen)
		if d.GetSummary() != "" {
			line("%s", d.GetSummary())
		}
		t := a.table("CLUSTER", "CHOSEN", "SCORE", "WHY")
		for _, c := range d.GetCandidates() {
			t.row(candidate(c)...)
		}
		t.print(a.out)
	}
}

func candidate(c *navev1.Candidate) []string {
	chosen := ""
	if c.GetChosen() {
		chosen = "yes"
	}
	if c.GetReason() != "" {
		why := c.GetReason()
		if c.GetDetail() != "" {
			why += ": " + c.GetDetail()
		}
		return []string{c.GetCluster(), chosen, "", why}
	}
	var terms []string
	for _, t := range c.GetTerms() {
		term := fmt.Sprintf("%s %+d", t.GetName(), t.GetValue())
		if t.GetDetail() != "" {
			term += " (" + t.GetDetail() + ")"
		}
		terms = append(terms, term)
	}
	return []string{c.GetCluster(), chosen, fmt.Sprint(c.GetScore()), strings.Join(terms, ", ")}
}

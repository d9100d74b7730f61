package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

// explainFlags are the flags of the explain command.
type explainFlags struct {
	every, now bool
	whyNot     string
}

func (a *app) explainCommand() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use: "explain SESSION", Short: "Show what a session runs, and why it runs where it runs", Args: cobra.ExactArgs(1),
		Long: `Explain shows what a session runs, with the revisions that are fixed for its epoch, and its latest placement: for
each cluster the terms of its score, or the rule that excluded it with the values that were compared. --now also shows
what placement would decide with the clusters as they are now; --why-not says both about one cluster in words.`,
		Example: `  nave explain 01JDKQ7V3M5R8N2C4T6W9XYZAB
  nave explain 01JDKQ7V3M5R8N2C4T6W9XYZAB --why-not eu-1
  nave explain 01JDKQ7V3M5R8N2C4T6W9XYZAB --now`,
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.with(func(c *client.Client) error {
				res, err := c.Sessions.Explain(ctx, &navev1.ExplainRequest{SessionId: args[0], Present: f.now || f.whyNot != ""})
				switch {
				case err != nil:
					return err
				case a.output == formatJSON:
					return a.printJSON(res)
				case f.whyNot != "":
					return a.whyNot(res, f.whyNot)
				}
				a.explain(res, f)
				return nil
			})
		}, formatTable, formatJSON),
	}
	fs := cmd.Flags()
	fs.BoolVar(&f.every, "all", false, "show earlier placements too")
	fs.BoolVar(&f.now, "now", false, "also decide anew about the clusters as they are now, without placing")
	fs.StringVar(&f.whyNot, "why-not", "", "say in words why the session is not in this cluster")
	return cmd
}

func (a *app) say(format string, args ...any) {
	fmt.Fprintln(a.out, clean(fmt.Sprintf(format, args...), false))
}

func (a *app) explain(res *navev1.ExplainResponse, f explainFlags) {
	s := res.GetSession()
	a.say("session %s: agent %s, key %s, %s", s.GetId(), s.GetAgent(), s.GetKey(), s.GetPhase())
	if s.GetReason() != "" {
		a.say("because: %s", s.GetReason())
	}
	if r := res.GetResolved(); r != nil {
		a.say("%s", resolved(s, r))
	}
	decisions := res.GetDecisions()
	if len(decisions) == 0 {
		a.say("it was not placed yet")
	}
	for i, d := range decisions {
		if i > 0 && !f.every {
			a.note("%d earlier placements: --all shows them", len(decisions)-1)
			break
		}
		chosen := "nothing fits"
		if d.GetCluster() != "" {
			chosen = d.GetCluster() + " at epoch " + d.GetEpoch()
		}
		a.decision(d, fmt.Sprintf("%s  %s", stamp(d.GetTime()), chosen))
	}
	switch d := res.GetPresent(); {
	case d != nil && d.GetCluster() != "":
		a.decision(d, "now it would be "+d.GetCluster())
	case d != nil:
		a.decision(d, "now nothing would fit")
	case f.now:
		a.note("the hub does not say what it would decide now: nave version --hub shows its version")
	}
}

// decision prints one placement as a table.
func (a *app) decision(d *navev1.Decision, title string) {
	fmt.Fprintln(a.out)
	a.say("%s", title)
	if d.GetSummary() != "" {
		a.say("%s", d.GetSummary())
	}
	t := a.table("CLUSTER", "CHOSEN", "SCORE", "WHY")
	for _, c := range d.GetCandidates() {
		t.row(candidate(c)...)
	}
	t.print(a.out)
}

// resolved says what a session runs: each part with the revision and the image that it resolved to.
func resolved(s *navev1.Session, r *navev1.Resolved) string {
	verb, pin := "runs", "pinned for epoch "+s.GetEpoch()
	if !r.GetPinned() {
		verb, pin = "would run", "the next epoch pins it"
	}
	parts := []string{fmt.Sprintf("agent %s revision %d (%s)", r.GetAgent(), r.GetAgentRevision(), pin)}
	if r.GetEnvironment() != "" {
		parts = append(parts, fmt.Sprintf("environment %s revision %d", r.GetEnvironment(), r.GetEnvironmentRevision()))
	}
	if r.GetPlacementPolicy() != "" {
		parts = append(parts, fmt.Sprintf("policy %s revision %d", r.GetPlacementPolicy(), r.GetPlacementPolicyRevision()))
	} else {
		parts = append(parts, "no policy (any cluster)")
	}
	if r.GetImage() != "" {
		digest := "digest not looked up"
		if r.GetImageDigest() != "" {
			digest = r.GetImageDigest()
		}
		parts = append(parts, fmt.Sprintf("image %s (%s)", r.GetImage(), digest))
	} else {
		parts = append(parts, "no image")
	}
	if n := r.GetOverride(); n > 0 {
		parts = append(parts, fmt.Sprintf("override %d of the environment, for its cluster", n))
	}
	if r.GetFlavor() != "" {
		parts = append(parts, "flavor "+r.GetFlavor())
	}
	if r.GetHarnessProtocol() != "" {
		parts = append(parts, fmt.Sprintf("protocol %s: %s", r.GetHarnessProtocol(), strings.Join(r.GetCommand(), " ")))
	}
	if r.GetModel() != "" {
		parts = append(parts, "model "+r.GetModel())
	}
	if len(r.GetMcpServers()) > 0 {
		parts = append(parts, "MCP servers "+strings.Join(r.GetMcpServers(), " "))
	}
	if len(r.GetSkills()) > 0 {
		parts = append(parts, "skills "+strings.Join(r.GetSkills(), " "))
	}
	return "it " + verb + " " + strings.Join(parts, ", ")
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
	return []string{c.GetCluster(), chosen, fmt.Sprint(c.GetScore()), terms(c)}
}

// terms renders what a score is made of.
func terms(c *navev1.Candidate) string {
	var out []string
	for _, t := range c.GetTerms() {
		term := fmt.Sprintf("%s %+d", t.GetName(), t.GetValue())
		if t.GetDetail() != "" {
			term += " (" + t.GetDetail() + ")"
		}
		out = append(out, term)
	}
	return strings.Join(out, ", ")
}

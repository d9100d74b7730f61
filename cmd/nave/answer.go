package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

func (a *app) approveCommand() *cobra.Command {
	req := &navev1.AnswerRequest{Approve: true}
	cmd := a.answerCommand("approve ID", "Allow what an agent asks for",
		`Approve allows what an agent asks permission for. An id may be shortened to its last 8 letters. An answer is given
once: when somebody else has answered otherwise, this fails and says who.`, `  nave approve abcd2345
  nave approve abcd2345 --option allow-always --reason "the tests may run"`, req)
	cmd.Flags().StringVar(&req.Option, "option", "", "id of the option that is chosen (default: the first that allows once)")
	return cmd
}

func (a *app) denyCommand() *cobra.Command {
	return a.answerCommand("deny ID", "Refuse what an agent asks for",
		`Deny refuses what an agent asks permission for; the agent is told the reason. An id may be shortened to its last 8
letters.`, `  nave deny abcd2345 --reason "not on a Friday"`, &navev1.AnswerRequest{})
}

func (a *app) answerCommand(use, summary, long, example string, req *navev1.AnswerRequest) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: summary, Long: long, Example: example, Args: cobra.ExactArgs(1),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.with(func(c *client.Client) error { return a.answer(ctx, c, args[0], req) })
		}, formatText, formatJSON),
	}
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why; the agent is told")
	return cmd
}

func (a *app) answer(ctx context.Context, c *client.Client, id string, req *navev1.AnswerRequest) error {
	before, err := findApproval(ctx, c, id)
	if err != nil {
		return err
	}
	req.Id = before.GetId()
	p, err := c.Approvals.Answer(ctx, req)
	if api.CodeOf(err) == api.CodeConflict {
		return &advice{err, "nave approvals show " + short(req.GetId()) + " has all of it"}
	}
	if err != nil {
		return err
	}
	if a.output == formatJSON {
		return a.printJSON(p)
	}
	_, err = fmt.Fprintln(a.out, clean(a.answerWords(before, p), false))
	return err
}

func (a *app) answerWords(before, p *navev1.Approval) string {
	said := fmt.Sprintf("approval %s %s", short(p.GetId()), strings.ToLower(p.GetState()))
	if before.GetState() != string(api.ApprovalOpen) {
		return fmt.Sprintf("approval %s is %s already, by %s %s ago: %s", short(p.GetId()), strings.ToLower(p.GetState()), p.GetBy(), a.age(p.GetAnsweredAt()), p.GetTitle())
	}
	for _, o := range p.GetOptions() {
		if o.GetId() == p.GetOption() {
			said += fmt.Sprintf(" (%s)", o.GetName())
		}
	}
	said += ": " + p.GetTitle()
	if strings.HasPrefix(a.hold(p), "waits") || p.GetTaken() {
		return said + "; the agent waits for it and goes on"
	}
	return said + fmt.Sprintf("; session %s gets the answer as a signal", p.GetSessionId())
}

// findApproval reads an approval by its id, or by the end of its id: of those that are open first.
func findApproval(ctx context.Context, c *client.Client, id string) (*navev1.Approval, error) {
	if strings.Contains(id, "-") {
		return c.Approvals.Get(ctx, &navev1.GetApprovalRequest{Id: id})
	}
	if len(id) != shortID {
		return nil, usage("%q is not the id of an approval: give it whole, or its last %d letters", id, shortID)
	}
	for _, closed := range []bool{false, true} {
		all, err := allApprovals(ctx, c, &navev1.ListApprovalsRequest{PageSize: pageSize, Closed: closed})
		if err != nil {
			return nil, err
		}
		var found []*navev1.Approval
		var ids []string
		for _, p := range all {
			if strings.HasSuffix(p.GetId(), "-"+strings.ToLower(id)) {
				found, ids = append(found, p), append(ids, p.GetId())
			}
		}
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return nil, &api.Error{Code: api.CodeInvalid, Field: "id", Err: errors.New(id + " is the end of several: give one of " + strings.Join(ids, ", ") + " whole")}
		}
	}
	return nil, &api.Error{Code: api.CodeNotFound, Field: "id", Err: fmt.Errorf("no approval of the last 24 hours ends in %q", id)}
}

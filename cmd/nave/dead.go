package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

func (a *app) signalsCommand() *cobra.Command {
	req := &navev1.ListDeadLettersRequest{PageSize: pageSize}
	var dead bool
	cmd := &cobra.Command{
		Use: "signals --dead", Short: "Show signals that left the inbox without being consumed", Args: cobra.NoArgs,
		Long: `Signals shows dead letters, the latest first: signals that the agent failed on as often as its max_deliveries allows,
and those that were not settled when their session was terminated. "nave signals show ID" prints what one said, and
"nave replay ID" sends it again.`,
		Example: `  nave signals --dead --agent auditor
  nave signals show 01JDKQ7V3M5R8N2C4T6W9XYZAB`,
		RunE: a.do(func(ctx context.Context, _ []string) error {
			if !dead {
				return usage("say which: --dead shows the dead letters; what waits in a session is counted by nave sessions")
			}
			return a.show(ctx, false, func(ctx context.Context, c *client.Client) (*listing, error) {
				all, err := deadLetters(ctx, c, req)
				return a.deadList(all), err
			})
		}, formatTable, formatJSON, formatName),
	}
	f := cmd.Flags()
	f.BoolVar(&dead, "dead", false, "dead letters")
	f.StringVar(&req.Agent, "agent", "", "only those of this agent")
	f.StringVar(&req.SessionId, "session", "", "only those of this session")
	cmd.AddCommand(a.deadShowCommand())
	return cmd
}

func deadLetters(ctx context.Context, c *client.Client, req *navev1.ListDeadLettersRequest) ([]*navev1.DeadLetter, error) {
	return client.Collect(ctx, func(ctx context.Context, token string) ([]*navev1.DeadLetter, string, error) {
		req.PageToken = token
		res, err := c.Sessions.ListDeadLetters(ctx, req)
		return res.GetDeadLetters(), res.GetNextPageToken(), err
	})
}

func (a *app) deadList(all []*navev1.DeadLetter) *listing {
	l := &listing{none: "no dead letters", header: []string{"ID", "AGENT", "KEY", "SESSION", "SEQUENCE", "DEAD", "DELIVERIES", "REPLAYED", "REASON"},
		moving: []string{"DEAD"}, page: &navev1.ListDeadLettersResponse{DeadLetters: all}}
	for _, d := range all {
		l.items = append(l.items, item{key: d.GetSignalId(), name: d.GetSignalId(), message: d,
			cells: []string{d.GetSignalId(), d.GetAgent(), d.GetKey(), d.GetSessionId(), fmt.Sprint(d.GetSequence()), a.age(d.GetSettledAt()),
				fmt.Sprint(d.GetDeliveries()), d.GetReplayedAs(), d.GetReason()}})
	}
	return l
}

func (a *app) deadShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Print what a dead letter said", Args: cobra.ExactArgs(1),
		Long: "Show prints the payload of a dead letter, alone, on standard output, and what is known of it on standard error.",
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.with(func(c *client.Client) error {
				d, err := c.Sessions.GetDeadLetter(ctx, &navev1.GetDeadLetterRequest{SignalId: args[0]})
				if err != nil {
					return err
				}
				if a.output == formatJSON {
					return a.printJSON(d)
				}
				a.note("signal %s to agent %s for %s: sequence %d of session %s, from %s at %s", d.GetSignalId(), d.GetAgent(), d.GetKey(),
					d.GetSequence(), d.GetSessionId(), d.GetSender(), stamp(d.GetAcceptedAt()))
				a.note("dead since %s, failed deliveries: %d, because: %s", stamp(d.GetSettledAt()), d.GetDeliveries(), d.GetReason())
				if d.GetReplayedAs() != "" {
					a.note("replayed as signal %s", d.GetReplayedAs())
				}
				text := a.text(string(d.GetPayload()))
				if a.terminal {
					text += "\n"
				}
				_, err = fmt.Fprint(a.out, text)
				return err
			})
		}, formatText, formatJSON),
	}
}

func (a *app) replayCommand() *cobra.Command {
	return &cobra.Command{
		Use: "replay ID", Short: "Send a dead letter again", Args: cobra.ExactArgs(1),
		Long: `Replay sends a dead letter again, as a new signal to the same agent and key. Doing it twice is one signal. It prints
the session and the sequence of the signal in it.`,
		Example: "  nave replay 01JDKQ7V3M5R8N2C4T6W9XYZAB",
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.with(func(c *client.Client) error {
				res, err := c.Sessions.Replay(ctx, &navev1.ReplayRequest{SignalId: args[0]})
				if err != nil {
					return err
				}
				if a.output == formatJSON {
					return a.printJSON(res)
				}
				said := fmt.Sprintf("session %s sequence %d", res.GetSessionId(), res.GetSequence())
				if res.GetDuplicate() {
					said += " (replayed before)"
				}
				_, err = fmt.Fprintln(a.out, clean(said, false))
				return err
			})
		}, formatText, formatJSON),
	}
}

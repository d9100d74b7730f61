package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

func (a *app) cancelCommand() *cobra.Command {
	req := &navev1.CancelRequest{}
	var all bool
	cmd := &cobra.Command{
		Use: "cancel SESSION", Short: "End the turn that runs now; the session goes on", Args: cobra.ExactArgs(1),
		Long: `Cancel ends the turn that runs now. Its signals count as consumed: they are not worked on again. The session keeps
its state and takes the next signal. With --all the signals that wait are cancelled too; --up-to names the last one.`,
		Example: `  nave cancel 01JDKQ7V3M5R8N2C4T6W9XYZAB --note "wrong question"
  nave cancel 01JDKQ7V3M5R8N2C4T6W9XYZAB --all --dry-run`,
	}
	cmd.RunE = a.do(func(ctx context.Context, args []string) error {
		req.SessionId = args[0]
		upTo := cmd.Flags().Changed("up-to")
		switch {
		case all && upTo:
			return usage("--all and --up-to exclude each other: leave one of them out")
		case upTo && req.UpTo == 0:
			return usage("--up-to 0: signals are numbered from 1")
		}
		return a.with(func(c *client.Client) error { return a.cancel(ctx, c, req, !all && !upTo) })
	}, formatText, formatJSON)
	f := cmd.Flags()
	f.BoolVar(&all, "all", false, "also every signal that waits")
	f.Uint64Var(&req.UpTo, "up-to", 0, "every signal up to this sequence")
	f.StringVar(&req.Note, "note", "", "why, for people: it stands in the session's log")
	f.BoolVar(&req.DryRun, "dry-run", false, "let the hub say what would happen and change nothing")
	return cmd
}

func (a *app) cancel(ctx context.Context, c *client.Client, req *navev1.CancelRequest, running bool) error {
	if running {
		signals, err := runningTurn(ctx, c, req.GetSessionId())
		if err != nil {
			return err
		}
		if len(signals) == 0 {
			return &advice{api.Errorf(api.CodeFailed, "no turn of session %s runs now", req.GetSessionId()), "--all cancels what waits"}
		}
		req.UpTo = slices.Max(signals)
	}
	res, err := c.Sessions.Cancel(ctx, req)
	if err != nil {
		return err
	}
	if a.output == formatJSON {
		return a.printJSON(res)
	}
	said := fmt.Sprintf("session %s: signals up to %d are cancelled", res.GetSession().GetId(), res.GetUpTo())
	switch {
	case !res.GetChanged():
		said = fmt.Sprintf("session %s: nothing to cancel, all signals up to %d were cancelled or consumed before", res.GetSession().GetId(), res.GetUpTo())
	case running:
		said += "; the turn that works on them is being ended"
	}
	if req.GetDryRun() {
		said += " (dry run)"
	}
	_, err = fmt.Fprintln(a.out, clean(said, false))
	return err
}

// runningTurn returns the signals of the turn that a session works on; none when it works on none.
func runningTurn(ctx context.Context, c *client.Client, session string) (signals []uint64, err error) {
	end, err := c.End(ctx, session)
	if err != nil {
		return nil, err
	}
	err = c.Back(ctx, session, end, func(events []*navev1.Event) bool {
		for _, e := range slices.Backward(events) {
			switch api.EventType(e.GetType()) {
			case api.EventTurn:
				signals = e.GetSignals()
				return false
			case api.EventTurnDone, api.EventStarted, api.EventEnded, api.EventSlept:
				return false
			}
		}
		return true
	})
	return signals, err
}

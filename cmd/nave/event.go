package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

func (a *app) eventsCommand() *cobra.Command {
	req := &navev1.EventsRequest{}
	cmd := &cobra.Command{
		Use: "events SESSION", Short: "Show the events of a session", Args: cobra.ExactArgs(1),
		Long: `Events shows the log of a session in its order, without gaps or doubles. With --follow it stays and shows what
comes; when the hub goes away it connects again and goes on after the last event shown.`,
		RunE: a.do(func(ctx context.Context, args []string) error {
			req.SessionId = args[0]
			if req.Follow {
				var cancel context.CancelFunc
				ctx, cancel = a.whole(ctx)
				defer cancel()
			}
			err := a.with(func(c *client.Client) error { return c.Follow(ctx, req, a.printEvent) })
			if req.Follow && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil // as long as --timeout said
			}
			return err
		}, formatText, formatJSON),
	}
	f := cmd.Flags()
	f.BoolVar(&req.Follow, "follow", false, "stay and show what comes")
	f.Uint64Var(&req.From, "from", 1, "number of the first event wanted")
	f.Uint32Var(&req.Limit, "limit", 0, "end after this many events; 0 means no limit")
	return cmd
}

// stamp renders a time as people compare it.
func stamp(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}

func (a *app) printEvent(e *navev1.Event) error {
	if a.output == formatJSON {
		return a.printLine(e)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%6d  %s  %-16s", e.GetNumber(), stamp(e.GetTime()), clean(e.GetType(), false))
	if e.GetCluster() != "" {
		fmt.Fprintf(&b, "  [%s]", clean(e.GetCluster(), false))
	}
	if len(e.GetSignals()) > 0 {
		fmt.Fprintf(&b, "  signals %s", strings.Trim(fmt.Sprint(e.GetSignals()), "[]"))
	}
	if e.GetOutcome() != "" {
		fmt.Fprintf(&b, "  %s", clean(e.GetOutcome(), false))
	}
	if text := strings.TrimRight(a.text(e.GetText()), "\n"); text != "" {
		b.WriteString("  " + strings.ReplaceAll(text, "\n", "\n        "))
	}
	_, err := fmt.Fprintln(a.out, strings.TrimRight(b.String(), " "))
	return err
}

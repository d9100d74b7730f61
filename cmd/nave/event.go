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
	var side bool
	cmd := &cobra.Command{
		Use: "events SESSION", Short: "Show the events of a session", Args: cobra.ExactArgs(1),
		Long: `Events shows the log of a session in its order, without gaps or doubles. With --follow it stays and shows what
comes; when the hub goes away it connects again and goes on after the last event shown.

With --side it shows what workloads sent whose right to act was over: such events are kept to be read and are no part
of the log. They stand in the order of their arrival, with their source and their number in it.`,
		RunE: a.do(func(ctx context.Context, args []string) error {
			req.SessionId = args[0]
			if side {
				if req.Follow || req.From > 1 {
					return usage("--side knows neither --follow nor --from: leave them out")
				}
				return a.with(func(c *client.Client) error { return a.sideEvents(ctx, c, args[0], int(req.Limit)) })
			}
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
	f.BoolVar(&side, "side", false, "show the events of side branches instead of the log")
	return cmd
}

// sideEvents prints the events of side branches page by page.
func (a *app) sideEvents(ctx context.Context, c *client.Client, session string, limit int) error {
	req := &navev1.ListSideEventsRequest{SessionId: session, PageSize: pageSize}
	for shown := 0; ; {
		res, err := c.Sessions.ListSideEvents(ctx, req)
		if err != nil {
			return err
		}
		for _, e := range res.GetEvents() {
			if limit > 0 && shown == limit {
				return nil
			}
			if err := a.printEvent(e); err != nil {
				return err
			}
			shown++
		}
		if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
			if shown == 0 && a.output != formatJSON {
				a.note("no events of side branches")
			}
			return nil
		}
	}
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
	number := fmt.Sprintf("%6d", e.GetNumber())
	if e.GetReceivedAt() != nil { // of a side branch
		number = clean(fmt.Sprintf("%s #%d", e.GetSource(), e.GetSourceNumber()), false)
	}
	fmt.Fprintf(&b, "%s  %s  %-18s", number, stamp(e.GetTime()), clean(e.GetType(), false))
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

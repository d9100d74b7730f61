package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

func (a *app) eventsCommand() *cobra.Command {
	req := &navev1.EventsRequest{}
	var side, full, deltas bool
	cmd := &cobra.Command{
		Use: "events SESSION", Short: "Show the events of a session", Args: cobra.ExactArgs(1),
		Long: `Events shows the log of a session in its order, without gaps or doubles. With --follow it stays and shows what
comes; when the hub goes away it connects again and goes on after the last event shown. On a terminal texts then appear
while they are written, and what is long is cut: --full shows all of it.

With --side it shows what workloads sent whose right to act was over: such events are kept to be read and are no part
of the log. They stand in the order of their arrival, with their source and their number in it.`,
		Example: `  nave events 01JDKQ7V3M5R8N2C4T6W9XYZAB --follow
  nave events 01JDKQ7V3M5R8N2C4T6W9XYZAB --from 40 --limit 1 --full
  nave events 01JDKQ7V3M5R8N2C4T6W9XYZAB -o json`,
	}
	cmd.RunE = a.do(func(ctx context.Context, args []string) error {
		req.SessionId = args[0]
		if side {
			if req.Follow || req.From > 1 {
				return usage("--side knows neither --follow nor --from: leave them out")
			}
			return a.with(func(c *client.Client) error { return a.sideEvents(ctx, c, args[0], int(req.Limit), full) })
		}
		if deltas && !req.Follow {
			return usage("--deltas are of what is written now: give --follow too")
		}
		req.Deltas = req.Follow && (deltas || a.terminal && a.output == formatText && !cmd.Flags().Changed("deltas"))
		if req.Follow {
			var cancel context.CancelFunc
			ctx, cancel = a.whole(ctx)
			defer cancel()
		}
		err := a.with(func(c *client.Client) error { return c.Follow(ctx, req, a.eventPrinter(full)) })
		if req.Follow && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil // as long as --timeout said
		}
		return err
	}, formatText, formatJSON)
	f := cmd.Flags()
	f.BoolVar(&req.Follow, "follow", false, "stay and show what comes")
	f.Uint64Var(&req.From, "from", 1, "number of the first event wanted")
	f.Uint32Var(&req.Limit, "limit", 0, "end after this many events; 0 means no limit")
	f.BoolVar(&full, "full", false, "on a terminal: show long texts whole")
	f.BoolVar(&deltas, "deltas", false, "with --follow: also show texts while they are written (default: on a terminal)")
	f.BoolVar(&side, "side", false, "show the events of side branches instead of the log")
	return cmd
}

// eventPrinter prints events, and texts while they are written.
func (a *app) eventPrinter(full bool) func(*navev1.Event) error {
	l := newLive(a, func(e *navev1.Event) string { return a.eventHead(e) })
	return func(e *navev1.Event) error {
		switch {
		case a.output == formatJSON:
			return a.printLine(e)
		case e.GetDelta() != nil:
			return l.delta(e)
		}
		if done, err := l.event(e); done || err != nil {
			return err
		}
		return a.printEvent(e, full)
	}
}

// sideEvents prints the events of side branches page by page.
func (a *app) sideEvents(ctx context.Context, c *client.Client, session string, limit int, full bool) error {
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
			if err := a.printEvent(e, full); err != nil {
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

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

// waitPoll is the time after which a wait looks at a session though its log brought nothing: not everything that is waited
// for is in the log.
const waitPoll = 5 * time.Second

func (a *app) waitCommand() *cobra.Command {
	var condition string
	cmd := &cobra.Command{
		Use: "wait --for CONDITION SESSION | cluster NAME", Short: "Wait until a session or a cluster is as it should be",
		Long: `Wait stays until a condition holds. Conditions of a session:

  phase=PHASE   it is in this phase: Dormant, Placing, Starting, Running, Stopping, Lost
  idle          no signal of it waits, and none is worked on
  turn          the next turn ends
  approval      it asks for a permission
  terminated    it was ended for good

Conditions of a cluster:

  live          the hub hears it
  gone          it was removed

--timeout bounds the wait; when it is over the exit code is 124.`,
		Example: `  nave wait --for phase=Dormant 01JDKQ7V3M5R8N2C4T6W9XYZAB --timeout 10m
  nave wait --for live cluster east`,
		Args: cobra.RangeArgs(1, 2),
		RunE: a.do(func(ctx context.Context, args []string) error {
			ofCluster := len(args) == 2
			if ofCluster && args[0] != "cluster" {
				return usage("%q is not what can be waited for: use SESSION, or cluster NAME", args[0])
			}
			ctx, cancel := a.whole(ctx)
			defer cancel()
			err := a.with(func(c *client.Client) error {
				if ofCluster {
					return a.waitCluster(ctx, c, args[1], condition)
				}
				return a.waitSession(ctx, c, args[0], condition)
			})
			if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return timedOut("%s did not hold within %v: look at it, or wait longer", condition, a.timeout)
			}
			return err
		}, formatText, formatJSON),
	}
	cmd.Flags().StringVar(&condition, "for", "", "what to wait for")
	return cmd
}

// clusterConditions and sessionConditions are what can be waited for, but for phase=PHASE.
var (
	clusterConditions = []string{"live", "gone"}
	sessionConditions = []string{"idle", "turn", "approval", "terminated"}
)

func (a *app) waitCluster(ctx context.Context, c *client.Client, name, condition string) error {
	if !slices.Contains(clusterConditions, condition) {
		return usage("--for %q: want one of %s", condition, strings.Join(clusterConditions, ", "))
	}
	for {
		cl, err := c.Clusters.Get(ctx, &navev1.GetRequest{Name: name})
		switch missing := api.CodeOf(err) == api.CodeNotFound; {
		case missing && condition == "gone":
			return a.waited(&navev1.Cluster{Meta: &navev1.Meta{Name: name}}, "cluster %s is gone", name)
		case err != nil:
			return err
		case condition == "live" && cl.GetStatus().GetHealth() == string(api.HealthLive):
			return a.waited(cl, "cluster %s is live", name)
		}
		if !a.pause(ctx) {
			return ctx.Err()
		}
	}
}

// met tells whether a condition that is a state holds.
func met(s *navev1.Session, condition string) bool {
	phase, isPhase := strings.CutPrefix(condition, "phase=")
	switch {
	case isPhase:
		return s.GetPhase() == phase && s.GetIntent() != string(api.IntentTerminated)
	case condition == "idle":
		return s.GetPending() == 0
	case condition == "approval":
		return s.GetOpenApprovals() > 0
	}
	return condition == "terminated" && s.GetIntent() == string(api.IntentTerminated)
}

func checkCondition(condition string) (string, error) {
	if condition == "deleted" {
		condition = "terminated"
	}
	phase, isPhase := strings.CutPrefix(condition, "phase=")
	if isPhase && slices.Contains(api.Phases(), api.Phase(phase)) || slices.Contains(sessionConditions, condition) {
		return condition, nil
	}
	return "", usage("--for %q: want phase=PHASE with one of %v, or one of %s", condition, api.Phases(), strings.Join(sessionConditions, ", "))
}

func (a *app) waitSession(ctx context.Context, c *client.Client, id, condition string) error {
	condition, err := checkCondition(condition)
	if err != nil {
		return err
	}
	// The end of the log is read before the session, so that no event between the two is missed.
	last, err := c.End(ctx, id)
	if err != nil {
		return err
	}
	for {
		s, err := c.Sessions.Get(ctx, &navev1.GetSessionRequest{Id: id})
		switch {
		case err != nil:
			return err
		case met(s, condition):
			return a.waited(s, "session %s: %s", id, condition)
		case s.GetIntent() == string(api.IntentTerminated):
			return &advice{api.Errorf(api.CodeFailed, "session %s was terminated: %s will not come", id, condition), "nave events " + id + " shows what happened"}
		}
		end, err := a.next(ctx, c, id, &last, condition == "turn")
		switch {
		case err != nil:
			return err
		case end != nil:
			return a.waited(end, "session %s: a turn ended as %q", id, end.GetOutcome())
		}
	}
}

// next follows the log behind last for a while, until an event comes. With turn it goes on to the end of a turn, or of the
// session, and returns the former.
func (a *app) next(ctx context.Context, c *client.Client, id string, last *uint64, turn bool) (end *navev1.Event, err error) {
	look, cancel := context.WithTimeout(ctx, waitPoll)
	defer cancel()
	err = c.Follow(look, &navev1.EventsRequest{SessionId: id, From: *last + 1, Follow: true}, func(e *navev1.Event) error {
		*last = e.GetNumber()
		switch {
		case turn && api.EventType(e.GetType()) == api.EventTurnDone:
			end = e
		case turn && api.EventType(e.GetType()) != api.EventEnd:
			return nil
		}
		return client.ErrStop
	})
	if err != nil && ctx.Err() == nil && look.Err() != nil {
		err = nil // nothing came: look at the session
	}
	return end, err
}

func (a *app) waited(m proto.Message, format string, args ...any) error {
	if a.output == formatJSON {
		return a.printJSON(m)
	}
	_, err := fmt.Fprintln(a.out, clean(fmt.Sprintf(format, args...), false))
	return err
}

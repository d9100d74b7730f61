package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

// intentCall chooses one of the calls that change what people want of a session.
type intentCall func(*client.Client) func(context.Context, *navev1.IntentRequest) (*navev1.IntentResponse, error)

func (a *app) pauseCommand() *cobra.Command {
	return a.intentCommand("pause SESSION", "Stop a session; it goes on accepting signals",
		`Pause stops a session. Its state is kept, it goes on accepting signals, and nothing runs for it until it is resumed.
It says by when the agent has stopped, also when its cluster is not heard.`,
		func(c *client.Client) func(context.Context, *navev1.IntentRequest) (*navev1.IntentResponse, error) {
			return c.Sessions.Pause
		}, a.pausedWords, nil)
}

func (a *app) resumeCommand() *cobra.Command {
	return a.intentCommand("resume SESSION", "Let a paused session go on",
		`Resume takes away the pause that a person asked for, and the one that failed starts have led to. Other pauses stay.`,
		func(c *client.Client) func(context.Context, *navev1.IntentRequest) (*navev1.IntentResponse, error) {
			return c.Sessions.Resume
		}, a.resumedWords, nil)
}

func (a *app) terminateCommand() *cobra.Command {
	var yes bool
	cmd := a.intentCommand("terminate SESSION", "End a session for good",
		`Terminate ends a session for good. Signals that are not settled become dead letters, see "nave signals --dead"; its
state is removed; its log stays. A later signal for the same key makes a new session.`,
		func(c *client.Client) func(context.Context, *navev1.IntentRequest) (*navev1.IntentResponse, error) {
			return c.Sessions.Terminate
		}, a.terminatedWords, func(ctx context.Context, c *client.Client, req *navev1.IntentRequest) error {
			if yes || req.GetDryRun() || !a.interactive {
				return nil
			}
			return a.confirmTerminate(ctx, c, req)
		})
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// intentCommand makes the command of one change. words says what became of it; before may stop it.
func (a *app) intentCommand(use, short, long string, call intentCall, words func(*navev1.IntentResponse) string, before func(context.Context, *client.Client, *navev1.IntentRequest) error) *cobra.Command {
	req := &navev1.IntentRequest{}
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: cobra.ExactArgs(1),
		Example: fmt.Sprintf("  nave %s 01JDKQ7V3M5R8N2C4T6W9XYZAB --note \"why\"\n  nave %s 01JDKQ7V3M5R8N2C4T6W9XYZAB --dry-run", strings.Fields(use)[0], strings.Fields(use)[0]),
		RunE: a.do(func(ctx context.Context, args []string) error {
			req.SessionId = args[0]
			return a.with(func(c *client.Client) error {
				if before != nil {
					if err := before(ctx, c, req); err != nil {
						return err
					}
				}
				res, err := call(c)(ctx, req)
				if err != nil {
					return err
				}
				if a.output == formatJSON {
					return a.printJSON(res)
				}
				said := fmt.Sprintf("session %s %s", res.GetSession().GetId(), words(res))
				if req.GetDryRun() {
					said += " (dry run)"
				}
				_, err = fmt.Fprintln(a.out, clean(said, false))
				return err
			})
		}, formatText, formatJSON),
	}
	cmd.Flags().StringVar(&req.Note, "note", "", "why, for people: it stands in the session's log")
	cmd.Flags().BoolVar(&req.DryRun, "dry-run", false, "let the hub say what would happen and change nothing")
	return cmd
}

// confirmTerminate asks the person at the terminal, with what would be lost.
func (a *app) confirmTerminate(ctx context.Context, c *client.Client, req *navev1.IntentRequest) error {
	s, err := c.Sessions.Get(ctx, &navev1.GetSessionRequest{Organization: req.GetOrganization(), Id: req.GetSessionId()})
	if err != nil {
		return err
	}
	if s.GetIntent() == string(api.IntentTerminated) {
		return nil
	}
	question := fmt.Sprintf("End session %s of agent %s for %s for good?", s.GetId(), s.GetAgent(), s.GetKey())
	if n := s.GetPending(); n > 0 {
		question += fmt.Sprintf(" %s.", pendingWords(n, "become"))
	}
	fmt.Fprint(a.errOut, clean(question+" Type yes: ", false))
	answer, err := bufio.NewReader(a.in).ReadString('\n')
	if strings.TrimSpace(answer) == "yes" {
		return nil
	}
	if answer == "" && err != nil {
		fmt.Fprintln(a.errOut)
	}
	return api.Errorf(api.CodeFailed, "the session was not terminated: the answer was not yes")
}

func pendingWords(n uint32, verb string) string {
	if n == 1 {
		return "1 signal that is not settled " + verb + "s a dead letter"
	}
	return fmt.Sprintf("%d signals that are not settled %s dead letters", n, verb)
}

func (a *app) pausedWords(res *navev1.IntentResponse) string {
	if !res.GetChanged() {
		return "is paused already" + a.stopWords(res)
	}
	return "paused" + a.stopWords(res)
}

func (a *app) resumedWords(res *navev1.IntentResponse) string {
	s := res.GetSession()
	switch {
	case len(s.GetPauses()) > 0:
		return "stays paused: " + strings.Join(s.GetPauses(), ", ")
	case !res.GetChanged():
		return "is not paused"
	case s.GetPending() > 0:
		return "resumed; it goes on with its signals"
	}
	return "resumed; it begins with the next signal"
}

func (a *app) terminatedWords(res *navev1.IntentResponse) string {
	said := "terminated"
	if !res.GetChanged() {
		said = "is terminated already"
	}
	said += a.stopWords(res)
	if n := res.GetSession().GetPending(); n > 0 {
		said += "; then " + pendingWords(n, "become")
	}
	return said
}

// stopWords says when nothing acts for the session any more.
func (a *app) stopWords(res *navev1.IntentResponse) string {
	s := res.GetSession()
	switch {
	case res.GetWaitsForCluster():
		return fmt.Sprintf("; cluster %s is not heard and the agent's stop_after is \"never\": it may run on until the cluster is heard", s.GetCluster())
	case res.GetEffectiveBy() != nil:
		return fmt.Sprintf("; cluster %s is not heard: its agents stop by themselves by %s", s.GetCluster(), a.clock(res.GetEffectiveBy().AsTime()))
	case s.GetCluster() != "":
		return "; its agent at cluster " + s.GetCluster() + " is being stopped"
	}
	return "; nothing runs for it"
}

// clock renders a moment: one within a day without its date.
func (a *app) clock(t time.Time) string {
	if d := t.Sub(a.now()); d > -12*time.Hour && d < 12*time.Hour {
		return t.UTC().Format("15:04:05 UTC")
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

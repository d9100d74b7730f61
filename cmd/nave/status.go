package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

// The states of a check.
const (
	checkOK      = "ok"
	checkWarning = "warning"
	checkFailing = "failing"
)

func (a *app) statusCommand() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use: "status", Short: "Say whether all is well, and what to do where it is not", Args: cobra.NoArgs,
		Long: `Status says on one screen whether all is well; if not, what is wrong and what to do about it. The exit code is 0 when
nothing is failing, warnings or not; 7 when something is failing; 5 when the hub cannot be reached.`,
		Example: `  nave status
  nave status --watch
  nave status -o json | jq '.checks[] | select(.state != "ok")'`,
		RunE: a.do(func(ctx context.Context, _ []string) error {
			return a.with(func(c *client.Client) error {
				look := func(ctx context.Context) error { return a.status(ctx, c) }
				switch {
				case !watch:
					return look(ctx)
				case a.terminal && a.output == formatText:
					return a.redraw(ctx, look)
				}
				return a.repeat(ctx, look)
			})
		}, formatText, formatJSON),
	}
	watchFlag(cmd, &watch)
	return cmd
}

// repeat prints what look prints whenever that is another thing than before.
func (a *app) repeat(ctx context.Context, look func(context.Context) error) error {
	out, last := a.out, ""
	defer func() { a.out = out }()
	return a.again(ctx, func(ctx context.Context) error {
		var page bytes.Buffer
		a.out = &sink{w: &page}
		err := look(ctx)
		a.out = out
		var quiet *silent
		switch {
		case err != nil && !errors.As(err, &quiet):
			return err
		case page.String() == last:
			return nil
		}
		last = page.String()
		_, err = out.Write(page.Bytes())
		return err
	})
}

func (a *app) status(ctx context.Context, c *client.Client) error {
	res, err := c.System.Status(ctx, &navev1.StatusRequest{})
	var lost *navev1.Check
	if err != nil {
		if lost = a.unreachable(err); lost == nil || ctx.Err() != nil {
			return err
		}
		res, err = &navev1.StatusResponse{Checks: []*navev1.Check{lost}}, nil
	}
	if a.output == formatJSON {
		err = a.printJSON(res)
	} else {
		a.showStatus(res)
	}
	switch {
	case err != nil:
		return err
	case lost != nil:
		return &silent{exitUnavailable}
	case slices.ContainsFunc(res.GetChecks(), func(k *navev1.Check) bool { return severity(k) == 2 }):
		return &silent{exitFailing}
	}
	return a.out.err
}

// unreachable is the finding of this program alone about a hub that does not answer, or that is not the one that the context
// means. It is nil for what a hub answered.
func (a *app) unreachable(err error) *navev1.Check {
	k := &navev1.Check{Name: "hub", State: checkFailing, Detail: fmt.Sprintf("%s: %v", a.hub.Address, err)}
	switch field := api.FieldOf(err); {
	case api.CodeOf(err) == api.CodeUnavailable:
		k.Remedy = fmt.Sprintf("check that a hub runs there (its log, its port), that this machine reaches it (name, firewall, proxy), and that the address of context %q is right: nave context show", a.hub.Name)
	case api.CodeOf(err) == api.CodeInvalid && (field == "ca" || field == "address"):
		k.Remedy = fmt.Sprintf("compare address and authority of context %q with the hub's: nave context set %s --address ... --ca-file ...", a.hub.Name, a.hub.Name)
	default:
		return nil
	}
	return k
}

// severity is 0 for what is well, 1 for what wants an eye, 2 for what fails. A state that is not known wants an eye.
func severity(k *navev1.Check) int {
	switch k.GetState() {
	case checkOK:
		return 0
	case checkFailing:
		return 2
	}
	return 1
}

func (a *app) showStatus(res *navev1.StatusResponse) {
	line := func(format string, args ...any) { fmt.Fprintln(a.out, clean(fmt.Sprintf(format, args...), false)) }
	var bad []*navev1.Check
	var well []string
	for _, k := range res.GetChecks() {
		if severity(k) > 0 {
			bad = append(bad, k)
		} else {
			well = append(well, k.GetName())
		}
	}
	slices.SortStableFunc(bad, func(x, y *navev1.Check) int { return severity(y) - severity(x) })
	switch {
	case len(bad) == 0:
		fmt.Fprintln(a.out, a.tint(green, "All is well"))
	case severity(bad[0]) == 2:
		fmt.Fprintln(a.out, a.tint(red, need(len(bad))))
	default:
		fmt.Fprintln(a.out, a.tint(yellow, need(len(bad))))
	}
	for _, k := range bad {
		colour := yellow
		if severity(k) == 2 {
			colour = red
		}
		fmt.Fprintf(a.out, "\n%s  %s: %s\n", a.tint(colour, clean(fmt.Sprintf("%-7s", k.GetState()), false)), clean(k.GetName(), false), clean(k.GetDetail(), false))
		if k.GetRemedy() != "" {
			line("         do: %s", k.GetRemedy())
		}
	}
	if res.GetVersion() == "" {
		return // nobody answered
	}
	fmt.Fprintln(a.out)
	line("hub           %s at %s", res.GetVersion(), a.hub.Address)
	if len(well) > 0 {
		line("ok            %s", strings.Join(well, ", "))
	}
	line("clusters      %s", counts(res.GetClusters()))
	line("sessions      %s", counts(res.GetSessions()))
	line("signals       %d not settled", res.GetPendingSignals())
	line("approvals     %s", withCommand(int(res.GetOpenApprovals()), waits(int(res.GetOpenApprovals()))+" for an answer", "nave approvals"))
	letters := fmt.Sprintf("%d in 24 hours", res.GetDeadLetters())
	if res.GetDeadLetters() >= 1000 {
		letters = "1000 or more in 24 hours"
	}
	line("dead letters  %s", withCommand(int(res.GetDeadLetters()), letters, "nave signals --dead"))
}

func need(n int) string {
	if n == 1 {
		return "1 thing needs attention"
	}
	return plural(n, "thing") + " need attention"
}

// waits is "1 waits", "2 wait".
func waits(n int) string {
	if n == 1 {
		return "1 waits"
	}
	return fmt.Sprintf("%d wait", n)
}

func withCommand(n int, said, command string) string {
	if n == 0 {
		return "none"
	}
	return said + ": " + command
}

func counts(cs []*navev1.Count) string {
	var out []string
	for _, c := range cs {
		if c.GetCount() > 0 {
			out = append(out, fmt.Sprintf("%d %s", c.GetCount(), c.GetName()))
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
	"github.com/nave-dev/nave/spoke/kube/identity"
	"github.com/nave-dev/nave/spoke/kube/tenant"
)

// checkLimit bounds a whole check.
const checkLimit = 2 * time.Minute

func checkCommand() *cobra.Command {
	var p platform
	cmd := &cobra.Command{
		Use:   "check --runtime kubernetes --kubernetes FILE",
		Short: "Say what of the cluster sessions lack, with the access of the spoke",
		Long: "Say what of the cluster sessions lack, with the access of the spoke: a line for each finding, with what to do about it. Nothing is\n" +
			"changed. The exit code is 1 when something is missing that sessions need.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.complete(); err != nil {
				return err
			}
			if p.Runtime != asPods {
				return api.Invalid("--runtime", "%s: there is something to check of %s alone", p.Runtime, asPods)
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), checkLimit, fmt.Errorf("not within %v", checkLimit))
			defer cancel()
			return p.check(ctx, cmd.OutOrStdout())
		},
	}
	p.bind(cmd.Flags())
	return cmd
}

// check prints what is found, and returns an error when something is missing.
func (p *platform) check(ctx context.Context, out io.Writer) error {
	access, own, err := p.access()
	if err != nil {
		return err
	}
	missing := 0
	say := func(weight tenant.Weight, text string) {
		if weight == tenant.Missing {
			missing++
		}
		fmt.Fprintln(out, text)
	}
	for what, err := range p.needs(ctx, access) {
		if err != nil {
			say(tenant.Missing, fmt.Sprintf("%s: %s: %v", tenant.Missing, what, err))
		} else {
			fmt.Fprintf(out, "good: %s\n", what)
		}
	}
	keeper, err := tenant.New(tenant.Config{Rest: access, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if p.Settings.Namespaces.Manage {
		found, err := keeper.CheckManaging(ctx, p.Settings.Namespaces.Prefix)
		if err != nil {
			return err
		}
		for _, f := range found {
			say(f.Weight, f.String())
		}
		if len(found) == 0 {
			fmt.Fprintf(out, "good: the rights to make namespaces of other organizations\n")
		}
	}
	for _, org := range slices.Sorted(maps.Keys(p.Settings.Namespaces.Organizations)) {
		s, err := p.spec(own, org, p.Settings.Namespaces.Organizations[org])
		if err != nil {
			return err
		}
		found, err := keeper.Check(ctx, s)
		if err != nil {
			return err
		}
		for _, f := range found {
			say(f.Weight, f.String())
		}
		if len(found) == 0 {
			fmt.Fprintf(out, "good: namespace %s of organization %s\n", s.Namespace, org)
		}
	}
	if missing > 0 {
		return fmt.Errorf("sessions cannot run here: findings that say \"missing\": %d", missing)
	}
	return nil
}

// needs asks for what every spoke in a cluster needs, in the order in which it does.
func (p *platform) needs(ctx context.Context, access *rest.Config) func(func(string, error) bool) {
	return func(yield func(string, error) bool) {
		_, err := fingerprintOfCluster(ctx, access, slog.New(slog.DiscardHandler))
		if !yield("the fingerprint of the cluster", err) {
			return
		}
		none := func(string) (string, string, bool) { return "", "", false }
		v, err := identity.New(identity.Config{Rest: access, Audience: harnessv1.Audience, Pod: none, ServiceAccount: p.Settings.Pods.ServiceAccount, Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			err = v.Ready(ctx)
		}
		yield("the keys that tokens of harnesses are signed with", err)
	}
}

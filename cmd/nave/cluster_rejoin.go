package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

func (a *app) clusterRejoinCommand() *cobra.Command {
	req := &navev1.RejoinClusterRequest{}
	var lifetime time.Duration
	var tokenFile string
	cmd := &cobra.Command{
		Use: "rejoin NAME", Short: "Let another spoke take a cluster over", Args: cobra.ExactArgs(1),
		Long: `Rejoin is for a spoke that is lost for good, or whose key may be in other hands: the identity of the present spoke is
revoked, its link is cut, and the join token of another one is printed, alone, on standard output. The new spoke is let
in when the agents of the former one must have stopped by themselves; the command says how long that takes at most.

Sessions whose stop_after is "never" do not stop by themselves: they may still run at the former spoke. Repeat the
cluster's name with --force to say that they do not; if they do, two agents act for one session.`,
		RunE: a.do(func(ctx context.Context, args []string) error {
			req.Name = args[0]
			if err := api.ValidateName("NAME", req.Name); err != nil {
				return &usageError{err}
			}
			if req.Force != "" && req.Force != req.Name {
				return usage("--force %q is not the cluster's name: repeat %q to force it", req.Force, req.Name)
			}
			if lifetime != 0 {
				req.TokenLifetime = durationpb.New(lifetime)
			}
			return a.with(func(c *client.Client) error { return a.rejoin(ctx, c, req, tokenFile) })
		}, formatText, formatJSON),
	}
	f := cmd.Flags()
	f.StringVar(&req.Force, "force", "", "the cluster's name again: nothing runs at the former spoke, whatever stop_after says")
	f.DurationVar(&lifetime, "token-lifetime", 0, "how long the join token is valid, 1m to 24h (default 1h)")
	f.StringVar(&tokenFile, "token-file", "", "write the join token to this file")
	f.BoolVar(&req.DryRun, "dry-run", false, "let the hub say what would happen and change nothing")
	return cmd
}

func (a *app) rejoin(ctx context.Context, c *client.Client, req *navev1.RejoinClusterRequest, tokenFile string) error {
	authority, err := a.pinnable(ctx, c)
	if err != nil {
		return err
	}
	res, err := c.Clusters.Rejoin(ctx, req)
	if err != nil {
		return err
	}
	wait := "the new spoke is let in at once"
	if d := res.GetWait().AsDuration(); d > 0 {
		wait = fmt.Sprintf("the new spoke is let in after %v at the latest: until then agents of the former one may act", d.Round(time.Second))
	}
	if req.GetDryRun() {
		if a.output == formatJSON {
			return a.printJSON(res)
		}
		a.note("cluster/%s can be rejoined (dry run); %s", req.GetName(), wait)
		return nil
	}
	token, err := a.joinToken(authority, res.GetCluster(), res.GetJoinToken())
	if err != nil {
		return fmt.Errorf("the spoke of cluster/%s is revoked, but the hub's answer makes no join token: %w", req.GetName(), err)
	}
	if a.output == formatJSON {
		full := proto.Clone(res).(*navev1.RejoinClusterResponse)
		full.JoinToken, err = a.tokenFor(tokenFile, token)
		return errors.Join(err, a.printJSON(full))
	}
	a.note("cluster/%s: its former spoke is revoked; %s", req.GetName(), wait)
	a.note("the join token is valid until %s and works once:", res.GetExpiresAt().AsTime().Format(time.RFC3339))
	return a.printToken(tokenFile, token)
}

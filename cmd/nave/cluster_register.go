package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

func (a *app) clusterRegisterCommand() *cobra.Command {
	var labels, taints []string
	var lifetime time.Duration
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "register NAME",
		Short: "Register a cluster and print its join token",
		Long: `Register makes a cluster known to the hub and prints the join token of its spoke, alone, on standard output.
The token is shown once, works once, and is a secret until it was used.`,
		Args: cobra.ExactArgs(1),
		RunE: a.do(func(ctx context.Context, args []string) error {
			req := &navev1.RegisterClusterRequest{
				Cluster: &navev1.Cluster{Meta: &navev1.Meta{Name: args[0]}},
				DryRun:  dryRun, RequestId: client.NewKey(),
			}
			if err := api.ValidateName("NAME", args[0]); err != nil {
				return &usageError{err}
			}
			var err error
			if req.Cluster.Meta.Labels, err = parseLabels(labels); err != nil {
				return err
			}
			if req.Cluster.Taints, err = parseTaints(taints); err != nil {
				return err
			}
			if lifetime != 0 {
				req.TokenLifetime = durationpb.New(lifetime)
			}
			return a.with(func(c *client.Client) error { return a.register(ctx, c, req) })
		}, formatText, formatJSON),
	}
	cmd.Flags().StringArrayVar(&labels, "label", nil, "label k=v; may be repeated")
	cmd.Flags().StringArrayVar(&taints, "taint", nil, "taint k=v:NoSchedule or k=v:PreferNoSchedule; may be repeated")
	cmd.Flags().DurationVar(&lifetime, "token-lifetime", 0, "how long the join token is valid, 1m to 24h (default 1h)")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "let the hub check it and register nothing")
	return cmd
}

func (a *app) register(ctx context.Context, c *client.Client, req *navev1.RegisterClusterRequest) error {
	// Asked first, because a token that cannot be pinned would be lost: it is shown once.
	if _, err := c.System.Info(ctx, &navev1.InfoRequest{}); err != nil {
		return err
	}
	authority := c.Authority()
	if authority == nil {
		return api.Errorf(api.CodeFailed, "the hub at %s does not present its authority, so a spoke could not check it: add the authority to the hub's certificate chain", a.hub.Address)
	}
	res, err := c.Clusters.Register(ctx, req)
	if err != nil {
		return err
	}
	name := res.GetCluster().GetMeta().GetName()
	if req.GetDryRun() {
		a.note("cluster/%s can be registered (dry run)", name)
		return nil
	}
	id := api.ClusterID(res.GetCluster().GetMeta().GetId())
	token := client.NewJoinToken(a.hub.Address, authority, id, res.GetJoinToken())
	if err := token.Validate(); err != nil {
		return fmt.Errorf("cluster/%s is registered, but the hub's answer makes no join token: %w", name, err)
	}
	if a.output == formatJSON {
		full := proto.Clone(res).(*navev1.RegisterClusterResponse)
		full.JoinToken = token.String()
		return a.printJSON(full)
	}
	a.note("cluster/%s registered; its join token is valid until %s and works once:", name, res.GetExpiresAt().AsTime().Format(time.RFC3339))
	_, err = fmt.Fprintln(a.out, token)
	return err
}

func parseLabels(flags []string) (map[string]string, error) {
	out := map[string]string{}
	for _, f := range flags {
		k, v, ok := strings.Cut(f, "=")
		if _, twice := out[k]; !ok || twice {
			return nil, usage("--label %q: want k=v, each key once", f)
		}
		out[k] = v
	}
	if err := api.ValidateLabels("--label", out); err != nil {
		return nil, &usageError{err}
	}
	return out, nil
}

func parseTaints(flags []string) ([]*navev1.Taint, error) {
	var out []*navev1.Taint
	var check []api.Taint
	for _, f := range flags {
		kv, effect, ok := strings.Cut(f, ":")
		k, v, _ := strings.Cut(kv, "=")
		if !ok {
			return nil, usage("--taint %q: want k=v:Effect", f)
		}
		out = append(out, &navev1.Taint{Key: k, Value: v, Effect: effect})
		check = append(check, api.Taint{Key: k, Value: v, Effect: api.Effect(effect)})
	}
	if err := api.ValidateTaints("--taint", check); err != nil {
		return nil, &usageError{err}
	}
	return out, nil
}

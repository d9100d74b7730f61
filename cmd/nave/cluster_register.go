package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
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
	var tokenFile string
	cmd := &cobra.Command{
		Use:   "register NAME",
		Short: "Register a cluster and print its join token",
		Long: `Register makes a cluster known to the hub and prints the join token of its spoke, alone, on standard output.
The token is shown once, works once, and is a secret until it was used. With --token-file it is written there instead,
readable by its owner only.`,
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
			return a.with(func(c *client.Client) error { return a.register(ctx, c, req, tokenFile) })
		}, formatText, formatJSON),
	}
	cmd.Flags().StringArrayVar(&labels, "label", nil, "label k=v; may be repeated")
	cmd.Flags().StringArrayVar(&taints, "taint", nil, "taint k=v:NoSchedule or k=v:PreferNoSchedule; may be repeated")
	cmd.Flags().DurationVar(&lifetime, "token-lifetime", 0, "how long the join token is valid, 1m to 24h (default 1h)")
	cmd.Flags().StringVar(&tokenFile, "token-file", "", "write the join token to this file")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "let the hub check it and register nothing")
	return cmd
}

func (a *app) register(ctx context.Context, c *client.Client, req *navev1.RegisterClusterRequest, tokenFile string) error {
	authority, err := a.pinnable(ctx, c)
	if err != nil {
		return err
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
	token, err := a.joinToken(authority, res.GetCluster(), res.GetJoinToken())
	if err != nil {
		return fmt.Errorf("cluster/%s is registered, but the hub's answer makes no join token: %w", name, err)
	}
	if a.output == formatJSON {
		full := proto.Clone(res).(*navev1.RegisterClusterResponse)
		full.JoinToken, err = a.tokenFor(tokenFile, token)
		return errors.Join(err, a.printJSON(full))
	}
	a.note("cluster/%s registered; its join token is valid until %s and works once:", name, res.GetExpiresAt().AsTime().Format(time.RFC3339))
	return a.printToken(tokenFile, token)
}

// pinnable returns the authority that join tokens pin. It is asked for before a token is made, because a token that cannot be
// pinned would be lost: it is shown once.
func (a *app) pinnable(ctx context.Context, c *client.Client) (*x509.Certificate, error) {
	if _, err := c.System.Info(ctx, &navev1.InfoRequest{}); err != nil {
		return nil, err
	}
	authority := c.Authority()
	if authority == nil {
		return nil, api.Errorf(api.CodeFailed, "the hub at %s does not present its authority, so a spoke could not check it: add the authority to the hub's certificate chain", a.hub.Address)
	}
	return authority, nil
}

func (a *app) joinToken(authority *x509.Certificate, c *navev1.Cluster, secret string) (string, error) {
	token := client.NewJoinToken(a.hub.Address, authority, api.ClusterID(c.GetMeta().GetId()), secret)
	return token.String(), token.Validate()
}

// printToken prints a join token alone, or writes it to a file.
func (a *app) printToken(file, token string) error {
	shown, err := a.tokenFor(file, token)
	if err != nil || shown == "" {
		return err
	}
	_, err = fmt.Fprintln(a.out, shown)
	return err
}

// tokenFor writes a join token to its file and returns "", or returns it when there is no file. What cannot be written is
// returned too: it is shown once.
func (a *app) tokenFor(file, token string) (string, error) {
	if file == "" {
		return token, nil
	}
	if err := renameio.WriteFile(file, []byte(token+"\n"), 0o600, renameio.WithTempDir(filepath.Dir(file)), renameio.WithStaticPermissions(0o600)); err != nil {
		var at *fs.PathError
		if errors.As(err, &at) {
			err = at.Err // the path is that of the library's own neighbour
		}
		a.note("the join token could not be written to %s, so it is shown here: %v", file, err)
		return token, nil
	}
	a.note("the join token is in %s", file)
	return "", nil
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

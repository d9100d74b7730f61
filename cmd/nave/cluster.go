package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

func (a *app) clustersCommand() *cobra.Command {
	var selector string
	var watch bool
	list := func(ctx context.Context, _ []string) error {
		return a.show(ctx, watch, func(ctx context.Context, c *client.Client) (*listing, error) {
			all, err := allClusters(ctx, c, selector)
			return a.clusterList(all), err
		})
	}
	cmd := &cobra.Command{
		Use: "clusters", Aliases: []string{"cluster"}, Short: "Register, show, cordon, rejoin and remove clusters",
		Args: cobra.NoArgs, RunE: a.do(list, formatTable, formatJSON, formatName),
		Example: `  nave clusters --watch
  nave clusters register east --label region=eu
  nave clusters cordon east`,
	}
	selectorFlag(cmd, &selector)
	watchFlag(cmd, &watch)
	sub := &cobra.Command{Use: "list", Short: "List clusters", Args: cobra.NoArgs, RunE: a.do(list, formatTable, formatJSON, formatName)}
	selectorFlag(sub, &selector)
	watchFlag(sub, &watch)
	cmd.AddCommand(sub, a.clusterGetCommand(), a.clusterRegisterCommand(),
		a.cordonCommand("cordon", "Give a cluster no new sessions", true),
		a.cordonCommand("uncordon", "Let a cluster have new sessions again", false),
		a.clusterRejoinCommand(), a.clusterDeleteCommand())
	return cmd
}

func allClusters(ctx context.Context, c *client.Client, selector string) ([]*navev1.Cluster, error) {
	return client.Collect(ctx, func(ctx context.Context, token string) ([]*navev1.Cluster, string, error) {
		res, err := c.Clusters.List(ctx, &navev1.ListRequest{Selector: selector, PageSize: pageSize, PageToken: token})
		return res.GetClusters(), res.GetNextPageToken(), err
	})
}

func (a *app) clusterList(all []*navev1.Cluster) *listing {
	l := &listing{none: "no clusters", header: []string{"NAME", "HEALTH", "SCHEDULING", "SESSIONS", "FLAVORS", "HEARD", "VERSION", "LABELS", "TAINTS"},
		moving: []string{"HEARD"}, page: &navev1.ListClustersResponse{Clusters: all}}
	for _, cl := range all {
		s := cl.GetStatus()
		scheduling := "open"
		if cl.GetCordoned() {
			scheduling = "cordoned"
		}
		var flavors, taints []string
		for _, f := range s.GetFlavors() {
			flavors = append(flavors, fmt.Sprintf("%s %d/%d", f.GetFlavor(), f.GetUsed(), f.GetTotal()))
		}
		for _, x := range cl.GetTaints() {
			taints = append(taints, fmt.Sprintf("%s=%s:%s", x.GetKey(), x.GetValue(), x.GetEffect()))
		}
		name := cl.GetMeta().GetName()
		l.items = append(l.items, item{key: name, name: "cluster/" + name, message: cl,
			cells: []string{name, s.GetHealth(), scheduling, fmt.Sprint(s.GetSessions()), strings.Join(flavors, ", "),
				a.age(s.GetHeardAt()), s.GetVersion(), labels(cl.GetMeta().GetLabels()), strings.Join(taints, ",")}})
	}
	return l
}

func (a *app) clusterGetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "get NAME", Short: "Show one cluster", Args: cobra.ExactArgs(1),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.with(func(c *client.Client) error {
				cl, err := c.Clusters.Get(ctx, &navev1.GetRequest{Name: args[0]})
				if err != nil {
					return err
				}
				if a.output == formatJSON {
					return a.printJSON(cl)
				}
				return a.print(a.clusterList([]*navev1.Cluster{cl}))
			})
		}, formatTable, formatJSON),
	}
}

// cordonCommand changes one field of what was read, and reads again when somebody else was faster.
func (a *app) cordonCommand(use, short string, cordoned bool) *cobra.Command {
	return &cobra.Command{
		Use: use + " NAME", Short: short, Args: cobra.ExactArgs(1),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.with(func(c *client.Client) error {
				res, err := setCordoned(ctx, c, args[0], cordoned)
				if err != nil {
					return err
				}
				if a.output == formatJSON {
					return a.printJSON(res)
				}
				word := use + "ed"
				if res.GetOutcome() == navev1.Outcome_OUTCOME_UNCHANGED {
					word = "unchanged"
				}
				_, err = fmt.Fprintln(a.out, "cluster/"+args[0], word)
				return err
			})
		}, formatText, formatJSON),
	}
}

func setCordoned(ctx context.Context, c *client.Client, name string, cordoned bool) (res *navev1.UpdateClusterResponse, err error) {
	for range 5 {
		cl, err := c.Clusters.Get(ctx, &navev1.GetRequest{Name: name})
		if err != nil {
			return nil, err
		}
		if cl.GetCordoned() == cordoned {
			return &navev1.UpdateClusterResponse{Cluster: cl, Outcome: navev1.Outcome_OUTCOME_UNCHANGED}, nil
		}
		cl.Cordoned = cordoned
		cl.Status = nil
		res, err = c.Clusters.Update(ctx, &navev1.UpdateClusterRequest{Cluster: cl})
		if api.CodeOf(err) != api.CodeConflict {
			return res, err
		}
	}
	return nil, api.Errorf(api.CodeConflict, "cluster %q changed five times meanwhile", name)
}

func (a *app) clusterDeleteCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Remove a cluster; refused while it has sessions", Args: cobra.ExactArgs(1),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.with(func(c *client.Client) error {
				res, err := c.Clusters.Delete(ctx, &navev1.DeleteRequest{Name: args[0], DryRun: dryRun})
				if err != nil {
					return err
				}
				return a.printDeleted("cluster/"+args[0], res, dryRun)
			})
		}, formatText, formatJSON),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "let the hub check it and remove nothing")
	return cmd
}

package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

// pageSize is how much one call of a list fetches.
const pageSize = 500

func (a *app) getCommand() *cobra.Command {
	var selector string
	cmd := &cobra.Command{
		Use:   "get environments|agents|policies|grants [NAME]",
		Short: "Show definitions",
		Long:  "Get shows definitions, all of a kind or one. What -o yaml prints can be fed to nave apply.",
		Example: `  nave get agents -l team=core
  nave get agent auditor -o yaml`,
		Args: cobra.RangeArgs(1, 2),
		RunE: a.do(func(ctx context.Context, args []string) error {
			k, err := kindNamed(args[0])
			if err != nil {
				return err
			}
			if len(args) == 2 && selector != "" {
				return usage("give a name or a selector, not both")
			}
			return a.with(func(c *client.Client) error {
				if len(args) == 2 {
					return a.getOne(ctx, c, k, args[1])
				}
				return a.getAll(ctx, c, k, selector)
			})
		}, formatTable, formatJSON, formatYAML, formatName),
	}
	selectorFlag(cmd, &selector)
	return cmd
}

func selectorFlag(cmd *cobra.Command, selector *string) {
	cmd.Flags().StringVarP(selector, "selector", "l", "", `labels that are wanted, e.g. "team=core,tier in (a,b),!old"`)
}

func (a *app) getOne(ctx context.Context, c *client.Client, k *kind, name string) error {
	n, err := k.get(ctx, c, &navev1.GetRequest{Name: name})
	if err != nil {
		return err
	}
	if a.output == formatJSON {
		return a.printJSON(n)
	}
	return a.showNouns(k, []noun{n})
}

func (a *app) getAll(ctx context.Context, c *client.Client, k *kind, selector string) error {
	all, err := k.all(ctx, c, selector)
	if err != nil {
		return err
	}
	if a.output == formatJSON {
		return a.printJSON(k.page(all))
	}
	if len(all) == 0 {
		a.note("no %s", k.plural())
		return nil
	}
	return a.showNouns(k, all)
}

func (a *app) showNouns(k *kind, ns []noun) error {
	switch a.output {
	case formatYAML:
		return documentWrite(a.out, ns, true)
	case formatName:
		for _, n := range ns {
			fmt.Fprintln(a.out, k.singular()+"/"+clean(n.GetMeta().GetName(), false))
		}
		return nil
	}
	t := a.table(append(append([]string{"NAME", "REVISION"}, k.header...), "LABELS", "AGE")...)
	for _, n := range ns {
		m := n.GetMeta()
		cells := append([]string{m.GetName(), strconv.FormatUint(m.GetRevision(), 10)}, k.cells(n)...)
		t.row(append(cells, labels(m.GetLabels()), a.age(m.GetUpdatedAt()))...)
	}
	t.print(a.out)
	return nil
}

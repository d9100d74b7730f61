package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

func (a *app) deleteCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "delete environment|agent|policy|grant NAME",
		Short: "Delete a definition",
		Args:  cobra.ExactArgs(2),
		RunE: a.do(func(ctx context.Context, args []string) error {
			k, err := kindNamed(args[0])
			if err != nil {
				return err
			}
			return a.with(func(c *client.Client) error {
				res, err := k.delete(ctx, c, &navev1.DeleteRequest{Name: args[1], DryRun: dryRun})
				if err != nil {
					return err
				}
				return a.printDeleted(k.singular()+"/"+args[1], res, dryRun)
			})
		}, formatText, formatJSON),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "let the hub check it and delete nothing")
	return cmd
}

func (a *app) printDeleted(what string, res *navev1.DeleteResponse, dryRun bool) error {
	if a.output == formatJSON {
		return a.printJSON(res)
	}
	word := outcomeWord(res.GetOutcome())
	if dryRun {
		word += " (dry run)"
	}
	_, err := fmt.Fprintln(a.out, clean(what, false), word)
	return err
}

package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

// diffFlags are the flags of the diff command.
type diffFlags struct {
	files    []string
	from, to uint64
}

func (a *app) diffCommand() *cobra.Command {
	var f diffFlags
	cmd := &cobra.Command{
		Use: "diff KIND NAME [--from N] [--to M] | -f FILE|DIR|-", Short: "Show how revisions, or files and the hub, differ",
		Long: `Diff shows how two revisions of a definition differ: --from is by default the one before --to, and --to the present
one. With -f it shows what nave apply would change: the hub's definitions against those of the files.

The exit code is 0 without differences and 1 with some. What ends other commands with 1 ends this one with 2.`,
		Example: `  nave diff agent auditor
  nave diff agent auditor --from 2 --to 5
  nave diff -f agents/`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(f.files) > 0 {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(2)(cmd, args)
		},
		RunE: a.do(func(ctx context.Context, args []string) error {
			err := a.diff(ctx, args, f)
			if err != nil && exitOf(err) == exitFailure {
				if _, differ := err.(*silent); !differ {
					return &usageError{&advice{err, a.remedy(err)}}
				}
			}
			return err
		}, formatText),
	}
	fs := cmd.Flags()
	fs.StringArrayVarP(&f.files, "filename", "f", nil, "file, folder, or - for standard input; may be repeated")
	fs.Uint64Var(&f.from, "from", 0, "revision to begin from (default: the one before --to)")
	fs.Uint64Var(&f.to, "to", 0, "revision to end with (default: the present one)")
	return cmd
}

func (a *app) diff(ctx context.Context, args []string, f diffFlags) error {
	if len(f.files) > 0 {
		if f.from > 0 || f.to > 0 {
			return usage("-f compares with the present revisions: leave --from and --to out")
		}
		docs, err := a.documents(f.files)
		if err != nil {
			return err
		}
		return a.with(func(c *client.Client) error { return a.diffFiles(ctx, c, docs) })
	}
	k, err := kindNamed(args[0])
	if err != nil {
		return err
	}
	return a.with(func(c *client.Client) error { return a.diffRevisions(ctx, c, k, args[1], f) })
}

func (a *app) diffRevisions(ctx context.Context, c *client.Client, k *kind, name string, f diffFlags) error {
	now, err := revision(ctx, c, k, name, f.to)
	if err != nil {
		return err
	}
	number := now.GetMeta().GetRevision()
	if f.from == 0 {
		f.from = number - min(number, 1)
	}
	var old noun
	if f.from > 0 {
		if old, err = revision(ctx, c, k, name, f.from); err != nil {
			return err
		}
	}
	text, err := compare(k, old, now, fmt.Sprintf("revision %d", f.from), fmt.Sprintf("revision %d", number))
	if err != nil || text == "" {
		return err
	}
	a.printDiff(text)
	return &silent{exitFailure}
}

// diffFiles compares what files define with what the hub has.
func (a *app) diffFiles(ctx context.Context, c *client.Client, docs []document) error {
	differ := false
	for _, d := range docs {
		present, err := d.kind.get(ctx, c, &navev1.GetRequest{Organization: d.noun.GetMeta().GetOrganization(), Name: d.noun.GetMeta().GetName()})
		switch {
		case api.CodeOf(err) == api.CodeNotFound:
			present = nil
		case err != nil:
			return located(d, err)
		}
		local := d.noun
		if present != nil && local.GetMeta().GetOrganization() == "" { // the context's, which the hub wrote out
			meta := metaOf(local.GetMeta())
			meta.Organization = present.GetMeta().GetOrganization()
			local = d.kind.withMeta(local, meta)
		}
		from := "not at the hub"
		if present != nil {
			from = fmt.Sprintf("revision %d", present.GetMeta().GetRevision())
		}
		text, err := compare(d.kind, present, local, from, clean(d.source, false))
		if err != nil {
			return err
		}
		if text != "" {
			differ = true
			a.printDiff(text)
		}
	}
	if differ {
		return &silent{exitFailure}
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

func (a *app) historyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "history KIND NAME", Short: "Show the revisions of a definition", Args: cobra.ExactArgs(2),
		Long: `History shows the revisions of a definition, the latest first: when each was made, by whom, and which fields it
changed.`,
		Example: "  nave history agent auditor",
		RunE: a.do(func(ctx context.Context, args []string) error {
			k, err := kindNamed(args[0])
			if err != nil {
				return err
			}
			return a.show(ctx, false, func(ctx context.Context, c *client.Client) (*listing, error) {
				all, err := revisions(ctx, c, k, args[1])
				return a.history(k, all), err
			})
		}, formatTable, formatJSON),
	}
}

// revisions reads all revisions of a definition, the latest first.
func revisions(ctx context.Context, c *client.Client, k *kind, name string) ([]noun, error) {
	return client.Collect(ctx, func(ctx context.Context, token string) ([]noun, string, error) {
		return k.revisions(ctx, c, &navev1.ListRevisionsRequest{Name: name, PageSize: pageSize, PageToken: token})
	})
}

func (a *app) history(k *kind, all []noun) *listing {
	l := &listing{none: "no revisions", header: []string{"REVISION", "MADE", "AGE", "BY", "CHANGED"}, page: k.page(all)}
	for i, n := range all {
		what := "the first revision"
		switch {
		case i+1 < len(all):
			what = few(changes(all[i+1], n))
		case n.GetMeta().GetRevision() > 1:
			what = "the earlier revisions are not kept"
		}
		m := n.GetMeta()
		number := strconv.FormatUint(m.GetRevision(), 10)
		l.items = append(l.items, item{key: number, name: number, message: n,
			cells: []string{number, stamp(m.GetUpdatedAt()), a.age(m.GetUpdatedAt()), m.GetUpdatedBy(), what}})
	}
	return l
}

// maxPaths is how many changed fields a row names.
const maxPaths = 4

func few(paths []string) string {
	if len(paths) == 0 {
		return "nothing"
	}
	if n := len(paths) - maxPaths; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(paths[:maxPaths], ", "), n)
	}
	return strings.Join(paths, ", ")
}

func (a *app) rollbackCommand() *cobra.Command {
	var to uint64
	var dryRun bool
	cmd := &cobra.Command{
		Use: "rollback KIND NAME --to N", Short: "Make a former revision of a definition the present one", Args: cobra.ExactArgs(2),
		Long: `Rollback writes what a former revision said as a new revision, and prints the difference. It fails when somebody
changes the definition meanwhile. Sessions take the new revision with their next epoch.`,
		Example: `  nave rollback agent auditor --to 3 --dry-run
  nave rollback agent auditor --to 3`,
		RunE: a.do(func(ctx context.Context, args []string) error {
			k, err := kindNamed(args[0])
			if err != nil {
				return err
			}
			if to == 0 {
				return usage("say which revision: --to N; nave history %s %s shows them", k.singular(), args[1])
			}
			return a.with(func(c *client.Client) error { return a.rollback(ctx, c, k, args[1], to, dryRun) })
		}, formatText, formatJSON),
	}
	cmd.Flags().Uint64Var(&to, "to", 0, "number of the revision that is wanted back")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show the difference, let the hub check it, and change nothing")
	return cmd
}

func (a *app) rollback(ctx context.Context, c *client.Client, k *kind, name string, to uint64, dryRun bool) error {
	present, err := k.get(ctx, c, &navev1.GetRequest{Name: name})
	if err != nil {
		return err
	}
	former, err := revision(ctx, c, k, name, to)
	if err != nil {
		return err
	}
	if a.output == formatText {
		difference, err := compare(k, present, former, fmt.Sprintf("revision %d", present.GetMeta().GetRevision()), fmt.Sprintf("revision %d", to))
		if err != nil {
			return err
		}
		a.printDiff(difference)
	}
	meta := metaOf(former.GetMeta())
	meta.Etag = present.GetMeta().GetEtag()
	n := k.withMeta(former, meta)
	made, outcome, err := k.put(ctx, c, n, dryRun)
	if api.CodeOf(err) == api.CodeConflict {
		// An answer that was lost on its way looks so too: then the definition is as it was to be.
		now, again := k.get(ctx, c, &navev1.GetRequest{Name: name})
		if again != nil || len(changes(now, former)) > 0 {
			return &advice{err, fmt.Sprintf("look at nave history %s %s, then repeat", k.singular(), name)}
		}
		made, outcome, err = now, navev1.Outcome_OUTCOME_UPDATED, nil
	}
	if err != nil {
		return err
	}
	d := document{kind: k, noun: n}
	if outcome == navev1.Outcome_OUTCOME_UPDATED && !dryRun && made != nil && a.output == formatText {
		a.say("%s rolled back to revision %d: revision %d", d.name(), to, made.GetMeta().GetRevision())
		return a.out.err
	}
	return a.printOutcome(d, outcomeWord(outcome), dryRun)
}

// revision reads one revision.
func revision(ctx context.Context, c *client.Client, k *kind, name string, number uint64) (noun, error) {
	n, err := k.get(ctx, c, &navev1.GetRequest{Name: name, Revision: number})
	if err == nil && number > 0 && n.GetMeta().GetRevision() != number {
		return nil, &api.Error{Code: api.CodeInternal, Field: "revision", Err: errors.New("the hub answered another revision than was asked for")}
	}
	if api.CodeOf(err) == api.CodeNotFound && number > 0 {
		return nil, &advice{err, fmt.Sprintf("nave history %s %s shows the revisions that there are", k.singular(), name)}
	}
	return n, err
}

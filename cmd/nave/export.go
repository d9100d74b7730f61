package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

func (a *app) exportCommand() *cobra.Command {
	var dir, selector string
	cmd := &cobra.Command{
		Use: "export [KIND [NAME]]", Short: "Write definitions as documents that apply takes", Args: cobra.MaximumNArgs(2),
		Long: `Export writes definitions as YAML documents, in the order in which apply takes them, and without what the hub sets:
nave apply of them says "unchanged". Secrets are not in definitions, so none are written. With --dir each document is a
file KIND-NAME.yaml; a file that is there is replaced, others stay.`,
		Example: `  nave export > all.yaml
  nave export agents --dir definitions/
  nave export --context old | nave apply --context new -f -`,
		RunE: a.do(func(ctx context.Context, args []string) error {
			ks := kinds
			if len(args) > 0 {
				k, err := kindNamed(args[0])
				if err != nil {
					return err
				}
				ks = []*kind{k}
			}
			if len(args) == 2 && selector != "" {
				return usage("give a name or a selector, not both")
			}
			return a.with(func(c *client.Client) error {
				ns, err := definitions(ctx, c, ks, args, selector)
				if err != nil {
					return err
				}
				if len(ns) == 0 {
					a.note("no definitions")
					return nil
				}
				if dir != "" {
					return a.exportFiles(dir, ns)
				}
				return documentWrite(a.out, ns, false)
			})
		}, formatYAML),
	}
	selectorFlag(cmd, &selector)
	cmd.Flags().StringVar(&dir, "dir", "", "folder to write a file for each document into; it is made when it is not there")
	return cmd
}

// definitions reads what an export is to hold, in the order of application.
func definitions(ctx context.Context, c *client.Client, ks []*kind, args []string, selector string) ([]noun, error) {
	if len(args) == 2 {
		n, err := ks[0].get(ctx, c, &navev1.GetRequest{Name: args[1]})
		return []noun{n}, err
	}
	var all []noun
	for _, k := range ks {
		ns, err := k.all(ctx, c, selector)
		if err != nil {
			return nil, err
		}
		all = append(all, ns...)
	}
	return all, nil
}

// all reads every definition of a kind.
func (k *kind) all(ctx context.Context, c *client.Client, selector string) ([]noun, error) {
	return client.Collect(ctx, func(ctx context.Context, token string) ([]noun, string, error) {
		return k.list(ctx, c, &navev1.ListRequest{Selector: selector, PageSize: pageSize, PageToken: token})
	})
}

// exportFiles writes a file for each definition, each as a whole or not at all.
func (a *app) exportFiles(dir string, ns []noun) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write definitions: %w", err)
	}
	for _, n := range ns {
		name := n.GetMeta().GetName()
		if err := api.ValidateName("metadata.name", name); err != nil { // it becomes the name of a file
			return err
		}
		var text bytes.Buffer
		if err := documentWrite(&text, []noun{n}, false); err != nil {
			return err
		}
		path := filepath.Join(dir, kindOf(n).singular()+"-"+name+".yaml")
		if err := renameio.WriteFile(path, text.Bytes(), 0o644); err != nil {
			return fmt.Errorf("write definitions: %w", err)
		}
		a.note("%s", path)
	}
	return nil
}

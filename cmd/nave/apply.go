package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

func (a *app) applyCommand() *cobra.Command {
	var files []string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE|DIR|-",
		Short: "Create or update what YAML documents define",
		Long: `Apply creates or updates what YAML documents define. Several documents may stand in one file; of a folder
every .yaml, .yml and .json file in it is read, by name, without the folders below.

A document has the fields apiVersion (nave.dev/v1), kind (Environment, PlacementPolicy, Agent, Grant), metadata (name,
organization, labels) and spec. All are read and checked before the first is sent. They are applied in the order
of their kinds; after a failure nothing further is applied.`,
		Example: `  nave apply -f agents/ --dry-run
  nave apply -f agents/
  nave get agent auditor -o yaml | nave apply -f -`,
		Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error { return a.apply(ctx, files, dryRun) }, formatText, formatJSON, formatName),
	}
	cmd.Flags().StringArrayVarP(&files, "filename", "f", nil, "file, folder, or - for standard input; may be repeated")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "let the hub check everything and change nothing")
	return cmd
}

func (a *app) apply(ctx context.Context, files []string, dryRun bool) error {
	if len(files) == 0 {
		return usage("nothing to apply: give -f FILE")
	}
	docs, err := a.documents(files)
	if err != nil {
		return err
	}
	if len(docs) == 0 {
		return usage("no document in %q: give files that hold definitions", files)
	}
	slices.SortStableFunc(docs, func(x, y document) int { return cmp.Compare(x.kind.rank(), y.kind.rank()) })
	return a.with(func(c *client.Client) error {
		planned := map[string]bool{} // what this dry run would create
		for i, d := range docs {
			_, outcome, err := d.kind.put(ctx, c, d.noun, dryRun)
			if missing := absent(d, err, planned); missing != "" {
				if err := a.printOutcome(d, "unchecked", dryRun); err != nil {
					return err
				}
				a.note("%s refers to %s, which this run would create: the hub could not check it", d.name(), missing)
				continue
			}
			planned[d.name()] = dryRun && outcome == navev1.Outcome_OUTCOME_CREATED
			if err != nil {
				if !dryRun {
					a.note("%d of %d applied; %s and what follows was not", i, len(docs), d.name())
				}
				return located(d, err)
			}
			if err := a.printOutcome(d, outcomeWord(outcome), dryRun); err != nil {
				return err
			}
		}
		return nil
	})
}

// absent returns what a document refers to when a dry run refused it for the lack of something that the same run would
// create. Otherwise it returns "".
func absent(d document, err error, planned map[string]bool) string {
	s := d.noun.ProtoReflect().Get(spec(d.noun)).Message()
	for _, ref := range d.kind.refs {
		m, path := s, strings.Split(ref.field, ".")
		for _, part := range path[:len(path)-1] {
			m = m.Get(m.Descriptor().Fields().ByName(protoName(part))).Message()
		}
		name := ref.kind.singular() + "/" + m.Get(m.Descriptor().Fields().ByName(protoName(path[len(path)-1]))).String()
		if api.FieldOf(err) == "spec."+ref.field && planned[name] {
			return name
		}
	}
	return ""
}

// located adds to a hub's answer which document it is about.
func located(d document, err error) error {
	var e *api.Error
	if !errors.As(err, &e) {
		return err
	}
	return &api.Error{Code: e.Code, Op: d.where() + ": " + d.name(), Field: e.Field, Err: e.Err}
}

func (a *app) printOutcome(d document, outcome string, dryRun bool) error {
	name := clean(d.name(), false)
	switch {
	case a.output == formatJSON:
		raw, err := json.Marshal(struct {
			Kind         string `json:"kind"`
			Organization string `json:"organization,omitempty"`
			Name         string `json:"name"`
			Outcome      string `json:"outcome"`
			DryRun       bool   `json:"dry_run,omitempty"`
		}{string(d.kind.name), d.noun.GetMeta().GetOrganization(), d.noun.GetMeta().GetName(), outcome, dryRun})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.out, "%s\n", escapeJSON(raw))
		return err
	case a.output == formatName:
		_, err := fmt.Fprintln(a.out, name)
		return err
	case dryRun:
		outcome += " (dry run)"
	}
	_, err := fmt.Fprintln(a.out, name, outcome)
	return err
}

// documents reads every source in the order given and refuses a definition that is there twice.
func (a *app) documents(files []string) ([]document, error) {
	var docs []document
	for _, f := range files {
		more, err := a.source(f)
		if err != nil {
			return nil, err
		}
		docs = append(docs, more...)
	}
	type key struct {
		kind *kind
		org  string
		name string
	}
	seen := map[key]document{}
	for _, d := range docs {
		k := key{d.kind, d.noun.GetMeta().GetOrganization(), d.noun.GetMeta().GetName()}
		if first, twice := seen[k]; twice {
			return nil, &api.Error{Code: api.CodeInvalid, Op: d.where(), Field: "metadata.name", Err: fmt.Errorf("%s is defined already in %s: remove one", d.name(), first.where())}
		}
		seen[k] = d
	}
	return docs, nil
}

func (a *app) source(path string) ([]document, error) {
	if path == "-" {
		return readDocuments("standard input", a.in)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read definitions: %w", err)
	}
	if !info.IsDir() {
		return readFile(path)
	}
	entries, err := os.ReadDir(path) // by name
	if err != nil {
		return nil, fmt.Errorf("read definitions: %w", err)
	}
	var docs []document
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); e.IsDir() || ext != ".yaml" && ext != ".yml" && ext != ".json" {
			continue
		}
		more, err := readFile(filepath.Join(path, e.Name()))
		if err != nil {
			return nil, err
		}
		docs = append(docs, more...)
	}
	return docs, nil
}

func readFile(path string) ([]document, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read definitions: %w", err)
	}
	defer f.Close()
	return readDocuments(path, f)
}

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/client"
)

// maxSecretFile bounds a token or certificate file.
const maxSecretFile = 256 << 10 // bytes

func (a *app) contextCommand() *cobra.Command {
	list := a.do(func(context.Context, []string) error { return a.listContexts() }, formatTable, formatJSON, formatName)
	cmd := &cobra.Command{
		Use: "context", Aliases: []string{"contexts"}, Short: "Choose the hub to work with", Args: cobra.NoArgs, RunE: list,
		Example: `  nave context add work --address https://hub.example.org:8443 --ca-file ca.pem --token-file token
  nave context use work
  nave sessions --context work`,
		Long: `A context names a hub: its address, its authority, a token and an organization. Contexts are kept in $NAVE_CONFIG,
else in nave/config.yaml below $XDG_CONFIG_HOME or ~/.config. The file holds tokens: it has to be readable by its
owner alone.`,
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "List contexts", Args: cobra.NoArgs, RunE: list},
		&cobra.Command{
			Use: "use NAME", Short: "Make a context the current one", Args: cobra.ExactArgs(1),
			RunE: a.do(func(_ context.Context, args []string) error {
				return a.changeContexts(func(cs *client.Contexts) error {
					c, err := cs.Find(args[0])
					cs.Current = c.Name
					return err
				}, "context %q is the current one", args[0])
			}),
		},
		&cobra.Command{
			Use: "show [NAME]", Short: "Show a context, without its token", Args: cobra.MaximumNArgs(1),
			RunE: a.do(func(_ context.Context, args []string) error {
				return a.showContext(strings.Join(args, ""))
			}, formatText, formatJSON),
		},
		&cobra.Command{
			Use: "delete NAME", Short: "Forget a context", Args: cobra.ExactArgs(1),
			RunE: a.do(func(_ context.Context, args []string) error {
				return a.changeContexts(func(cs *client.Contexts) error { return forget(cs, args[0]) }, "context %q is forgotten", args[0])
			}),
		},
		&cobra.Command{
			Use: "rename OLD NEW", Short: "Give a context another name", Args: cobra.ExactArgs(2),
			RunE: a.do(func(_ context.Context, args []string) error {
				return a.changeContexts(func(cs *client.Contexts) error { return renameContext(cs, args[0], args[1]) }, "context %q is now %q", args[0], args[1])
			}),
		},
		a.contextSetCommand("set NAME", "Add a context, or change what the flags name", false),
		a.contextSetCommand("add NAME", "Add a context", true),
	)
	return cmd
}

// changeContexts reads, changes and writes the file.
func (a *app) changeContexts(change func(*client.Contexts) error, said string, args ...any) error {
	cs, path, err := a.contexts()
	if err != nil {
		return err
	}
	if err := change(cs); err != nil {
		return err
	}
	if err := cs.Save(path); err != nil {
		return err
	}
	a.note(said, args...)
	return nil
}

func forget(cs *client.Contexts, name string) error {
	if _, err := cs.Find(name); err != nil {
		return err
	}
	var kept []client.Context
	for _, c := range cs.Contexts {
		if c.Name != name {
			kept = append(kept, c)
		}
	}
	cs.Contexts = kept
	if cs.Current == name {
		cs.Current = ""
	}
	return nil
}

func renameContext(cs *client.Contexts, from, to string) error {
	if _, err := cs.Find(from); err != nil {
		return err
	}
	if err := absentContext(cs, to); err != nil {
		return err
	}
	for i := range cs.Contexts {
		if cs.Contexts[i].Name == from {
			cs.Contexts[i].Name = to
		}
	}
	if cs.Current == from {
		cs.Current = to
	}
	return nil
}

func absentContext(cs *client.Contexts, name string) error {
	if slices.ContainsFunc(cs.Contexts, func(c client.Context) bool { return c.Name == name }) {
		return api.Errorf(api.CodeExists, "there is a context %q: choose another name, or change it with nave context set", name)
	}
	return nil
}

func (a *app) contextSetCommand(use, short string, add bool) *cobra.Command {
	var address, caFile, tokenFile string
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: a.do(func(_ context.Context, args []string) error {
			return a.changeContexts(func(cs *client.Contexts) error {
				if add {
					if err := absentContext(cs, args[0]); err != nil {
						return err
					}
				}
				return a.setContext(cs, args[0], address, caFile, tokenFile)
			}, "context %q is set", args[0])
		}),
	}
	f := cmd.Flags()
	f.StringVar(&address, "address", "", "address of the hub, https://host:port")
	f.StringVar(&caFile, "ca-file", "", "file with the hub's authority (PEM), or - for standard input")
	f.StringVar(&tokenFile, "token-file", "", "file with the token, or - for standard input")
	return cmd
}

func (a *app) setContext(cs *client.Contexts, name, address, caFile, tokenFile string) error {
	if caFile == "-" && tokenFile == "-" {
		return usage("standard input can be the authority or the token, not both")
	}
	c := client.Context{Name: name}
	for _, old := range cs.Contexts {
		if old.Name == name {
			c = old
		}
	}
	if address != "" {
		c.Address = address
	}
	if a.organization != "" {
		c.Organization = a.organization
	}
	var err error
	if caFile != "" {
		if c.CA, err = a.secretFile(caFile); err != nil {
			return err
		}
	}
	if tokenFile != "" {
		if c.Token, err = a.secretFile(tokenFile); err != nil {
			return err
		}
		c.Token = strings.TrimSpace(c.Token)
	}
	// Making a client checks every field.
	probe, err := client.New(c.Config())
	if err != nil {
		return err
	}
	probe.Close()
	cs.Put(c)
	return nil
}

func (a *app) secretFile(path string) (string, error) {
	in := a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxSecretFile+1))
	if err == nil && len(text) > maxSecretFile {
		err = fmt.Errorf("%s is larger than %d bytes: it is not what was asked for", path, maxSecretFile)
	}
	return string(text), err
}

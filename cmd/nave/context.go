package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nave-dev/nave/hub/client"
)

// maxSecretFile bounds a token or certificate file.
const maxSecretFile = 256 << 10 // bytes

func (a *app) contextCommand() *cobra.Command {
	list := a.do(func(context.Context, []string) error { return a.listContexts() }, formatTable, formatName)
	cmd := &cobra.Command{
		Use: "context", Aliases: []string{"contexts"}, Short: "Choose the hub to work with", Args: cobra.NoArgs, RunE: list,
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
			}),
		},
		&cobra.Command{
			Use: "delete NAME", Short: "Forget a context", Args: cobra.ExactArgs(1),
			RunE: a.do(func(_ context.Context, args []string) error {
				return a.changeContexts(func(cs *client.Contexts) error { return forget(cs, args[0]) }, "context %q is forgotten", args[0])
			}),
		},
		a.contextSetCommand(),
	)
	return cmd
}

func (a *app) listContexts() error {
	cs, path, err := a.contexts()
	if err != nil {
		return err
	}
	if len(cs.Contexts) == 0 {
		a.note("no contexts in %s", path)
		return nil
	}
	t := a.table("CURRENT", "NAME", "ADDRESS", "ORGANIZATION")
	for _, c := range cs.Contexts {
		if a.output == formatName {
			fmt.Fprintln(a.out, clean(c.Name, false))
			continue
		}
		current := ""
		if c.Name == cs.Current {
			current = "*"
		}
		t.row(current, c.Name, c.Address, c.Organization)
	}
	if a.output != formatName {
		t.print(a.out)
	}
	return nil
}

func (a *app) showContext(name string) error {
	cs, path, err := a.contexts()
	if err != nil {
		return err
	}
	c, err := cs.Find(cmp.Or(name, a.chosen()))
	if err != nil {
		return err
	}
	given := func(s, yes, no string) string {
		if s != "" {
			return yes
		}
		return no
	}
	for _, l := range [][2]string{
		{"name", c.Name}, {"address", c.Address}, {"authority", given(c.CA, "its own", "those of the system")},
		{"token", given(c.Token, "set", "none")}, {"organization", given(c.Organization, c.Organization, "the hub's default")}, {"file", path},
	} {
		fmt.Fprintf(a.out, "%-13s %s\n", l[0]+":", clean(l[1], false))
	}
	return nil
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

func (a *app) contextSetCommand() *cobra.Command {
	var address, caFile, tokenFile string
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Add a context, or change what the flags name", Args: cobra.ExactArgs(1),
		RunE: a.do(func(_ context.Context, args []string) error {
			return a.changeContexts(func(cs *client.Contexts) error {
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

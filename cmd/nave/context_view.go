package main

import (
	"cmp"
	"fmt"

	"github.com/nave-dev/nave/hub/client"
)

// contextView is what is told of a context: never its token.
type contextView struct {
	Name         string `json:"name"`
	Address      string `json:"address"`
	Organization string `json:"organization,omitempty"` // empty: the hub's default
	Current      bool   `json:"current"`
	Authority    bool   `json:"authority"` // it has one of its own
	Token        bool   `json:"token"`     // it has one
}

func viewOf(cs *client.Contexts, c client.Context) contextView {
	return contextView{c.Name, c.Address, c.Organization, c.Name == cs.Current, c.CA != "", c.Token != ""}
}

func (a *app) listContexts() error {
	cs, path, err := a.contexts()
	if err != nil {
		return err
	}
	if a.output == formatJSON {
		views := []contextView{}
		for _, c := range cs.Contexts {
			views = append(views, viewOf(cs, c))
		}
		return a.printPlain(map[string]any{"contexts": views})
	}
	l := &listing{none: "no contexts in " + path, header: []string{"CURRENT", "NAME", "ADDRESS", "ORGANIZATION"}}
	for _, c := range cs.Contexts {
		current := ""
		if c.Name == cs.Current {
			current = "*"
		}
		l.items = append(l.items, item{key: c.Name, name: c.Name, cells: []string{current, c.Name, c.Address, c.Organization}})
	}
	return a.print(l)
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
	if a.output == formatJSON {
		return a.printPlain(viewOf(cs, c))
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

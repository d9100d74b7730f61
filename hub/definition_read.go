package hub

import (
	"cmp"
	"context"
	"fmt"

	"github.com/nave-dev/nave/api"
)

// Limits on one page of a list. A page may be shorter than asked for; only an empty token says that there is no more.
const (
	DefaultPageSize = 100
	MaxPageSize     = 1000
	pageBytes       = 1 << 20 // a page ends when its items exceed this
	scanChunk       = 200     // definitions read from the store at a time
)

// Definition returns a definition; revision 0 is the present one.
func (c *Catalog) Definition(ctx context.Context, org api.OrgID, kind api.Kind, name string, revision uint64) (api.Definition, error) {
	org, err := checkNamed(org, name)
	if err != nil {
		return api.Definition{}, err
	}
	d, err := c.cfg.Store.Definition(ctx, org, kind, name, revision)
	if api.CodeOf(err) == api.CodeNotFound && revision != 0 {
		return d, &api.Error{Code: api.CodeNotFound, Field: "revision", Err: fmt.Errorf("there is no revision %d of %s %q", revision, kind, name)}
	}
	return d, noSuch(err, kind, name)
}

// List returns a page of the definitions of a kind whose labels match the selector, by name, and the token of the next
// page; an empty token is the end.
func (c *Catalog) List(ctx context.Context, org api.OrgID, kind api.Kind, selector string, pageSize int, pageToken string) ([]api.Definition, string, error) {
	org, err := Organization(org)
	if err != nil {
		return nil, "", err
	}
	reqs, err := api.ParseSelector(selector)
	if err != nil {
		return nil, "", err
	}
	pages, err := NewPager(pageSize, pageToken, "definitions", string(org), string(kind), selector)
	if err != nil {
		return nil, "", err
	}
	var out []api.Definition
	size, after := 0, pages.After
	for {
		chunk, err := c.cfg.Store.List(ctx, org, kind, after, scanChunk)
		if err != nil {
			return nil, "", err
		}
		for _, d := range chunk {
			if !api.MatchAll(reqs, d.Labels) {
				after = d.Name
				continue
			}
			n := definitionSize(d)
			if len(out) == pages.Size || len(out) > 0 && size+n > pageBytes {
				return out, pages.Token(out[len(out)-1].Name), nil
			}
			out, after, size = append(out, d), d.Name, size+n
		}
		if len(chunk) < scanChunk {
			return out, "", nil
		}
	}
}

// Revisions returns a page of the revisions of a definition, newest first, and the token of the next page.
func (c *Catalog) Revisions(ctx context.Context, org api.OrgID, kind api.Kind, name string, pageSize int, pageToken string) ([]api.Definition, string, error) {
	org, err := checkNamed(org, name)
	if err != nil {
		return nil, "", err
	}
	pages, err := NewPager(pageSize, pageToken, "revisions", string(org), string(kind), name)
	if err != nil {
		return nil, "", err
	}
	below, err := pages.number()
	if err != nil {
		return nil, "", err
	}
	if _, err := c.Definition(ctx, org, kind, name, 0); err != nil {
		return nil, "", err
	}
	var out []api.Definition
	size := 0
	for {
		want := min(pages.Size-len(out)+1, scanChunk)
		chunk, err := c.cfg.Store.Revisions(ctx, org, kind, name, below, want)
		if err != nil {
			return nil, "", err
		}
		for _, d := range chunk {
			n := definitionSize(d)
			if len(out) == pages.Size || len(out) > 0 && size+n > pageBytes {
				return out, pages.Token(fmt.Sprint(out[len(out)-1].Revision)), nil
			}
			out, below, size = append(out, d), d.Revision, size+n
		}
		if len(chunk) < want || below <= 1 {
			return out, "", nil
		}
	}
}

// Resolve closes the present revision of an agent over what it refers to: what a new assignment is made with.
func (c *Catalog) Resolve(ctx context.Context, org api.OrgID, agentName string) (api.ResolvedRevision, error) {
	return c.ResolveRevision(ctx, org, "", agentName, 0)
}

// ResolveRevision closes a revision of an agent over what it refers to now. Revision 0 is the present one. The agent is found
// by its id, or where that is empty by its name; by id, the revisions of a deleted agent are found too. CodeFailed when an
// old revision refers to something that was deleted since.
func (c *Catalog) ResolveRevision(ctx context.Context, org api.OrgID, agentID api.ObjectID, agentName string, revision uint64) (api.ResolvedRevision, error) {
	// The present revision's references always exist, but agent and environment are read one after the other: when a
	// reference is missing, the agent was changed meanwhile, and the next reading shows it.
	const attempts = 3
	for attempt := 1; ; attempt++ {
		r, missing, err := c.resolve(ctx, org, agentID, agentName, revision)
		if err != nil || missing == nil {
			return r, err
		}
		if attempt == attempts || revision != 0 {
			return r, &api.Error{Code: api.CodeFailed, Field: missing.Field, Err: fmt.Errorf("revision %d of agent %q uses %s %q, which does not exist any more", r.AgentRevision, r.AgentName, missing.Kind, missing.Name)}
		}
	}
}

// resolve reads once; missing is the first reference that does not exist.
func (c *Catalog) resolve(ctx context.Context, org api.OrgID, agentID api.ObjectID, agentName string, revision uint64) (r api.ResolvedRevision, missing *api.Ref, err error) {
	agent, err := c.agent(ctx, org, agentID, agentName, revision)
	if err != nil {
		return r, nil, err
	}
	spec, ok := agent.Spec.(*api.AgentSpec)
	if !ok {
		return r, nil, api.Errorf(api.CodeInternal, "agent %q has a spec of type %T", agentName, agent.Spec)
	}
	r = api.ResolvedRevision{AgentID: agent.ID, AgentName: agent.Name, AgentRevision: agent.Revision, Agent: spec.WithDefaults()}
	for _, ref := range spec.Refs() {
		d, err := c.cfg.Store.Definition(ctx, agent.Org, ref.Kind, ref.Name, 0)
		switch {
		case api.CodeOf(err) == api.CodeNotFound:
			return r, &ref, nil
		case err != nil:
			return r, nil, err
		}
		switch s := d.Spec.(type) {
		case *api.EnvironmentSpec:
			r.Environment, r.EnvironmentRevision = s, d.Revision
		case *api.PlacementPolicySpec:
			r.Policy, r.PolicyRevision = s, d.Revision
		}
	}
	return r, nil, nil
}

func (c *Catalog) agent(ctx context.Context, org api.OrgID, id api.ObjectID, name string, revision uint64) (api.Definition, error) {
	if id == "" {
		return c.Definition(ctx, org, api.KindAgent, name, revision)
	}
	org, err := Organization(org)
	if err != nil {
		return api.Definition{}, err
	}
	d, err := c.cfg.Store.Definition(ctx, org, api.KindAgent, string(id), revision)
	if err == nil && d.ID != id {
		err = api.Errorf(api.CodeNotFound, "the name belongs to another agent")
	}
	return d, noSuch(err, api.KindAgent, cmp.Or(name, string(id)))
}

package hub

import (
	"context"

	"github.com/nave-dev/nave/api"
)

// ResolveAt closes exactly the revisions that an assignment names. CodeNotFound when one of them cannot be read any more.
func (c *Catalog) ResolveAt(ctx context.Context, org api.OrgID, agent api.ObjectID, a api.Assignment) (*api.ResolvedRevision, error) {
	d, err := c.cfg.Store.Definition(ctx, org, api.KindAgent, string(agent), a.AgentRevision)
	if err != nil {
		return nil, err
	}
	spec, ok := d.Spec.(*api.AgentSpec)
	if !ok {
		return nil, api.Errorf(api.CodeInternal, "agent %q has a spec of type %T", agent, d.Spec)
	}
	r := &api.ResolvedRevision{AgentID: d.ID, AgentName: d.Name, AgentRevision: d.Revision, Agent: spec.WithDefaults()}
	env, err := c.cfg.Store.Definition(ctx, org, api.KindEnvironment, spec.Environment, a.EnvironmentRevision)
	if err != nil {
		return nil, err
	}
	r.Environment, _ = env.Spec.(*api.EnvironmentSpec)
	r.EnvironmentRevision = env.Revision
	if a.PolicyRevision != 0 {
		p, err := c.cfg.Store.Definition(ctx, org, api.KindPlacementPolicy, spec.PlacementPolicy, a.PolicyRevision)
		if err != nil {
			return nil, err
		}
		r.Policy, _ = p.Spec.(*api.PlacementPolicySpec)
		r.PolicyRevision = p.Revision
	}
	return r, nil
}

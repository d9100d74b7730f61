package hub

import (
	"context"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
)

// Bounds of what is remembered of grants.
const (
	grantsTTL    = time.Second // how old what a check is answered from may be when the check begins
	grantsMost   = 100_000     // grants of one organization; with more every check fails
	grantsChunk  = 1000        // read from the store at a time
	grantsOfMost = 1000        // organizations that are remembered; beyond it all are forgotten
)

// grantKey is what a grant says.
type grantKey struct {
	subject  api.GrantParty
	relation api.Relation
	object   api.GrantParty
}

// grantCache remembers the grants of organizations, so that checks do not read the store one by one. Only what the store
// said is remembered: a failed read answers no check but its own.
type grantCache struct {
	mu   sync.Mutex
	orgs map[api.OrgID]*orgGrants // guarded by mu
}

// orgGrants is one organization's. Who holds the gate reads; the others wait for what it finds.
type orgGrants struct {
	gate  chan struct{} // capacity 1
	began time.Time     // of the read, guarded by gate
	known map[grantKey]bool
}

func (g *grantCache) of(org api.OrgID) *orgGrants {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.orgs[org]
	if o == nil {
		if g.orgs == nil || len(g.orgs) >= grantsOfMost {
			g.orgs = map[api.OrgID]*orgGrants{}
		}
		o = &orgGrants{gate: make(chan struct{}, 1)}
		g.orgs[org] = o
	}
	return o
}

// Granted reports whether a present grant of the organization lets the subject do with the object what the relation says. An
// answer is of at most a second before the call; without one the error is CodeUnavailable, which allows nothing.
func (c *Catalog) Granted(ctx context.Context, org api.OrgID, subject api.GrantParty, relation api.Relation, object api.GrantParty) (bool, error) {
	asked := c.cfg.Now()
	o := c.grants.of(org)
	select {
	case o.gate <- struct{}{}:
		defer func() { <-o.gate }()
	case <-ctx.Done():
		return false, noGrants(context.Cause(ctx))
	}
	if o.known == nil || asked.Sub(o.began) >= grantsTTL {
		began := c.cfg.Now()
		known, err := c.readGrants(ctx, org)
		if err != nil {
			return false, noGrants(err)
		}
		o.began, o.known = began, known
	}
	return o.known[grantKey{subject, relation, object}], nil
}

func noGrants(err error) error {
	return &api.Error{Code: api.CodeUnavailable, Op: "read grants", Err: err}
}

// readGrants reads all grants of an organization.
func (c *Catalog) readGrants(ctx context.Context, org api.OrgID) (map[grantKey]bool, error) {
	known, after := map[grantKey]bool{}, ""
	for n := 0; ; {
		chunk, err := c.cfg.Store.List(ctx, org, api.KindGrant, after, grantsChunk)
		if err != nil {
			return nil, err
		}
		for _, d := range chunk {
			g, ok := d.Spec.(*api.GrantSpec)
			if !ok {
				return nil, api.Errorf(api.CodeInternal, "grant %q has a spec of type %T", d.Name, d.Spec)
			}
			known[grantKey{g.Subject, g.Relation, g.Object}], after = true, d.Name
		}
		if n += len(chunk); n > grantsMost {
			return nil, api.Errorf(api.CodeLimit, "there are more than %d grants: delete some", grantsMost)
		}
		if len(chunk) < grantsChunk {
			return known, nil
		}
	}
}

package hub

import (
	"context"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
)

const (
	agentTTL   = time.Second // an agent that another replica deleted takes signals for no longer
	agentsMost = 10_000      // that are remembered; beyond it all are forgotten
)

// agentCache remembers the ids of agents, so that a signal needs no read of the store before its own transaction. Names that
// nobody has are not remembered, so that a new agent works at once; what this catalog deletes is forgotten at once.
type agentCache struct {
	mu      sync.Mutex
	known   map[agentName]knownAgent // guarded by mu
	deletes uint64                   // guarded by mu: what was read before the last one is not remembered
}

type agentName struct {
	org  api.OrgID
	name string
}

type knownAgent struct {
	id    api.ObjectID
	until time.Time
}

// find returns an id that is remembered, and how many deletions came before.
func (c *agentCache) find(n agentName, now time.Time) (id api.ObjectID, ok bool, deletes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.known[n]
	return k.id, ok && now.Before(k.until), c.deletes
}

// keep remembers what a read found that began after so many deletions.
func (c *agentCache) keep(n agentName, k knownAgent, deletes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deletes != deletes {
		return
	}
	if c.known == nil || len(c.known) >= agentsMost {
		c.known = make(map[agentName]knownAgent)
	}
	c.known[n] = k
}

// forget is called when an agent may have been deleted.
func (c *agentCache) forget(n agentName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deletes++
	delete(c.known, n)
}

// Agent returns the id of an agent, or CodeNotFound with the field "agent". An answer is of at most a second before the call.
func (c *Catalog) Agent(ctx context.Context, org api.OrgID, name string) (api.ObjectID, error) {
	n, asked := agentName{org, name}, c.cfg.Now()
	id, ok, deletes := c.agents.find(n, asked)
	if ok {
		return id, nil
	}
	d, err := c.cfg.Store.Definition(ctx, org, api.KindAgent, name, 0)
	if api.CodeOf(err) == api.CodeNotFound {
		return "", &api.Error{Code: api.CodeNotFound, Field: "agent", Err: api.Errorf(api.CodeNotFound, "there is no agent %q: define it first", name)}
	}
	if err == nil {
		c.agents.keep(n, knownAgent{d.ID, asked.Add(agentTTL)}, deletes)
	}
	return d.ID, err
}

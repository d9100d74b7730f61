package hub_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// counted is a store that counts reads of definitions. during runs in the middle of one: what is read is of before that.
type counted struct {
	hub.Definitions
	reads  atomic.Int64
	during func()
}

func (c *counted) Definition(ctx context.Context, org api.OrgID, kind api.Kind, name string, revision uint64) (api.Definition, error) {
	c.reads.Add(1)
	d, err := c.Definitions.Definition(ctx, org, kind, name, revision)
	if f := c.during; f != nil {
		c.during = nil
		f()
	}
	return d, err
}

func TestTheIdOfAnAgentIsRememberedForASecond(t *testing.T) {
	w := newWorld(t)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	store := &counted{Definitions: w.store}
	var err error
	w.catalog, err = hub.NewCatalog(hub.CatalogConfig{Store: store, Now: func() time.Time { return now }, NewID: func() api.ObjectID { return api.ObjectID(newULID()) }})
	must(t, err)
	find := func(reads int64, want bool) api.ObjectID {
		t.Helper()
		before := store.reads.Load()
		id, err := w.catalog.Agent(t.Context(), api.DefaultOrg, "a")
		if n := store.reads.Load() - before; n != reads || (err == nil) != want || err != nil && api.CodeOf(err) != api.CodeNotFound {
			t.Errorf("id %q, %v after %d reads: want %d reads, found %t", id, err, n, reads, want)
		}
		return id
	}
	find(1, false)
	find(1, false) // what is not there is asked for each time
	for _, d := range []api.Definition{environment("e", "i"), agent("a", "e", "")} {
		w.put(d)
	}
	first := find(1, true)
	find(0, true)
	now = now.Add(time.Second)
	find(1, true)
	must(t, w.catalog.Delete(t.Context(), "", api.KindAgent, "a", "", false))
	find(1, false)
	w.put(agent("a", "e", ""))
	if second := find(1, true); second == first {
		t.Error("another agent of the name has the id of the first")
	}
	now = now.Add(time.Second)
	store.during = func() { must(t, w.catalog.Delete(t.Context(), "", api.KindAgent, "a", "", false)) }
	find(1, true)  // read before the agent was deleted
	find(1, false) // and not remembered
}

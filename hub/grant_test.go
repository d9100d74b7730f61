package hub_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

func grant(name, subject, object string) api.Definition {
	return api.Definition{Meta: api.Meta{Name: name}, Spec: &api.GrantSpec{Subject: party(subject), Relation: api.RelationSignal, Object: party(object)}}
}

func party(name string) api.GrantParty { return api.GrantParty{Kind: api.KindAgent, Name: name} }

// watched is a store that counts lists and can be away.
type watched struct {
	hub.Definitions
	lists atomic.Int64
	away  atomic.Bool
}

func (w *watched) List(ctx context.Context, org api.OrgID, kind api.Kind, after string, limit int) ([]api.Definition, error) {
	w.lists.Add(1)
	if w.away.Load() {
		return nil, api.Errorf(api.CodeInternal, "the store is away")
	}
	return w.Definitions.List(ctx, org, kind, after, limit)
}

// grantWorld is a world with agents a and b whose catalog reads through a watched store.
func grantWorld(t *testing.T) (*world, *watched) {
	w := newWorld(t)
	for _, d := range []api.Definition{environment("e", "i"), agent("a", "e", ""), agent("b", "e", "")} {
		w.put(d)
	}
	store := &watched{Definitions: w.store}
	var err error
	w.catalog, err = hub.NewCatalog(hub.CatalogConfig{Store: store, Now: w.now, NewID: func() api.ObjectID { return api.ObjectID(newULID()) }})
	must(t, err)
	return w, store
}

func (w *world) granted(subject, object string) bool {
	w.t.Helper()
	ok, err := w.catalog.Granted(w.t.Context(), api.DefaultOrg, party(subject), api.RelationSignal, party(object))
	must(w.t, err)
	return ok
}

func TestOnlyAPresentGrantAllows(t *testing.T) {
	w, _ := grantWorld(t)
	if w.granted("a", "b") {
		t.Error("allowed without a grant")
	}
	w.put(grant("one", "a", "b"))
	w.put(grant("two", "a", "b"))
	w.pass(time.Second)
	for _, c := range []struct {
		org      api.OrgID
		subject  api.GrantParty
		relation api.Relation
		object   api.GrantParty
		want     bool
	}{
		{api.DefaultOrg, party("a"), api.RelationSignal, party("b"), true},
		{api.DefaultOrg, party("b"), api.RelationSignal, party("a"), false},
		{api.DefaultOrg, party("a"), api.RelationSignal, party("a"), false},
		{api.DefaultOrg, party("a"), "can_see", party("b"), false},
		{api.DefaultOrg, api.GrantParty{Kind: api.KindEnvironment, Name: "a"}, api.RelationSignal, party("b"), false},
		{"other", party("a"), api.RelationSignal, party("b"), false},
	} {
		got, err := w.catalog.Granted(t.Context(), c.org, c.subject, c.relation, c.object)
		if err != nil || got != c.want {
			t.Errorf("%v: %v, %v", c, got, err)
		}
	}
	remove := func(name string) {
		t.Helper()
		must(t, w.catalog.Delete(t.Context(), "", api.KindGrant, name, "", false))
		w.pass(time.Second)
	}
	if remove("one"); !w.granted("a", "b") {
		t.Error("the second of two equal grants does not allow")
	}
	if remove("two"); w.granted("a", "b") {
		t.Error("allowed by a grant that was deleted a second ago")
	}
}

func TestAGrantKeepsItsAgents(t *testing.T) {
	w, _ := grantWorld(t)
	w.put(grant("helpers", "a", "b"))
	for _, name := range []string{"a", "b"} {
		err := w.catalog.Delete(t.Context(), "", api.KindAgent, name, "", false)
		refused(t, "delete an agent that a grant names", err, api.CodeInUse, "")
		if err == nil || !strings.Contains(err.Error(), `Grant "helpers"`) {
			t.Errorf("%v does not name the grant", err)
		}
	}
	_, _, err := w.catalog.Put(t.Context(), hub.PutRequest{Definition: grant("helpers", "a", "nosuch")})
	refused(t, "an object that does not exist", err, api.CodeInvalid, "spec.object.name")
	_, _, err = w.catalog.Put(t.Context(), hub.PutRequest{Definition: grant("others", "nosuch", "a")})
	refused(t, "a subject that does not exist", err, api.CodeInvalid, "spec.subject.name")
	w.put(grant("helpers", "a", "a"))
	must(t, w.catalog.Delete(t.Context(), "", api.KindAgent, "b", "", false))
}

func TestChecksOfGrantsAreCheap(t *testing.T) {
	w, store := grantWorld(t)
	w.put(grant("one", "a", "b"))
	g := run.NewGroup(t.Context())
	for range 100 {
		g.Go("checks", func(context.Context) error {
			for range 100 {
				if !w.granted("a", "b") {
					return fmt.Errorf("not allowed")
				}
			}
			return nil
		})
	}
	must(t, g.Wait())
	if n := store.lists.Load(); n != 1 {
		t.Errorf("10,000 checks within a second read the store %d times", n)
	}
	w.pass(999 * time.Millisecond)
	w.granted("a", "b")
	w.pass(time.Millisecond)
	w.granted("a", "b")
	if n := store.lists.Load(); n != 2 {
		t.Errorf("after a second it was read %d times, want 2", n)
	}
}

func TestWithoutAStoreNothingIsGranted(t *testing.T) {
	w, store := grantWorld(t)
	w.put(grant("one", "a", "b"))
	w.granted("a", "b")
	w.pass(time.Second)
	store.away.Store(true)
	ok, err := w.catalog.Granted(t.Context(), api.DefaultOrg, party("a"), api.RelationSignal, party("b"))
	if refused(t, "the store is away", err, api.CodeUnavailable, ""); ok {
		t.Error("allowed without an answer")
	}
	store.away.Store(false)
	if !w.granted("a", "b") {
		t.Error("the failure is remembered")
	}
}

func TestAllPagesOfGrantsAreRead(t *testing.T) {
	w, _ := grantWorld(t)
	const n = 2001 // beyond two pages
	for from := 0; from < n; from += 50 {
		_, err := w.store.Update(t.Context(), api.DefaultOrg, func(hub.DefinitionView) (out []hub.DefinitionWrite, _ error) {
			for i := from; i < min(from+50, n); i++ {
				d := grant(fmt.Sprintf("g-%04d", i), fmt.Sprintf("s-%d", i), "b")
				d.Org, d.ID, d.Revision = api.DefaultOrg, api.ObjectID(newULID()), 1
				out = append(out, hub.DefinitionWrite{Put: &d})
			}
			return out, nil
		})
		must(t, err)
	}
	for _, i := range []int{0, 999, 1000, 1999, 2000} {
		if !w.granted(fmt.Sprintf("s-%d", i), "b") {
			t.Errorf("grant %d is not seen", i)
		}
	}
	if w.granted("s-2001", "b") {
		t.Error("a grant that is not there is seen")
	}
}

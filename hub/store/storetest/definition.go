package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

var (
	ignoreEtag = cmpopts.IgnoreFields(api.Meta{}, "Etag")
	org        = api.DefaultOrg
)

func definition(n int, name string, revision uint64, spec api.Spec) api.Definition {
	return api.Definition{Meta: api.Meta{Org: org, ID: api.ObjectID(id(n)), Name: name, Labels: map[string]string{"team": "a"}, Revision: revision,
		CreatedAt: began, UpdatedAt: began.Add(time.Duration(revision) * time.Second),
		UpdatedBy: fmt.Sprint("writer of ", revision)}, Spec: spec}
}

func environment(n int, name string, revision uint64) api.Definition {
	return definition(n, name, revision, &api.EnvironmentSpec{Image: fmt.Sprintf("registry/%s:%d", name, revision)})
}

func agent(n int, name string, revision uint64, env, policy string) api.Definition {
	return definition(n, name, revision, &api.AgentSpec{Description: fmt.Sprint(revision), Environment: env, PlacementPolicy: policy})
}

func puts(defs ...api.Definition) func(hub.DefinitionView) ([]hub.DefinitionWrite, error) {
	return func(hub.DefinitionView) ([]hub.DefinitionWrite, error) {
		var w []hub.DefinitionWrite
		for i := range defs {
			w = append(w, hub.DefinitionWrite{Put: &defs[i]})
		}
		return w, nil
	}
}

func deletes(refs ...api.Ref) func(hub.DefinitionView) ([]hub.DefinitionWrite, error) {
	return func(hub.DefinitionView) ([]hub.DefinitionWrite, error) {
		var w []hub.DefinitionWrite
		for i := range refs {
			w = append(w, hub.DefinitionWrite{Delete: &refs[i]})
		}
		return w, nil
	}
}

func testDefinitionLife(t *testing.T, s Stores) {
	ctx := t.Context()
	_, err := s.One.Definition(ctx, org, api.KindEnvironment, "e", 0)
	wantCode(t, "a definition that is not there", err, api.CodeNotFound)

	first := environment(1, "e", 1)
	stored, err := s.One.Update(ctx, org, puts(first))
	must(t, "create", err)
	wantSame(t, "what create returned", stored, []api.Definition{first}, ignoreEtag)
	got, err := s.Other.Definition(ctx, org, api.KindEnvironment, "e", 0)
	must(t, "read", err)
	wantSame(t, "what was read", got, stored[0])
	if got.Etag == "" {
		t.Fatal("the etag is empty")
	}

	second := environment(1, "e", 2)
	updated, err := s.Other.Update(ctx, org, puts(second))
	must(t, "update", err)
	if updated[0].Etag == got.Etag {
		t.Fatalf("the etag %q did not change with the update", got.Etag)
	}
	same, err := s.One.Update(ctx, org, puts(second))
	must(t, "write the same again", err)
	if same[0].Etag == updated[0].Etag {
		t.Fatalf("the etag %q did not change with the write", same[0].Etag)
	}
	got, err = s.One.Definition(ctx, org, api.KindEnvironment, "e", 0)
	must(t, "read", err)
	wantSame(t, "the present one", got, same[0])
	old, err := s.One.Definition(ctx, org, api.KindEnvironment, "e", 1)
	must(t, "read revision 1", err)
	wantSame(t, "revision 1", old, first, ignoreEtag)
	_, err = s.One.Definition(ctx, org, api.KindEnvironment, "e", 3)
	wantCode(t, "a revision that is not there", err, api.CodeNotFound)

	deleted, err := s.One.Update(ctx, org, deletes(api.Ref{Kind: api.KindEnvironment, Name: "e"}))
	must(t, "delete", err)
	wantSame(t, "what delete returned", deleted, []api.Definition{})
	_, err = s.Other.Definition(ctx, org, api.KindEnvironment, "e", 0)
	wantCode(t, "the deleted definition", err, api.CodeNotFound)
	old, err = s.Other.Definition(ctx, org, api.KindEnvironment, string(first.ID), 2)
	must(t, "read a revision of the deleted one by id", err)
	wantSame(t, "revision 2 by id", old, second, ignoreEtag)
	_, err = s.One.Update(ctx, org, deletes(api.Ref{Kind: api.KindEnvironment, Name: "e"}))
	wantCode(t, "delete again", err, api.CodeNotFound)

	again := environment(2, "e", 1)
	_, err = s.One.Update(ctx, org, puts(again))
	must(t, "create again", err)
	got, err = s.One.Definition(ctx, org, api.KindEnvironment, string(again.ID), 0)
	must(t, "read the present one by id", err)
	wantSame(t, "the new one", got, again, ignoreEtag)
	_, err = s.One.Definition(ctx, org, api.KindEnvironment, string(first.ID), 0)
	wantCode(t, "the present revision of the deleted one", err, api.CodeNotFound)
	revs, err := s.One.Revisions(ctx, org, api.KindEnvironment, "e", 0, 10)
	must(t, "revisions", err)
	wantSame(t, "revisions of the new one", revs, []api.Definition{again}, ignoreEtag)
}

func testRevisionsNeverChange(t *testing.T, s Stores) {
	ctx := t.Context()
	first, second := environment(1, "e", 1), environment(1, "e", 2)
	for _, d := range []api.Definition{first, second} {
		_, err := s.One.Update(ctx, org, puts(d))
		must(t, "put", err)
	}
	changed := environment(1, "e", 2)
	changed.Spec = &api.EnvironmentSpec{Image: "other"}
	relabelled := environment(1, "e", 2)
	relabelled.Labels = map[string]string{"team": "b"}
	for what, d := range map[string]api.Definition{"another spec": changed, "other labels": relabelled, "an older revision": first, "another id": environment(2, "e", 3)} {
		_, err := s.One.Update(ctx, org, puts(d))
		wantCode(t, "put with "+what, err, api.CodeInternal)
	}
	got, err := s.One.Revisions(ctx, org, api.KindEnvironment, "e", 0, 10)
	must(t, "revisions", err)
	wantSame(t, "revisions", got, []api.Definition{second, first}, ignoreEtag)
}

func testDefinitionLists(t *testing.T, s Stores) {
	ctx := t.Context()
	var all []api.Definition
	for i, name := range []string{"a", "a-b", "b", "ba", "c"} {
		all = append(all, environment(i, name, 1))
	}
	_, err := s.One.Update(ctx, org, puts(append(all, agent(9, "aa", 1, "a", ""))...))
	must(t, "create", err)
	for _, tt := range []struct {
		after string
		limit int
		want  []api.Definition
	}{
		{"", 10, all}, {"", 2, all[:2]}, {"a", 2, all[1:3]}, {"a-b", 10, all[2:]}, {"aaa", 1, all[2:3]}, {"c", 5, nil}, {"", 0, nil},
	} {
		got, err := s.Other.List(ctx, org, api.KindEnvironment, tt.after, tt.limit)
		must(t, "List", err)
		wantSame(t, fmt.Sprintf("List(%q, %d)", tt.after, tt.limit), got, tt.want, ignoreEtag)
	}
	var revs []api.Definition // newest first
	for r := uint64(2); r <= 12; r++ {
		d := environment(0, "a", r)
		_, err := s.One.Update(ctx, org, puts(d))
		must(t, "update", err)
		revs = append([]api.Definition{d}, revs...)
	}
	revs = append(revs, all[0])
	for _, tt := range []struct {
		below uint64
		limit int
		want  []api.Definition
	}{{0, 100, revs}, {0, 3, revs[:3]}, {10, 3, revs[3:6]}, {2, 5, revs[11:]}, {1, 5, nil}} {
		got, err := s.Other.Revisions(ctx, org, api.KindEnvironment, "a", tt.below, tt.limit)
		must(t, "Revisions", err)
		wantSame(t, fmt.Sprintf("Revisions(%d, %d)", tt.below, tt.limit), got, tt.want, ignoreEtag)
	}
	_, err = s.One.Revisions(ctx, org, api.KindEnvironment, "none", 0, 1)
	wantCode(t, "revisions of what is not there", err, api.CodeNotFound)
	_, err = s.One.Revisions(ctx, org, api.KindEnvironment, id(77), 0, 1)
	wantCode(t, "revisions of an id that is not there", err, api.CodeNotFound)
}

func testUsers(t *testing.T, s Stores) {
	ctx := t.Context()
	users := func(kind api.Kind, name string) (got []api.Ref) {
		_, err := s.Other.Update(ctx, org, func(v hub.DefinitionView) (_ []hub.DefinitionWrite, err error) {
			got, err = v.Users(kind, name)
			return nil, err
		})
		must(t, "Users", err)
		return got
	}
	byEnv, byPolicy := api.Ref{Kind: api.KindAgent, Name: "x", Field: "spec.environment"}, api.Ref{Kind: api.KindAgent, Name: "x", Field: "spec.placement_policy"}
	_, err := s.One.Update(ctx, org, puts(environment(1, "e", 1), environment(2, "f", 1), agent(3, "x", 1, "e", "p"), agent(4, "y", 1, "e", "")))
	must(t, "create", err)
	wantSame(t, "users of e", users(api.KindEnvironment, "e"), []api.Ref{byEnv, {Kind: api.KindAgent, Name: "y", Field: "spec.environment"}})
	wantSame(t, "users of p", users(api.KindPlacementPolicy, "p"), []api.Ref{byPolicy})

	_, err = s.One.Update(ctx, org, puts(agent(3, "x", 2, "f", "")))
	must(t, "refer to another", err)
	_, err = s.One.Update(ctx, org, deletes(api.Ref{Kind: api.KindAgent, Name: "y"}))
	must(t, "delete a user", err)
	wantSame(t, "users of e afterwards", users(api.KindEnvironment, "e"), []api.Ref{})
	wantSame(t, "users of f afterwards", users(api.KindEnvironment, "f"), []api.Ref{byEnv})
	wantSame(t, "users of p afterwards", users(api.KindPlacementPolicy, "p"), []api.Ref{})

	_, err = s.One.Update(ctx, org, func(hub.DefinitionView) ([]hub.DefinitionWrite, error) {
		d := agent(5, "x", 1, "e", "")
		return []hub.DefinitionWrite{{Delete: &api.Ref{Kind: api.KindAgent, Name: "x"}}, {Put: &d}}, nil
	})
	must(t, "delete and create in one update", err)
	wantSame(t, "users of e in the end", users(api.KindEnvironment, "e"), []api.Ref{byEnv})
	wantSame(t, "users of f in the end", users(api.KindEnvironment, "f"), []api.Ref{})
}

func testOrganizations(t *testing.T, s Stores) {
	ctx := t.Context()
	for _, o := range []api.OrgID{"a", "a/b", "b"} {
		d := environment(1, "e", 1)
		d.Org, d.Labels = o, map[string]string{"org": "x"}
		_, err := s.One.Update(ctx, o, puts(d))
		must(t, "create", err)
		got, err := s.One.List(ctx, o, api.KindEnvironment, "", 10)
		must(t, "list", err)
		wantSame(t, "definitions of "+string(o), got, []api.Definition{d}, ignoreEtag)
	}
	_, err := s.One.Update(ctx, "a", puts(environment(2, "e", 1)))
	wantCode(t, "put of another organization's definition", err, api.CodeInternal)
}

func testConcurrentUpdates(t *testing.T, s Stores) {
	const writers, each = 6, 15
	_, err := s.One.Update(t.Context(), org, puts(environment(1, "counter", 1)))
	must(t, "create", err)
	g := run.NewGroup(t.Context())
	for w := range writers {
		replica := []Replica{s.One, s.Other}[w%2]
		g.Go(fmt.Sprintf("writer %d", w), func(ctx context.Context) error {
			for i := range each {
				_, err := replica.Update(ctx, org, func(v hub.DefinitionView) ([]hub.DefinitionWrite, error) {
					c, err := v.Definition(api.KindEnvironment, "counter")
					if err != nil {
						return nil, err
					}
					next := environment(1, "counter", c.Revision+1)
					own := environment(100+w*each+i, fmt.Sprintf("w%d-%d", w, i), 1)
					return []hub.DefinitionWrite{{Put: &next}, {Put: &own}}, nil
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	must(t, "writers", g.Wait())
	got, err := s.One.Definition(t.Context(), org, api.KindEnvironment, "counter", 0)
	must(t, "read", err)
	if got.Revision != 1+writers*each {
		t.Fatalf("revision = %d after %d updates: updates were lost", got.Revision, writers*each)
	}
	all, err := s.One.List(t.Context(), org, api.KindEnvironment, "", 1000)
	must(t, "list", err)
	if len(all) != 1+writers*each {
		t.Fatalf("%d definitions, want %d", len(all), 1+writers*each)
	}
	revs, err := s.One.Revisions(t.Context(), org, api.KindEnvironment, "counter", 0, 1000)
	must(t, "revisions", err)
	for i, r := range revs {
		if want := uint64(len(revs) - i); r.Revision != want {
			t.Fatalf("revision at %d = %d, want %d", i, r.Revision, want)
		}
	}
}

func testDecideRunsAgain(t *testing.T, s Stores) {
	ctx, calls := t.Context(), 0
	stored, err := s.One.Update(ctx, org, func(v hub.DefinitionView) ([]hub.DefinitionWrite, error) {
		calls++
		_, err := v.Definition(api.KindEnvironment, "other")
		if calls == 1 {
			if api.CodeOf(err) != api.CodeNotFound {
				return nil, fmt.Errorf("first view: %w", err)
			}
			if _, err := s.Other.Update(ctx, org, puts(environment(2, "other", 1))); err != nil {
				return nil, err
			}
			if _, err := v.Definition(api.KindEnvironment, "other"); api.CodeOf(err) != api.CodeNotFound {
				return nil, fmt.Errorf("the view moved: %w", err)
			}
		} else if err != nil {
			return nil, err
		}
		d := environment(1, fmt.Sprintf("call-%d", calls), 1)
		return []hub.DefinitionWrite{{Put: &d}}, nil
	})
	must(t, "Update", err)
	if calls != 2 || len(stored) != 1 || stored[0].Name != "call-2" {
		t.Fatalf("%d calls stored %v, want the second call's", calls, stored)
	}
	_, err = s.One.Definition(ctx, org, api.KindEnvironment, "call-1", 0)
	wantCode(t, "what the first call wanted", err, api.CodeNotFound)

	own := errors.New("no")
	if _, err := s.One.Update(ctx, org, func(hub.DefinitionView) ([]hub.DefinitionWrite, error) { return nil, own }); err != own { //nolint:errorlint // as it is
		t.Fatalf("Update = %v, want the very error of decide", err)
	}
}

package hub_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

func environment(name, image string) api.Definition {
	return api.Definition{Meta: api.Meta{Name: name}, Spec: &api.EnvironmentSpec{Image: image}}
}

func agent(name, env, policy string) api.Definition {
	return api.Definition{Meta: api.Meta{Name: name}, Spec: &api.AgentSpec{
		Environment: env, PlacementPolicy: policy, Harness: api.HarnessSpec{Protocol: api.ProtocolACP, Command: []string{"run"}},
	}}
}

func policy(name string) api.Definition {
	return api.Definition{Meta: api.Meta{Name: name}, Spec: &api.PlacementPolicySpec{Stickiness: 7}}
}

func (w *world) put(d api.Definition) api.Definition {
	w.t.Helper()
	d, _, err := w.catalog.Put(w.t.Context(), hub.PutRequest{Definition: d})
	must(w.t, err)
	return d
}

func TestPutMakesRevisions(t *testing.T) {
	w := newWorld(t)
	put := func(r hub.PutRequest) (api.Definition, hub.WriteOutcome) {
		t.Helper()
		d, outcome, err := w.catalog.Put(t.Context(), r)
		must(t, err)
		return d, outcome
	}
	dry, outcome := put(hub.PutRequest{Definition: environment("e", "a"), DryRun: true})
	if outcome != hub.Created || dry.Revision != 1 {
		t.Errorf("dry run: %v %v", dry, outcome)
	}
	_, err := w.catalog.Definition(t.Context(), "", api.KindEnvironment, "e", 0)
	refused(t, "after the dry run", err, api.CodeNotFound, "name")

	first, outcome := put(hub.PutRequest{Definition: environment("e", "a")})
	want := api.Meta{Org: api.DefaultOrg, Name: "e", ID: first.ID, Etag: first.Etag, Revision: 1, CreatedAt: w.now(), UpdatedAt: w.now()}
	if d := cmp.Diff(want, first.Meta); d != "" || outcome != hub.Created || first.Etag == "" || first.ID == "" {
		t.Errorf("%s (-want +got):\n%s", outcome, d)
	}
	w.pass(time.Minute)
	emptyLists := environment("e", "a")
	emptyLists.Spec = &api.EnvironmentSpec{Image: "a", Volumes: []api.Volume{}, Command: []string{}}
	if same, outcome := put(hub.PutRequest{Definition: emptyLists}); outcome != hub.Unchanged || cmp.Diff(first, same) != "" {
		t.Errorf("the same again: %s %v", outcome, same)
	}
	changed := environment("e", "b")
	if d, outcome := put(hub.PutRequest{Definition: changed, DryRun: true}); outcome != hub.Updated || d.Revision != 2 || d.Etag != first.Etag {
		t.Errorf("dry run of a change: %s %v", outcome, d)
	}
	second, outcome := put(hub.PutRequest{Definition: changed})
	if outcome != hub.Updated || second.Revision != 2 || second.ID != first.ID || second.Etag == first.Etag || !second.CreatedAt.Equal(first.CreatedAt) || !second.UpdatedAt.Equal(w.now()) {
		t.Errorf("a change: %s %v", outcome, second)
	}
	changed.Labels = map[string]string{"a": "b"}
	changed.Etag = second.Etag
	third, outcome := put(hub.PutRequest{Definition: changed})
	if outcome != hub.Updated || third.Revision != 3 {
		t.Errorf("a change of labels: %s %v", outcome, third)
	}
	_, _, err = w.catalog.Put(t.Context(), hub.PutRequest{Definition: changed})
	refused(t, "an old etag", err, api.CodeConflict, "etag")
	_, _, err = w.catalog.Put(t.Context(), hub.PutRequest{Definition: environment("e", "c"), CreateOnly: true})
	refused(t, "create only", err, api.CodeExists, "name")
	old, err := w.catalog.Definition(t.Context(), "", api.KindEnvironment, "e", 1)
	if err != nil || old.Spec.(*api.EnvironmentSpec).Image != "a" {
		t.Errorf("the first revision is %v, %v", old, err)
	}
	_, err = w.catalog.Definition(t.Context(), "", api.KindEnvironment, "e", 9)
	refused(t, "a revision that is not", err, api.CodeNotFound, "revision")
}

func TestARevisionNamesItsWriter(t *testing.T) {
	w := newWorld(t)
	put := func(image, by string, dryRun bool) string {
		t.Helper()
		d, _, err := w.catalog.Put(t.Context(), hub.PutRequest{Definition: environment("e", image), By: by, DryRun: dryRun})
		must(t, err)
		return d.UpdatedBy
	}
	for _, c := range []struct {
		image, by string
		dryRun    bool
		want      string
	}{
		{"a", "", false, ""}, // as records of before
		{"a", "anna", false, ""},
		{"b", "anna", true, "anna"},
		{"b", "bert", false, "bert"},
		{"b", "anna", false, "bert"},
		{"c", "anna", false, "anna"},
	} {
		if got := put(c.image, c.by, c.dryRun); got != c.want {
			t.Errorf("%+v: written by %q", c, got)
		}
	}
	foreign := environment("e", "c")
	foreign.UpdatedBy = "somebody else"
	if d := w.put(foreign); d.UpdatedBy != "anna" {
		t.Errorf("a writer that the request claims is kept: %q", d.UpdatedBy)
	}
	ds, _, err := w.catalog.Revisions(t.Context(), "", api.KindEnvironment, "e", 10, "")
	must(t, err)
	var by []string
	for _, d := range ds {
		by = append(by, d.UpdatedBy)
	}
	if d := cmp.Diff([]string{"anna", "bert", ""}, by); d != "" {
		t.Errorf("revisions (-want +got):\n%s", d)
	}
}

func TestARequestIDRepeatsACreation(t *testing.T) {
	w := newWorld(t)
	req := hub.PutRequest{Definition: environment("e", "a"), CreateOnly: true, RequestID: "one"}
	first, outcome, err := w.catalog.Put(t.Context(), req)
	if err != nil || outcome != hub.Created {
		t.Fatal(outcome, err)
	}
	again, outcome, err := w.catalog.Put(t.Context(), req)
	if err != nil || outcome != hub.Created || cmp.Diff(first, again) != "" {
		t.Errorf("the repeat: %s %v, %v", outcome, again, err)
	}
	req.RequestID = "two"
	_, _, err = w.catalog.Put(t.Context(), req)
	refused(t, "another request", err, api.CodeExists, "name")
	req.RequestID, req.Definition = "one", environment("e", "b")
	_, _, err = w.catalog.Put(t.Context(), req)
	refused(t, "the same request with another content", err, api.CodeExists, "name")
}

func TestReferencesHold(t *testing.T) {
	w := newWorld(t)
	_, _, err := w.catalog.Put(t.Context(), hub.PutRequest{Definition: agent("a", "e", "")})
	refused(t, "no environment", err, api.CodeInvalid, "spec.environment")
	if err == nil || !strings.Contains(err.Error(), `Environment "e"`) {
		t.Errorf("%v does not name what is missing", err)
	}
	w.put(environment("e", "i"))
	_, _, err = w.catalog.Put(t.Context(), hub.PutRequest{Definition: agent("a", "e", "p"), DryRun: true})
	refused(t, "no policy", err, api.CodeInvalid, "spec.placement_policy")
	w.put(policy("p"))
	for i := range 12 {
		w.put(agent(fmt.Sprintf("a-%02d", i), "e", "p"))
	}
	err = w.catalog.Delete(t.Context(), "", api.KindEnvironment, "e", "", true)
	refused(t, "delete in use", err, api.CodeInUse, "")
	if err == nil || !strings.Contains(err.Error(), `Agent "a-00", Agent "a-01"`) || !strings.Contains(err.Error(), "2 more") {
		t.Errorf("%v does not list the users", err)
	}
	for i := range 12 {
		must(t, w.catalog.Delete(t.Context(), "", api.KindAgent, fmt.Sprintf("a-%02d", i), "", false))
	}
	must(t, w.catalog.Delete(t.Context(), "", api.KindEnvironment, "e", "", true))
	refused(t, "an old etag", w.catalog.Delete(t.Context(), "", api.KindEnvironment, "e", "1", false), api.CodeConflict, "etag")
	must(t, w.catalog.Delete(t.Context(), "", api.KindEnvironment, "e", "", false))
	refused(t, "delete twice", w.catalog.Delete(t.Context(), "", api.KindEnvironment, "e", "", false), api.CodeNotFound, "name")
}

// TestReferencesHoldUnderConcurrency lets many agents be put while their environment is deleted over and over: no agent
// is ever left without one.
func TestReferencesHoldUnderConcurrency(t *testing.T) {
	w := newWorld(t)
	w.put(environment("e", "i"))
	tasks := run.NewGroup(t.Context())
	for i := range 4 {
		tasks.Go("agents", func(ctx context.Context) error {
			name := fmt.Sprintf("a-%d", i)
			for range 20 {
				_, _, err := w.catalog.Put(ctx, hub.PutRequest{Definition: agent(name, "e", "")})
				if err == nil {
					if _, err := w.catalog.Resolve(ctx, "", name); err != nil {
						return err
					}
					err = w.catalog.Delete(ctx, "", api.KindAgent, name, "", false)
				}
				if c := api.CodeOf(err); err != nil && c != api.CodeInvalid && c != api.CodeUnavailable {
					return err
				}
			}
			return nil
		})
	}
	tasks.Go("environment", func(ctx context.Context) error {
		for range 40 {
			err := w.catalog.Delete(ctx, "", api.KindEnvironment, "e", "", false)
			if err == nil {
				_, _, err = w.catalog.Put(ctx, hub.PutRequest{Definition: environment("e", "i")})
			}
			if c := api.CodeOf(err); err != nil && c != api.CodeInUse && c != api.CodeUnavailable && c != api.CodeNotFound {
				return err
			}
		}
		return nil
	})
	must(t, tasks.Wait())
}

func TestDefinitionsAreBounded(t *testing.T) {
	w := newWorld(t)
	big := environment("e", "i")
	for i := range 5 {
		big.Spec.(*api.EnvironmentSpec).Files = append(big.Spec.(*api.EnvironmentSpec).Files, api.File{Path: fmt.Sprint("f", i), Content: strings.Repeat("x", 60<<10)})
	}
	_, _, err := w.catalog.Put(t.Context(), hub.PutRequest{Definition: big})
	refused(t, "too large", err, api.CodeLimit, "spec")
	_, _, err = w.catalog.Put(t.Context(), hub.PutRequest{Definition: api.Definition{Meta: api.Meta{Name: "e"}}})
	refused(t, "no spec", err, api.CodeInvalid, "spec")
	elsewhere := environment("e", "i")
	elsewhere.Org = "other"
	_, _, err = w.catalog.Put(t.Context(), hub.PutRequest{Definition: elsewhere})
	refused(t, "another organization", err, api.CodeNotFound, "organization")
}

func TestListsAreComplete(t *testing.T) {
	w := newWorld(t)
	var want, marked []string
	for i := range 23 {
		d := environment(fmt.Sprintf("e-%02d", i), "i")
		want = append(want, d.Name)
		if i%3 == 0 {
			d.Labels = map[string]string{"mark": "x"}
			marked = append(marked, d.Name)
		}
		w.put(d)
	}
	walk := func(selector string, size int) (names []string) {
		t.Helper()
		for token, pages := "", 0; ; pages++ {
			ds, next, err := w.catalog.List(t.Context(), "", api.KindEnvironment, selector, size, token)
			must(t, err)
			if len(ds) > size || pages > 30 {
				t.Fatalf("page %d has %d of %d", pages, len(ds), size)
			}
			for _, d := range ds {
				names = append(names, d.Name)
			}
			if token = next; token == "" {
				return names
			}
		}
	}
	for _, size := range []int{1, 2, 5, 23, 24} {
		if d := cmp.Diff(want, walk("", size)); d != "" {
			t.Errorf("pages of %d (-want +got):\n%s", size, d)
		}
		if d := cmp.Diff(marked, walk("mark=x", size)); d != "" {
			t.Errorf("marked, pages of %d (-want +got):\n%s", size, d)
		}
	}
	_, token, err := w.catalog.List(t.Context(), "", api.KindEnvironment, "", 1, "")
	must(t, err)
	_, _, err = w.catalog.List(t.Context(), "", api.KindEnvironment, "mark", 1, token)
	refused(t, "a token of another list", err, api.CodeInvalid, "page_token")

	for i := range 7 {
		w.put(environment("e-00", fmt.Sprint("i", i)))
	}
	var revisions []uint64
	for token := ""; ; {
		ds, next, err := w.catalog.Revisions(t.Context(), "", api.KindEnvironment, "e-00", 3, token)
		must(t, err)
		for _, d := range ds {
			revisions = append(revisions, d.Revision)
		}
		if token = next; token == "" {
			break
		}
	}
	if d := cmp.Diff([]uint64{8, 7, 6, 5, 4, 3, 2, 1}, revisions); d != "" {
		t.Errorf("revisions (-want +got):\n%s", d)
	}
}

func TestPagesAreBoundedInBytes(t *testing.T) {
	w := newWorld(t)
	for i := range 8 {
		d := environment(fmt.Sprintf("e-%d", i), "i")
		for j := range 4 {
			d.Spec.(*api.EnvironmentSpec).Files = append(d.Spec.(*api.EnvironmentSpec).Files, api.File{Path: fmt.Sprint("f", j), Content: strings.Repeat("x", 60<<10)})
		}
		w.put(d)
	}
	ds, token, err := w.catalog.List(t.Context(), "", api.KindEnvironment, "", 100, "")
	if err != nil || len(ds) != 4 || token == "" {
		t.Errorf("the first page has %d items and token %q, %v", len(ds), token, err)
	}
	rest, token, err := w.catalog.List(t.Context(), "", api.KindEnvironment, "", 100, token)
	if err != nil || len(rest) != 4 || token != "" || rest[0].Name != "e-4" {
		t.Errorf("the second page has %d items and token %q, %v", len(rest), token, err)
	}
}

func TestResolveClosesARevision(t *testing.T) {
	w := newWorld(t)
	w.put(environment("e", "i"))
	w.put(environment("e", "j"))
	w.put(policy("p"))
	a := w.put(agent("a", "e", "p"))
	got, err := w.catalog.Resolve(t.Context(), "", "a")
	must(t, err)
	want := api.ResolvedRevision{
		AgentID: a.ID, AgentName: "a", AgentRevision: 1, EnvironmentRevision: 2, PolicyRevision: 1,
		Agent: a.Spec.(*api.AgentSpec).WithDefaults(), Environment: &api.EnvironmentSpec{Image: "j"}, Policy: &api.PlacementPolicySpec{Stickiness: 7},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	w.put(environment("f", "k"))
	w.put(agent("a", "f", ""))
	if got, err = w.catalog.Resolve(t.Context(), "", "a"); err != nil || got.Policy != nil || got.AgentRevision != 2 {
		t.Errorf("the second revision: %+v, %v", got, err)
	}
	if got, err = w.catalog.ResolveRevision(t.Context(), "", a.ID, "", 1); err != nil || got.Environment.Image != "j" {
		t.Errorf("the first revision by id: %+v, %v", got, err)
	}
	must(t, w.catalog.Delete(t.Context(), "", api.KindEnvironment, "e", "", false))
	_, err = w.catalog.ResolveRevision(t.Context(), "", "", "a", 1)
	refused(t, "a revision whose environment is gone", err, api.CodeFailed, "spec.environment")
	must(t, w.catalog.Delete(t.Context(), "", api.KindAgent, "a", "", false))
	if got, err = w.catalog.ResolveRevision(t.Context(), "", a.ID, "a", 2); err != nil || got.Environment.Image != "k" {
		t.Errorf("a deleted agent by id: %+v, %v", got, err)
	}
	w.put(agent("a", "f", ""))
	_, err = w.catalog.ResolveRevision(t.Context(), "", a.ID, "a", 0)
	refused(t, "the present revision of a deleted agent", err, api.CodeNotFound, "name")
	_, err = w.catalog.Resolve(t.Context(), "", "nosuch")
	refused(t, "no agent", err, api.CodeNotFound, "name")
}

package hub_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

func cluster(name string) api.Cluster {
	return api.Cluster{Name: name, Labels: map[string]string{"cloud": name}, Taints: []api.Taint{{Key: "k", Effect: api.EffectNoSchedule}}}
}

func (w *world) register(name string) (api.Cluster, hub.JoinSecret) {
	w.t.Helper()
	c, secret, err := w.fleet.Register(w.t.Context(), cluster(name), 0, false, "")
	must(w.t, err)
	return c, secret
}

func TestRegisterMakesAClusterOnce(t *testing.T) {
	w := newWorld(t)
	dry, none, err := w.fleet.Register(t.Context(), cluster("a"), 0, true, "")
	if err != nil || dry.ID != "" || none != (hub.JoinSecret{}) {
		t.Errorf("dry run: %v %v, %v", dry, none, err)
	}
	_, err = w.fleet.Cluster(t.Context(), "", "a")
	refused(t, "after the dry run", err, api.CodeNotFound, "name")

	c, secret := w.register("a")
	want := api.Cluster{
		ID: c.ID, Org: api.DefaultOrg, Name: "a", Labels: map[string]string{"cloud": "a"}, Taints: []api.Taint{{Key: "k", Effect: api.EffectNoSchedule}},
		Etag: c.Etag, CreatedAt: w.now(), UpdatedAt: w.now(), Status: api.ClusterStatus{Health: api.HealthPending},
	}
	if d := cmp.Diff(want, c); d != "" || c.ID == "" || c.Etag == "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if len(secret.Secret) != 43 || !secret.ExpiresAt.Equal(w.now().Add(time.Hour)) {
		t.Errorf("the secret is %v", secret)
	}
	_, other := w.register("b")
	if other.Secret == secret.Secret {
		t.Error("two clusters have one secret")
	}
	for _, dry := range []bool{true, false} {
		_, _, err = w.fleet.Register(t.Context(), cluster("a"), 0, dry, "again")
		refused(t, "the name again", err, api.CodeExists, "name")
	}
	for lifetime, ok := range map[time.Duration]bool{time.Minute: true, 24 * time.Hour: true, time.Minute - 1: false, 24*time.Hour + 1: false, -1: false} {
		_, _, err := w.fleet.Register(t.Context(), cluster("c"), lifetime, true, "")
		if ok {
			must(t, err)
		} else {
			refused(t, lifetime.String(), err, api.CodeInvalid, "token_lifetime")
		}
	}
	for _, f := range []func() (api.Cluster, error){
		func() (api.Cluster, error) { return w.fleet.Cluster(t.Context(), "", "a") },
		func() (api.Cluster, error) { return w.fleet.ByID(t.Context(), c.ID) },
	} {
		if got, err := f(); err != nil || cmp.Diff(c, got) != "" {
			t.Errorf("read: %v, %v", got, err)
		}
	}
	_, err = w.fleet.ByID(t.Context(), "01JDBZ0000000000000000000A")
	refused(t, "an unknown id", err, api.CodeNotFound, "")
	names, err := w.fleet.Names(t.Context(), api.DefaultOrg)
	if err != nil || len(names) != 2 || names[c.ID] != "a" {
		t.Errorf("names are %v, %v", names, err)
	}
}

func TestUpdateReplacesWhatIsDeclared(t *testing.T) {
	w := newWorld(t)
	c, _ := w.register("a")
	update := func(c api.Cluster, dry bool) (api.Cluster, hub.WriteOutcome) {
		t.Helper()
		got, outcome, err := w.fleet.Update(t.Context(), c, dry)
		must(t, err)
		return got, outcome
	}
	if got, outcome := update(c, false); outcome != hub.Unchanged || got.Etag != c.Etag {
		t.Errorf("nothing new: %s %v", outcome, got)
	}
	w.pass(time.Minute)
	next := cluster("a")
	next.Cordoned, next.Taints = true, nil
	if got, outcome := update(next, true); outcome != hub.Updated || !got.Cordoned || got.Etag != c.Etag {
		t.Errorf("dry run: %s %v", outcome, got)
	}
	if got, err := w.fleet.Cluster(t.Context(), "", "a"); err != nil || got.Cordoned {
		t.Errorf("after the dry run: %v, %v", got, err)
	}
	got, outcome := update(next, false)
	if outcome != hub.Updated || !got.Cordoned || len(got.Taints) != 0 || got.ID != c.ID || got.Etag == c.Etag || !got.CreatedAt.Equal(c.CreatedAt) || !got.UpdatedAt.Equal(w.now()) {
		t.Errorf("update: %s %v", outcome, got)
	}
	next.Cordoned, next.Etag = false, c.Etag
	_, _, err := w.fleet.Update(t.Context(), next, false)
	refused(t, "an old etag", err, api.CodeConflict, "etag")
	_, _, err = w.fleet.Update(t.Context(), cluster("nosuch"), false)
	refused(t, "no cluster", err, api.CodeNotFound, "name")
}

func TestDeleteWaitsForSessions(t *testing.T) {
	w := newWorld(t)
	c, secret := w.register("a")
	spoke := newSpoke(t, c.ID, secret)
	_, err := w.fleet.Enroll(t.Context(), spoke.request())
	must(t, err)
	c, err = w.fleet.ByID(t.Context(), c.ID)
	must(t, err)
	w.sessions[c.ID] = 3
	refused(t, "with sessions", w.fleet.Delete(t.Context(), "", "a", "", false), api.CodeInUse, "")
	w.sessions[c.ID] = 0
	must(t, w.fleet.Delete(t.Context(), "", "a", c.Etag, true))
	refused(t, "an old etag", w.fleet.Delete(t.Context(), "", "a", "1", false), api.CodeConflict, "etag")
	if !w.overlay.has(c.Identity) {
		t.Fatal("a refused delete took the identity away")
	}
	must(t, w.fleet.Delete(t.Context(), "", "a", c.Etag, false))
	if w.overlay.has(c.Identity) {
		t.Error("the identity of the deleted cluster works still")
	}
	refused(t, "twice", w.fleet.Delete(t.Context(), "", "a", "", false), api.CodeNotFound, "name")
	_, err = w.fleet.Enroll(t.Context(), spoke.request())
	refused(t, "enrolling into a deleted cluster", err, api.CodeDenied, "join_token")
	w.register("a") // the name is free again
}

func TestClusterListsAreComplete(t *testing.T) {
	w := newWorld(t)
	for _, n := range []string{"d", "b", "e", "a", "c"} {
		w.register(n)
	}
	var names []string
	for token := ""; ; {
		cs, next, err := w.fleet.List(t.Context(), "", "cloud!=c", 2, token)
		must(t, err)
		for _, c := range cs {
			names = append(names, c.Name)
		}
		if token = next; token == "" {
			break
		}
	}
	if d := cmp.Diff([]string{"a", "b", "d", "e"}, names); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

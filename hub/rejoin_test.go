package hub_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

func TestRejoin(t *testing.T) {
	w := newWorld(t)
	c, secret := w.register("a")
	_, err := w.fleet.Enroll(t.Context(), newSpoke(t, c.ID, secret).request())
	must(t, err)
	w.assigned = []hub.AssignedSession{{ID: "one", StopAfter: 20 * time.Second}, {ID: "two", StopAfter: time.Hour}, {ID: "three", StopAfter: 8 * time.Second}}
	fence := time.Hour - 10*time.Second + time.Second + 3*time.Minute // the longest, by the default lease

	for _, bad := range []struct {
		field, name, force string
		lifetime           time.Duration
		code               api.Code
	}{
		{"name", "Not A Name", "", 0, api.CodeInvalid}, {"name", "nosuch", "", 0, api.CodeNotFound}, {"force", "a", "b", 0, api.CodeInvalid},
		{"token_lifetime", "a", "", time.Second, api.CodeInvalid}, {"token_lifetime", "a", "", 25 * time.Hour, api.CodeInvalid},
	} {
		before := w.everything()
		_, _, _, err := w.fleet.Rejoin(t.Context(), "", bad.name, bad.lifetime, bad.force, false)
		refused(t, bad.name+bad.force, err, bad.code, bad.field)
		if w.everything() != before {
			t.Errorf("a refused rejoin of %q changed something", bad.name)
		}
	}
	before := w.everything()
	got, none, wait, err := w.fleet.Rejoin(t.Context(), "", "a", 0, "", true)
	if err != nil || none.Secret != "" || got.Fence != fence || wait != fence+10*time.Second || w.everything() != before || len(w.revoked) != 0 {
		t.Errorf("a dry run: fence %v, wait %v, %v, revoked %v", got.Fence, wait, err, w.revoked)
	}
	got, next, _, err := w.fleet.Rejoin(t.Context(), "", "a", 2*time.Minute, "", false)
	if err != nil || got.Fence != fence || got.Identity != "" || len(next.Secret) != 43 || !next.ExpiresAt.Equal(w.now().Add(2*time.Minute)) {
		t.Errorf("a rejoin: %+v %v, %v", got, next, err)
	}
	if w.overlay.has("identity-1") || len(w.revoked) != 1 || !strings.Contains(w.revoked[0], string(c.ID)) {
		t.Errorf("the overlay has %v, told were %v", w.overlay.identities, w.revoked)
	}
	// Again, before the new spoke came: what had to be waited for still has to be, though nothing is assigned any more.
	w.assigned = nil
	again, latest, _, err := w.fleet.Rejoin(t.Context(), "", "a", 0, "", false)
	if err != nil || again.Fence != fence {
		t.Errorf("again: %+v, %v", again, err)
	}
	_, err = w.fleet.Enroll(t.Context(), newSpoke(t, c.ID, next).request())
	refused(t, "the token before", err, api.CodeDenied, "join_token")
	_, err = w.fleet.Enroll(t.Context(), newSpoke(t, c.ID, latest).request())
	must(t, err)
	if stored, err := w.fleet.ByID(t.Context(), c.ID); err != nil || stored.Fence != fence || stored.Identity != "identity-2" {
		t.Errorf("enrolled: %+v, %v", stored, err)
	}
	// One that never had a spoke needs no fence.
	_, _ = w.register("fresh")
	got, _, wait, err = w.fleet.Rejoin(t.Context(), "", "fresh", 0, "", false)
	if err != nil || got.Fence != 0 || wait != 0 {
		t.Errorf("a cluster without a spoke: fence %v, wait %v, %v", got.Fence, wait, err)
	}
}

// Sessions that never stop by themselves are listed, all of them up to a bound.
func TestRejoinListsWhatNeverStops(t *testing.T) {
	w := newWorld(t)
	w.register("a")
	for n := range 25 {
		w.assigned = append(w.assigned, hub.AssignedSession{ID: api.SessionID(fmt.Sprintf("s%02d", n)), StopAfter: api.StopNever})
	}
	w.assigned = append(w.assigned, hub.AssignedSession{ID: "stops", StopAfter: time.Minute})
	_, _, _, err := w.fleet.Rejoin(t.Context(), "", "a", 0, "", true)
	refused(t, "without force", err, api.CodeInUse, "force")
	text := fmt.Sprint(err)
	for _, want := range []string{"s00", "s19", "5 more", "\"a\""} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in %s", want, text)
		}
	}
	if strings.Contains(text, "stops") {
		t.Errorf("a session that stops by itself is listed: %s", text)
	}
	c, _, _, err := w.fleet.Rejoin(t.Context(), "", "a", 0, "a", true)
	if want := time.Minute - 10*time.Second + time.Second + 3*time.Second; err != nil || c.Fence != want {
		t.Errorf("forced: fence %v, %v, want %v for those that do stop", c.Fence, err, want)
	}
}

// A session that never stops and is assigned while its cluster is revoked is found too: there is no secret without force.
func TestRejoinCountsAgain(t *testing.T) {
	w := newWorld(t)
	c, _ := w.register("a")
	calls := 0
	f, err := hub.NewFleet(hub.FleetConfig{Store: w.store, Overlay: w.overlay, Status: w.status, Now: w.now, Service: "nave-hub", NewID: func() api.ClusterID { return api.ClusterID(newULID()) },
		Assigned: func(_ context.Context, id api.ClusterID) ([]hub.AssignedSession, error) {
			if calls++; calls == 1 || id != c.ID {
				return nil, nil
			}
			return []hub.AssignedSession{{ID: "late", StopAfter: api.StopNever}}, nil
		}})
	must(t, err)
	_, secret, _, err := f.Rejoin(t.Context(), "", "a", 0, "", false)
	refused(t, "a late session", err, api.CodeInUse, "force")
	if secret.Secret != "" {
		t.Error("there is a secret")
	}
}

// Names come from what the replica knows, when it knows the clusters.
func TestNamesAreNotReadEachTime(t *testing.T) {
	w := newWorld(t)
	c, _ := w.register("a")
	known := false
	f, err := hub.NewFleet(hub.FleetConfig{Store: w.store, Overlay: w.overlay, Status: w.status, Service: "nave-hub", NewID: func() api.ClusterID { return api.ClusterID(newULID()) },
		Members: func() ([]api.Cluster, bool) {
			return []api.Cluster{{ID: c.ID, Org: api.DefaultOrg, Name: "known"}, {ID: "x", Org: "other"}}, known
		}})
	must(t, err)
	for _, want := range []string{"a", "known"} {
		names, err := f.Names(t.Context(), api.DefaultOrg)
		if err != nil || len(names) != 1 || names[c.ID] != want {
			t.Errorf("names are %v, %v, want %s", names, err, want)
		}
		known = true
	}
}

// An agent that could be stopped before anybody can tell that its cluster is lost is refused with the numbers.
func TestStopAfterIsComparedWithTheLease(t *testing.T) {
	w := newWorld(t)
	var err error
	w.catalog, err = hub.NewCatalog(hub.CatalogConfig{Store: w.store, LeaseTTL: time.Minute, NewID: func() api.ObjectID { return api.ObjectID(newULID()) }})
	must(t, err)
	_, _, err = w.catalog.Put(t.Context(), hub.PutRequest{Definition: environment("e", "")})
	must(t, err)
	for stop, ok := range map[time.Duration]bool{63 * time.Second: true, 63*time.Second - 1: false, 0: false, time.Hour: true, api.StopNever: true} {
		d := agent("a", "e", "")
		d.Spec.(*api.AgentSpec).StopAfter = stop
		_, _, err := w.catalog.Put(t.Context(), hub.PutRequest{Definition: d, DryRun: true})
		if ok {
			must(t, err)
			continue
		}
		refused(t, stop.String(), err, api.CodeInvalid, "spec.stop_after")
		if !strings.Contains(fmt.Sprint(err), "1m3s") || !strings.Contains(fmt.Sprint(err), "1m0s") {
			t.Errorf("the numbers are missing: %v", err)
		}
	}
}

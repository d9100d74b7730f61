package hub

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

// smallStore has clusters and leases in memory. The other ports of it are not to be called.
type smallStore struct {
	ShardStore
	Archive
	Reader
	Bucket
	Resolver

	mu       sync.Mutex
	clusters []api.Cluster
	holders  map[api.ClusterID]LeaseHolder
	away     error
	reads    int
}

// Limits implements hub.ShardStore.
func (*smallStore) Limits() CommitLimits { return CommitLimits{Ops: 128, Bytes: 1 << 20} }

func (s *smallStore) list() ([]api.Cluster, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	return append([]api.Cluster(nil), s.clusters...), s.away
}

func (s *smallStore) Take(_ context.Context, c api.ClusterID, h LeaseHolder, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holders[c] = h
	return s.away
}

func (s *smallStore) Renew(context.Context, api.ClusterID, string) error { return nil }

func (s *smallStore) Holders(context.Context) (map[api.ClusterID]LeaseHolder, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[api.ClusterID]LeaseHolder{}
	for c, h := range s.holders {
		out[c] = h
	}
	return out, s.away
}

// uncalled has the methods that are not to be called.
type uncalled struct{ Clusters }

// registry makes the store's clusters a port.
type registry struct {
	uncalled
	s *smallStore
}

func (r registry) Clusters(context.Context) ([]api.Cluster, error) { return r.s.list() }

// fleetWorld is a hub whose shards do not run, with a clock of its own.
type fleetWorld struct {
	t     *testing.T
	store *smallStore
	h     *Hub
	at    time.Duration
}

const smallLease = 10 * time.Second

func newFleetWorld(t *testing.T, clusters ...api.Cluster) *fleetWorld {
	t.Helper()
	w := &fleetWorld{t: t, store: &smallStore{clusters: clusters, holders: map[api.ClusterID]LeaseHolder{}}, at: 1000 * time.Second}
	h, err := New(Config{Shards: w.store, Archive: w.store, Reader: w.store, Clusters: registry{s: w.store}, Leases: w.store, Bucket: w.store, Resolver: w.store,
		LeaseTTL: smallLease, Clock: func() time.Duration { return w.at }})
	if err != nil {
		t.Fatal(err)
	}
	w.h = h
	return w
}

func (w *fleetWorld) look() {
	w.t.Helper()
	if err := w.h.fleet.refresh(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// pass lets time go by with a look every second, the last one at its end.
func (w *fleetWorld) pass(d time.Duration) {
	w.t.Helper()
	for end := w.at + d; w.at < end; {
		w.at += min(time.Second, end-w.at)
		w.look()
	}
}

func (w *fleetWorld) lost(want time.Duration) {
	w.t.Helper()
	if got := w.h.lostFor("c"); got != want {
		w.t.Errorf("at %v the lease is gone for %v, want %v", w.at, got, want)
	}
}

// inboxes empties the inboxes of all shards and counts what was in them.
func (w *fleetWorld) inboxes() (lost, fences, facts, resyncs int) {
	for _, l := range w.h.loops {
		for len(l.inbox) > 0 {
			switch (<-l.inbox).(type) {
			case evHealth:
				lost++
			case evFence:
				fences++
			case evFacts:
				facts++
			case evResync:
				resyncs++
			}
		}
	}
	return lost, fences, facts, resyncs
}

func TestTheFenceClock(t *testing.T) {
	w := newFleetWorld(t, api.Cluster{ID: "c", Identity: "i", Etag: "1"})
	w.lost(0)
	w.look() // it begins with the first look of the process, whatever was before
	w.lost(0)
	w.pass(5 * time.Second)
	w.lost(5 * time.Second)
	w.store.holders["c"] = LeaseHolder{Boot: "b"}
	w.pass(time.Second)
	w.lost(0)
	delete(w.store.holders, "c")
	w.pass(time.Second)
	w.lost(0)
	w.pass(20 * time.Second)
	w.lost(20 * time.Second)

	// What nobody looked at does not count, and a gap as long as a lease may have hidden one.
	w.store.away = errors.New("away")
	w.at += smallLease - 2*time.Second
	if err := w.h.fleet.refresh(t.Context()); err == nil {
		t.Error("a look without an answer succeeded")
	}
	w.lost(20 * time.Second)
	w.store.away = nil
	w.pass(time.Second)
	w.lost(29 * time.Second)
	w.at += smallLease
	w.look()
	w.lost(0)
	w.pass(3 * time.Second)
	w.lost(3 * time.Second)

	// A heartbeat that was answered ends it at once.
	w.h.fleet.mu.Lock()
	w.h.fleet.members["c"].hear()
	w.h.fleet.mu.Unlock()
	w.lost(0)
	if got := w.h.lostFor("unknown"); got != 0 {
		t.Errorf("an unknown cluster is gone for %v", got)
	}
}

// Every shard is told once that a cluster is lost; then those that have sessions there and do not know it, and for how long
// it is gone those that have sessions there.
func TestWhoIsToldOfALostCluster(t *testing.T) {
	w := newFleetWorld(t, api.Cluster{ID: "c", Identity: "i", Etag: "1"}, api.Cluster{ID: "pending", Etag: "1"})
	there := map[api.ClusterID]bool{"c": true}
	w.h.loops[7].census.Store(&census{assigned: there})
	w.h.loops[9].census.Store(&census{assigned: there, unaware: there})
	w.look()
	w.h.fleet.tellLost(t.Context())
	if lost, fences, _, _ := w.inboxes(); lost != api.Shards || fences != 2 {
		t.Errorf("the first time %d shards are told, %d fences: want %d and 2", lost, fences, api.Shards)
	}
	w.pass(time.Second)
	w.h.fleet.tellLost(t.Context())
	if ev, ok := (<-w.h.loops[7].inbox).(evFence); !ok || ev.cluster != "c" || ev.gone != time.Second {
		t.Errorf("shard 7 is told %+v", ev)
	}
	if lost, fences, _, _ := w.inboxes(); lost != 1 || fences != 1 {
		t.Errorf("the second time %d shards are told, and %d more fences: want shard 9 alone", lost, fences)
	}
	// A shard that is loaded meanwhile has sessions there which it believes to be well.
	w.h.loops[30].census.Store(&census{assigned: there, unaware: there})
	w.h.fleet.tellLost(t.Context())
	if ev, ok := (<-w.h.loops[30].inbox).(evHealth); !ok || ev.cluster != "c" || ev.health != api.HealthLost {
		t.Errorf("shard 30 is told %+v", ev)
	}
	w.inboxes()

	// One that attaches just now is told of by its link alone.
	unlock, err := w.h.fleet.inOrder(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	w.h.fleet.tellLost(t.Context())
	if lost, fences, _, _ := w.inboxes(); lost+fences != 0 {
		t.Errorf("%d and %d words of a cluster whose spoke attaches", lost, fences)
	}
	w.h.fleet.attach(&Attachment{h: w.h, cluster: "c", mail: newMailbox(1)}, api.Hello{})
	unlock()
	w.h.fleet.tellOf(t.Context(), silence{"c", true})
	if lost, fences, _, _ := w.inboxes(); lost+fences != 0 {
		t.Errorf("%d and %d words of a cluster that is back", lost, fences)
	}
}

// A shard whose inbox is full holds nobody up, and is told when it has room.
func TestABusyShardIsToldLater(t *testing.T) {
	w := newFleetWorld(t)
	for range inboxSize {
		w.h.loops[3].inbox <- evFacts{}
	}
	began := time.Now()
	w.h.fleet.changed()
	w.h.fleet.tell(t.Context(), false)
	if d := time.Since(began); d > 20*tellWithin {
		t.Errorf("telling took %v", d)
	}
	if _, _, facts, _ := w.inboxes(); facts != inboxSize+api.Shards-1 {
		t.Errorf("%d facts, want one for each shard but the busy one", facts)
	}
	w.h.fleet.tell(t.Context(), false)
	if _, _, facts, _ := w.inboxes(); facts != 1 {
		t.Errorf("%d facts, want one for the shard that was busy", facts)
	}
}

// A storm of spokes that come back is one look at the store, not one each.
func TestLooksAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFleetWorld(t, api.Cluster{ID: "c", Identity: "i", Etag: "1"})
		w.h.fleet.looks <- struct{}{} // a look is under way
		tasks := run.NewGroup(t.Context())
		for range 50 {
			tasks.Go("spoke", func(ctx context.Context) error {
				if _, err := w.h.fleet.identify(ctx, "stranger"); err == nil || !strings.Contains(err.Error(), "belongs to no cluster") {
					t.Errorf("a stranger is told %v", err)
				}
				return nil
			})
		}
		synctest.Wait()
		time.Sleep(time.Millisecond)
		<-w.h.fleet.looks
		if err := tasks.Wait(); err != nil {
			t.Fatal(err)
		}
		if w.store.reads != 1 {
			t.Errorf("%d looks for 50 spokes that came together", w.store.reads)
		}
	})
}

// Every shard says everything on every link again, each at its own time.
func TestShardsSayEverythingAgain(t *testing.T) {
	w := newFleetWorld(t, api.Cluster{ID: "c", Identity: "i", Etag: "1"})
	a := &Attachment{h: w.h, cluster: "c", mail: newMailbox(1)}
	w.look()
	w.h.fleet.attach(a, api.Hello{})
	least, most := time.Now(), time.Now()
	for _, seconds := range a.again.at {
		at := a.again.from.Add(time.Duration(seconds) * time.Second)
		if d := time.Until(at); d < 4*time.Minute+50*time.Second || d > 10*time.Minute+time.Second {
			t.Fatalf("a shard says everything again after %v", d)
		}
		if least.Equal(most) || at.Before(least) {
			least = at
		}
		if at.After(most) {
			most = at
		}
	}
	if most.Sub(least) < 4*time.Minute {
		t.Errorf("all within %v: no jitter", most.Sub(least))
	}
	w.h.fleet.repeat()
	if _, _, _, resyncs := w.inboxes(); resyncs != 0 {
		t.Errorf("%d shards before their time", resyncs)
	}
	a.again.from = a.again.from.Add(-time.Hour) // the link is that old
	for i := range a.again.at {
		a.again.at[i] += 3600
	}
	a.again.at[4], a.again.at[200] = 3600, 3600
	w.h.fleet.repeat()
	w.h.fleet.repeat()
	if _, _, _, resyncs := w.inboxes(); resyncs != 2 {
		t.Errorf("%d shards, want 2, once", resyncs)
	}
	if next := a.again.at[4]; next < 3600+300 || next > 3600+602 {
		t.Errorf("after an hour a shard says everything again %d s after the link began", next)
	}
}

// An identity that is no cluster's any more is told why, and its link ends.
func TestFormerIdentitiesAreToldWhy(t *testing.T) {
	w := newFleetWorld(t, api.Cluster{ID: "c", Identity: "i", Etag: "1"}, api.Cluster{ID: "d", Identity: "j", Etag: "1"})
	w.look()
	links := map[api.ClusterID]*Attachment{}
	for _, id := range []api.ClusterID{"c", "d"} {
		a := &Attachment{h: w.h, cluster: id, mail: newMailbox(1)}
		a.ctx, a.cancel = context.WithCancelCause(t.Context())
		w.h.fleet.attach(a, api.Hello{})
		links[id] = a
	}
	w.store.clusters = []api.Cluster{{ID: "c", Identity: "new", Etag: "2"}}
	w.look()
	for id, want := range map[api.ClusterID]string{"c": "rejoins", "d": "the cluster was removed"} {
		identity := map[api.ClusterID]string{"c": "i", "d": "j"}[id]
		_, err := w.h.fleet.identify(t.Context(), identity)
		if api.CodeOf(err) != api.CodeDenied || !strings.Contains(err.Error(), want) {
			t.Errorf("the former spoke of %s is told %v", id, err)
		}
		if err := links[id].reason(); api.CodeOf(err) != api.CodeDenied || !strings.Contains(err.Error(), want) {
			t.Errorf("the link of %s ended with %v", id, err)
		}
	}
	if c, err := w.h.fleet.identify(t.Context(), "new"); err != nil || c.ID != "c" {
		t.Errorf("the new spoke is of %v, %v", c.ID, err)
	}
}

func TestTheConfigurationIsChecked(t *testing.T) {
	s := &smallStore{}
	whole := func() Config {
		return Config{Shards: s, Archive: s, Reader: s, Clusters: registry{s: s}, Leases: s, Bucket: s, Resolver: s}
	}
	h, err := New(whole())
	if err != nil || h.cfg.LeaseTTL != 10*time.Second || h.cfg.Beat != 2*time.Second {
		t.Errorf("defaults: %v %v, %v", h.cfg.LeaseTTL, h.cfg.Beat, err)
	}
	for _, c := range []struct {
		field string
		with  func(*Config)
	}{
		{"", func(c *Config) { c.LeaseTTL = 3 * time.Second }},
		{"", func(c *Config) { c.LeaseTTL = time.Hour }},
		{"", func(c *Config) { c.LeaseTTL, c.Beat = 5*time.Second, 2*time.Second }},
		{"lease", func(c *Config) { c.LeaseTTL = 3*time.Second - 1 }},
		{"lease", func(c *Config) { c.LeaseTTL = time.Hour + 1 }},
		{"beat", func(c *Config) { c.LeaseTTL, c.Beat = 5*time.Second, 2*time.Second+1 }},
		{"beat", func(c *Config) { c.Beat = -1 }},
		{"resync", func(c *Config) { c.Resync = time.Second - 1 }},
	} {
		cfg := whole()
		c.with(&cfg)
		h, err := New(cfg)
		if api.FieldOf(err) != c.field || (c.field == "") != (err == nil) {
			t.Errorf("%+v: %v, want an error of %q", cfg.LeaseTTL, err, c.field)
		}
		if err == nil && cfg.Beat == 0 && h.cfg.Beat != cfg.LeaseTTL/5 {
			t.Errorf("a lease of %v has beats of %v", cfg.LeaseTTL, h.cfg.Beat)
		}
	}
	lacking := whole()
	lacking.Leases = nil
	if _, err := New(lacking); err == nil {
		t.Error("a hub without leases was made")
	}
}

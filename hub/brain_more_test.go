package hub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

// values reads the metrics by name and label values.
func values(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	must(t, err)
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			out[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

func TestMetricsSayWhatHappened(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	r := prometheus.NewRegistry()
	b := w.start(func(c *hub.Config) { c.Metrics = r })
	waits := b.accept("bob", "k", "x") // nobody is there yet
	eventually(t, "it waits with a reason", func() string {
		v, err := b.Session(t.Context(), api.DefaultOrg, waits.Session)
		if err != nil || v.Reason == "" {
			return fmt.Sprintf("%s %q, %v", v.Phase, v.Reason, err)
		}
		return ""
	})
	b.accept("bob", "k", "x")
	_, err := b.signal("bob", "k", "y")
	refused(t, "another payload", err, api.CodeExists, "idempotency_key")
	s := b.attach("aws", 4)
	s.finish(waits.Session, 1)
	s.held(waits.Session, api.HeldGone, "")
	b.phase(waits.Session, api.PhaseDormant, 0)
	s.held(waits.Session, api.HeldGone, "") // of no assignment
	eventually(t, "the metrics", func() string {
		got := values(t, r)
		for name, want := range map[string]float64{"nave_hub_signals_total accepted": 1, "nave_hub_signals_total duplicate": 1, "nave_hub_signals_total exists": 1,
			"nave_hub_placements_total assigned": 1, "nave_hub_links": 1, "nave_hub_shards_owned": api.Shards, "nave_hub_shards_stuck": 0, "nave_hub_sessions Dormant": 1,
			"nave_hub_sessions Running": 0, "nave_hub_signals_pending": 0, "nave_hub_stale_reports_total": 1, "nave_hub_archived_events_total": 8} {
			if v, ok := got[name]; !ok || v != want {
				return fmt.Sprintf("%s is %v (%v), want %v %v", name, v, ok, want, types(w.log(waits.Session)))
			}
		}
		for _, name := range []string{"nave_hub_commit_batches", "nave_hub_commit_seconds ok", "nave_hub_archive_seconds ok", "nave_hub_placements_total waiting"} {
			if got[name] < 1 {
				return name + " counts nothing"
			}
		}
		if _, ok := got["nave_hub_queue shards"]; !ok {
			return "no queue depths"
		}
		return ""
	})
	if _, err := hub.New(hub.Config{Shards: w.shards, Archive: w.history, Reader: w.archive, Clusters: w.store, Leases: w.store, Resolver: w.catalog, Metrics: r}); err == nil {
		t.Error("two hubs share one registry")
	}
}

func TestAShardThatContradictsTheArchiveIsNamed(t *testing.T) {
	w := newBrains(t)
	b := w.start()
	w.history.after(func([]hub.Append) error {
		return api.Errorf(api.CodeInternal, "event 1 is there with another content")
	})
	a := b.accept("alice", "", "x")
	shard, err := a.Session.Shard()
	must(t, err)
	eventually(t, "the shard is named", func() string {
		if err := b.Ready(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("the first is %d: ", shard)) {
			return fmt.Sprint(err)
		}
		return ""
	})
	w.history.after(nil)
	must(t, b.stop())
	b = w.start() // a restart reads what is there
	if n := w.count(a.Session, api.EventAccepted); n != 1 {
		t.Errorf("%d accepted", n)
	}
}

// The archive answers, which takes the key out of memory, in the same turn in which the key comes again.
func TestAKeyThatLeavesMemoryMeanwhileIsStillKnown(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	r := prometheus.NewRegistry()
	b := w.start(func(c *hub.Config) { c.Metrics = r })
	s := b.attach("aws", 4)
	first := b.accept("alice", "k", "x")
	shard, err := first.Session.Shard()
	must(t, err)
	d := s.gets(first.Session, 1)
	s.held(first.Session, api.HeldRunning, "")

	archived, answer := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.history.after(func(appends []hub.Append) error {
		for _, a := range appends {
			if slices.Contains(types(a.Events), api.EventTurnDone) {
				once.Do(func() { close(archived); <-answer })
			}
		}
		return nil
	})
	s.send(api.SpokeMessage{Events: []api.EventBatch{s.turn(d, api.OutcomeDone, 1)}})
	<-archived
	blocked, open := make(chan struct{}), make(chan struct{})
	var first1 sync.Once
	w.shards.set(func(batches []hub.Batch) fault {
		if slices.ContainsFunc(batches, func(x hub.Batch) bool { return x.Shard == shard }) {
			first1.Do(func() { close(blocked) })
			<-open
		}
		return none
	})
	g := run.NewGroup(t.Context())
	g.Go("holds the loop", func(context.Context) error { _, err := b.signal("alice", "", "y"); return err })
	<-blocked
	before := values(t, r)["nave_hub_queue shards"]
	close(answer)
	eventually(t, "the archive's answer waits for the shard", func() string {
		if n := values(t, r)["nave_hub_queue shards"]; n <= before {
			return fmt.Sprint(n)
		}
		return ""
	})
	queued := values(t, r)["nave_hub_queue shards"]
	g.Go("again", func(context.Context) error {
		a, err := b.signal("alice", "k", "x")
		if err == nil && (!a.Duplicate || a.Signal != first.Signal) {
			err = fmt.Errorf("P2: the key was used for %+v, now %+v", first, a)
		}
		return err
	})
	eventually(t, "the repeat waits too", func() string {
		if n := values(t, r)["nave_hub_queue shards"]; n <= queued {
			return fmt.Sprint(n)
		}
		return ""
	})
	close(open)
	must(t, g.Wait())
}

// A link that has just begun is told everything of a shard first: only that names the revisions.
func TestTheFirstWordOfAShardOnALinkNamesTheRevision(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 4)
	id := b.accept("alice", "", "x").Session
	s.gets(id, 1)
	for range 20 {
		s.close()
		g := run.NewGroup(t.Context())
		g.Go("signals", func(ctx context.Context) error {
			for ctx.Err() == nil {
				if _, err := b.signal("alice", "", "x"); err != nil {
					if api.CodeOf(err) == api.CodeLimit {
						return nil
					}
					return err
				}
			}
			return nil
		})
		s = b.attach("aws", 4)
		eventually(t, "told", func() string {
			if _, ok := s.want(id); !ok {
				return "nothing"
			}
			return ""
		})
		g.Stop()
		must(t, g.Wait())
		s.mu.Lock()
		if s.told[0].Revision == nil {
			t.Error("the first word names no revision: a spoke without memory of the session refuses it")
		}
		s.mu.Unlock()
	}
}

// The counts of a fleet are those of now, and without them nothing is deleted.
func TestAFleetCountsSessionsNow(t *testing.T) {
	w := newWorld(t)
	counts := map[api.ClusterID]int{}
	var failure error
	fleet, err := hub.NewFleet(hub.FleetConfig{Store: w.store, Overlay: w.overlay, Status: w.status, Now: w.now, Service: "nave-hub",
		NewID:    func() api.ClusterID { return api.ClusterID(newULID()) },
		Sessions: func(context.Context) (map[api.ClusterID]int, error) { return counts, failure }})
	must(t, err)
	c, _, err := fleet.Register(t.Context(), api.Cluster{Name: "aws"}, 0, false, "")
	must(t, err)
	w.sessions[c.ID] = 7 // what was seen a while ago
	counts[c.ID] = 2
	got, err := fleet.Cluster(t.Context(), "", "aws")
	must(t, err)
	all, _, err := fleet.List(t.Context(), "", "", 10, "")
	must(t, err)
	if got.Status.Sessions != 2 || len(all) != 1 || all[0].Status.Sessions != 2 {
		t.Errorf("counted %d and %+v, want 2", got.Status.Sessions, all)
	}
	refused(t, "delete", fleet.Delete(t.Context(), "", "aws", "", false), api.CodeInUse, "")
	counts, failure = nil, errors.New("shards are busy")
	refused(t, "delete without a count", fleet.Delete(t.Context(), "", "aws", "", false), api.CodeUnavailable, "")
	_, err = fleet.Cluster(t.Context(), "", "aws")
	refused(t, "read without a count", err, api.CodeUnavailable, "")
	failure = nil
	must(t, fleet.Delete(t.Context(), "", "aws", "", false))
}

package hub_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// reasons returns why the decisions of a session did not choose a cluster, newest first.
func (b *brain) reasons(id api.SessionID, c api.ClusterID) (out []api.Reason) {
	b.w.t.Helper()
	x, err := b.Explain(b.w.t.Context(), api.DefaultOrg, id, false)
	must(b.w.t, err)
	for _, d := range x.Decisions {
		for _, cand := range d.Candidates {
			if cand.Cluster == c {
				out = append(out, cand.Reason)
			}
		}
	}
	return out
}

func TestARefusedSessionIsPlacedElsewhere(t *testing.T) {
	w := newBrains(t)
	ids := map[string]api.ClusterID{"aws": w.cluster("aws"), "gcp": w.cluster("gcp")}
	b := w.start()
	spokes := map[string]*fakeSpoke{"aws": b.attach("aws", 4), "gcp": b.attach("gcp", 4)}
	a := b.accept("alice", "", "x")
	var first *fakeSpoke
	eventually(t, "placed", func() string {
		for _, s := range spokes {
			if _, ok := s.want(a.Session); ok {
				first = s
				return ""
			}
		}
		return "nowhere"
	})
	second := spokes["gcp"]
	if first == second {
		second = spokes["aws"]
	}
	first.held(a.Session, api.HeldRefused, "no room for flavor \"small\"")
	if d := second.gets(a.Session, 1); d.Epoch.N != 2 || d.Revision == nil {
		t.Errorf("placed again as %+v", d)
	}
	eventually(t, "the decision is explained", func() string {
		if r := b.reasons(a.Session, ids[first.name]); len(r) != 2 || r[0] != api.ReasonRefused || r[1] != "" {
			return fmt.Sprint(r)
		}
		return ""
	})
	// The former epoch is not believed any more.
	first.held(a.Session, api.HeldGone, "")
	second.finish(a.Session, 1)
	second.sleep(a.Session)
}

// A spoke that lost its memory refuses what may still run there: nothing is placed before it says that nothing is left.
func TestARefusalOfWhatMayRunIsReleasedFirst(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	w.cluster("gcp")
	b := w.start()
	s := b.attach("aws", 4)
	a := b.accept("alice", "", "x")
	s.gets(a.Session, 1)
	s.held(a.Session, api.HeldRunning, "")
	b.phase(a.Session, api.PhaseRunning, 1)
	other := b.attach("gcp", 4)
	s.held(a.Session, api.HeldRefused, "the spoke lost its memory of the session")
	s.released(a.Session)
	if v := b.phase(a.Session, api.PhaseStopping, 1); v.Assignment == nil || !strings.Contains(v.Reason, "lost its memory") {
		t.Errorf("%+v", v)
	}
	if _, ok := other.want(a.Session); ok {
		t.Error("placed elsewhere while it may run")
	}
	s.held(a.Session, api.HeldGone, "")
	other.gets(a.Session, 1)
}

func TestWithoutRoomASessionWaitsAndIsPlacedWhenRoomComes(t *testing.T) {
	w := newBrains(t)
	c := w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 1)
	one := b.accept("one", "", "x")
	s.gets(one.Session, 1)
	two := b.accept("two", "", "x")
	v := b.phase(two.Session, api.PhasePlacing, 1)
	eventually(t, "the reason is known", func() string {
		if v, _ = b.Session(t.Context(), api.DefaultOrg, two.Session); !strings.Contains(v.Reason, "capacity") {
			return v.Reason
		}
		return ""
	})
	eventually(t, "the decision is kept", func() string {
		if r := b.reasons(two.Session, c); len(r) != 1 || r[0] != api.ReasonCapacity {
			return fmt.Sprint(r)
		}
		return ""
	})
	full := capacity(1)
	full.Flavors[0].Used = 1
	s.held(one.Session, api.HeldAdmitted, "")
	s.send(api.SpokeMessage{Capacity: &full})
	room := capacity(2)
	room.Flavors[0].Used = 1
	s.send(api.SpokeMessage{Capacity: &room})
	s.gets(two.Session, 1)
	if n := w.count(two.Session, api.EventWaiting); n != 1 {
		t.Errorf("the log says %d times that it waits", n)
	}
}

func TestADefinitionThatChangesLetsWaitingSessionsTryAgain(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 4)
	large := environment("e", "")
	large.Spec.(*api.EnvironmentSpec).Flavor = "large"
	_, _, err := w.catalog.Put(t.Context(), hub.PutRequest{Definition: large})
	must(t, err)
	a := b.accept("alice", "", "x")
	eventually(t, "waits for the flavor", func() string {
		if v, _ := b.Session(t.Context(), api.DefaultOrg, a.Session); !strings.Contains(v.Reason, "flavor") {
			return v.Reason
		}
		return ""
	})
	_, _, err = w.catalog.Put(t.Context(), hub.PutRequest{Definition: environment("e", "")})
	must(t, err)
	s.gets(a.Session, 1)
}

// A cluster whose lease ran out gets nothing, although this replica had heard it a moment ago.
func TestNothingIsCommittedToAClusterThatIsNotAlive(t *testing.T) {
	w := newBrains(t)
	c := w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 1)
	var guarded atomic.Int32
	w.shards.set(func(batches []hub.Batch) fault {
		for _, batch := range batches {
			if len(batch.Alive) > 0 && guarded.Add(1) == 1 {
				if err := w.deadLease(c); err != nil {
					t.Error(err)
				}
			}
		}
		return none
	})
	a := b.accept("alice", "", "x")
	eventually(t, "the guard was asked", func() string {
		if guarded.Load() == 0 {
			return "not yet"
		}
		return ""
	})
	eventually(t, "the loss is seen", func() string {
		if h := b.Status(c).Health; h != api.HealthLost {
			return string(h)
		}
		return ""
	})
	v := b.phase(a.Session, api.PhasePlacing, 1)
	if v.Assignment != nil || v.Epoch.N != 0 {
		t.Errorf("an assignment to a cluster that is not alive: %+v", v)
	}
	if n := guarded.Load(); n > 3 {
		t.Errorf("%d placements on a cluster that is not alive: it is asked in a busy loop", n)
	}
	s.close()
	// The room that was kept for it is free: one place is enough when the cluster is back.
	s = b.attach("aws", 1)
	s.gets(a.Session, 1)
}

// deadLease takes the cluster's lease away, as if it had run out.
func (b *brains) deadLease(c api.ClusterID) error {
	all, err := b.store.Clusters(b.t.Context())
	if err != nil {
		return err
	}
	for _, x := range all {
		if x.ID == c { // the lease goes with the cluster, and the cluster comes back without it
			mark, err := b.store.Placements(b.t.Context(), c)
			if err != nil {
				return err
			}
			if err := b.store.DeleteCluster(b.t.Context(), c, x.Etag, mark); err != nil {
				return err
			}
			identity := x.Identity
			x.Etag, x.Identity = "", ""
			y, err := b.store.CreateCluster(b.t.Context(), x, api.JoinToken{Hash: [32]byte{9, 9}, Cluster: c, Org: x.Org})
			if err != nil {
				return err
			}
			y.Identity = identity
			_, err = b.store.UpdateCluster(b.t.Context(), y)
			return err
		}
	}
	return errors.New("no such cluster")
}

func TestAClusterThatIsNotHeardIsLostAndComesBack(t *testing.T) {
	w := newBrains(t)
	c := w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 4)
	a := b.accept("alice", "", "x")
	s.finish(a.Session, 1)
	report := s.report(a.Session, api.HeldRunning, "")
	s.close() // no more beats
	b.phase(a.Session, api.PhaseLost, 0)
	if h := b.Status(c).Health; h != api.HealthLost {
		t.Errorf("health %s", h)
	}
	waits := b.accept("bob", "", "x")
	b.phase(waits.Session, api.PhasePlacing, 1)
	s = b.attach("aws", 4, report)
	b.phase(a.Session, api.PhaseRunning, 0)
	s.gets(waits.Session, 1)
	s.sleepWith(a.Session, report)
}

// sleepWith is sleep for a session that the present link has not been told signals of.
func (s *fakeSpoke) sleepWith(id api.SessionID, h api.Held) {
	s.b.w.t.Helper()
	h.State = api.HeldIdle
	s.send(api.SpokeMessage{Held: []api.Held{h}})
	s.released(id)
	h.State = api.HeldGone
	s.send(api.SpokeMessage{Held: []api.Held{h}})
	s.b.phase(id, api.PhaseDormant, 0)
}

func TestALinkNeedsAKnownIdentityAndOneBoot(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	_, _, err := b.Attach(t.Context(), "stranger", b.hello("stranger", 1))
	refused(t, "an identity of no cluster", err, api.CodeDenied, "")
	old := b.hello("aws", 1)
	old.ProtocolMin, old.ProtocolMax = api.LinkProtocolMax+1, api.LinkProtocolMax+1
	_, _, err = b.Attach(t.Context(), "aws", old)
	refused(t, "a protocol that is too new", err, api.CodeUnsupported, "")
	empty := b.hello("aws", 1)
	empty.Journal = ""
	_, _, err = b.Attach(t.Context(), "aws", empty)
	refused(t, "no journal", err, api.CodeInvalid, "")
	s := b.attach("aws", 1)
	other := b.hello("aws", 1)
	other.Boot, other.Journal = "other", "other"
	_, _, err = b.Attach(t.Context(), "aws", other)
	refused(t, "a second spoke", err, api.CodeConflict, "")
	again := b.attach("aws", 1) // the same boot dials anew: the former link ends
	eventually(t, "the former link ended", func() string {
		if s.ending() == nil {
			return "not yet"
		}
		return ""
	})
	if err := again.a.Beat(t.Context()); err != nil || again.ending() != nil {
		t.Errorf("the new link: %v, %v", err, again.ending())
	}
}

func TestAGapEndsTheLink(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 1)
	a := b.accept("alice", "", "x")
	d := s.gets(a.Session, 1)
	s.held(a.Session, api.HeldRunning, "")
	batch := s.turn(d, api.OutcomeDone, 1)
	batch.Events = batch.Events[1:]
	s.send(api.SpokeMessage{Events: []api.EventBatch{batch}})
	eventually(t, "the link ended", func() string {
		if err := s.ending(); err == nil || !strings.Contains(err.Error(), "event 2 after 0") {
			return fmt.Sprint(err)
		}
		return ""
	})
	b.phase(a.Session, api.PhaseRunning, 1)
}

package hub_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// clusterFact returns what is known of one cluster, without what depends on the time.
func clusterFact(f hub.StatusFacts, name string) hub.ClusterFact {
	for _, c := range f.Clusters {
		if c.Name == name {
			c.Heard, c.LostFor = time.Time{}, 0
			return c
		}
	}
	return hub.ClusterFact{}
}

func TestFactsOfAStatus(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	w.cluster("away")
	b := w.start()
	s := b.attach("aws", 2)
	facts := func() hub.StatusFacts { return b.Facts(t.Context(), api.DefaultOrg) }

	// One that runs and loses a signal, one whose starts fail, and two that find no room.
	dies := b.accept("dies", "", "x")
	d := s.gets(dies.Session, 1)
	s.held(dies.Session, api.HeldRunning, "")
	fails := b.accept("fails", "", "x").Session
	s.gets(fails, 1)
	h := s.report(fails, api.HeldAdmitted, "no such program")
	h.StartFailures = api.MaxStartFailures
	full := capacity(2)
	full.Flavors[0].Used = 2
	s.send(api.SpokeMessage{Held: []api.Held{h}, Capacity: &full})
	s.released(fails)
	s.held(fails, api.HeldGone, "")
	b.phase(fails, api.PhaseDormant, 1)
	waits := []api.SessionID{b.accept("waits", "", "x").Session, b.accept("waits too", "", "x").Session}
	src, asked := api.Source{Epoch: d.Epoch, Attempt: 1}, time.Now().UTC()
	s.number[src] += 2
	s.send(api.SpokeMessage{Events: []api.EventBatch{{Session: dies.Session, Source: src, Events: []api.Event{
		{SourceNumber: 1, Type: api.EventTurn, Time: asked, Signals: []uint64{1}},
		{SourceNumber: 2, Type: api.EventAsked, Time: asked, Signals: []uint64{1}, Attributes: map[string]string{api.AttrFingerprint: "f", api.AttrTitle: "t",
			api.AttrApproval: string(api.NewApprovalID(dies.Session, 1, "f", 0)), api.AttrOptions: `[{"id":"y","name":"Yes","kind":"allow_once"}]`}}}}}})
	eventually(t, "the approval is open", func() string {
		if a := facts().Approvals; a == nil || a.Open != 1 || a.Oldest.Before(asked.Add(-time.Second)) || time.Until(a.Oldest) > 0 {
			return fmt.Sprint(a)
		}
		return ""
	})
	for range 2 {
		s.send(api.SpokeMessage{Events: []api.EventBatch{s.turn(d, api.OutcomeFailed, 1)}})
	}
	s.gets(dies.Session, 0)
	b.phase(waits[1], api.PhasePlacing, 1)

	eventually(t, "everything is counted", func() string {
		f := facts()
		lost := "no cluster: 1 excluded by health, 1 excluded by capacity"
		return cmp.Diff(hub.StatusFacts{
			Sessions: hub.SessionFacts{Phases: map[api.Phase]int{api.PhaseRunning: 1, api.PhaseDormant: 1, api.PhasePlacing: 2}, Pending: 3,
				Waiting: []hub.SessionGroup{{Reason: lost, Count: 2, Example: min(waits[0], waits[1])}},
				Failed:  hub.SessionGroup{Count: 1, Example: fails, Reason: f.Sessions.Failed.Reason}},
			Clusters:  []hub.ClusterFact{{Name: "aws", Health: api.HealthLive, Version: "test", Sessions: 1}, {Name: "away", Health: api.HealthLost}},
			Approvals: &hub.ApprovalFacts{}, // its signal is dead: it was withdrawn
			Dead:      hub.DeadFacts{Count: 1, Example: dies.Signal},
			Limit:     api.MaxPendingPerOrg,
		}, hub.StatusFacts{Sessions: f.Sessions, Clusters: []hub.ClusterFact{clusterFact(f, "aws"), clusterFact(f, "away")}, Approvals: f.Approvals, Dead: f.Dead, Limit: f.Limit})
	})
	if f := facts(); f.Counted != nil || f.Sessions.Failed.Reason == "" || len(f.Clusters) != 2 || time.Since(f.Now) > time.Minute {
		t.Errorf("%+v", f)
	}
	if f := b.Facts(t.Context(), "other"); len(f.Clusters) > 0 || f.Sessions.Pending > 0 || f.Dead.Count > 0 {
		t.Errorf("another organization sees %+v", f)
	}

	// What was sent again wants nobody's eye any more.
	again, err := b.Replay(t.Context(), api.DefaultOrg, dies.Signal, "test")
	must(t, err)
	if again.Session != dies.Session {
		t.Fatalf("replayed to %s", again.Session)
	}
	s.finish(dies.Session, 1)
	eventually(t, "the replayed one is not counted", func() string {
		if n := facts().Dead.Count; n != 0 {
			return "is"
		}
		return ""
	})

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if f := b.Facts(ended, api.DefaultOrg); f.Counted == nil || f.Dead.Err == nil || len(f.Clusters) != 2 {
		t.Errorf("without time to ask: %v, %v, %d clusters", f.Counted, f.Dead.Err, len(f.Clusters))
	}
}

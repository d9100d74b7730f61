package hub_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

func TestASecondOwnerTakesOver(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	old := w.start()
	a := old.accept("alice", "k", "x")
	settledBefore := old.accept("bob", "", "x")
	s := old.attach("aws", 4)
	s.finish(settledBefore.Session, 1)
	s.gets(a.Session, 1) // placed by the former owner: the successor has no link to place it over
	report := s.report(a.Session, api.HeldAdmitted, "")
	before := len(w.log(settledBefore.Session))

	next := w.start()
	// The former owner finds out at its next commit; whatever it is asked, it adds nothing.
	if _, err := old.signal("alice", "", "late"); err == nil {
		t.Error("the former owner accepted a signal")
	}
	<-old.done
	if err := old.stop(); err == nil || !strings.Contains(err.Error(), "another owner") {
		t.Errorf("the former owner ended with %v", err)
	}
	s.close()
	if v := next.phase(a.Session, api.PhaseStarting, 1); v.LastSequence != 1 {
		t.Errorf("the successor has %+v", v)
	}
	if r := next.accept("alice", "k", "x"); !r.Duplicate || r.Signal != a.Signal {
		t.Errorf("the key is not known to the successor: %+v", r)
	}
	s = next.attach("aws", 4, report)
	s.finish(a.Session, 1)
	s.sleep(a.Session)
	if after := len(w.log(settledBefore.Session)); after < before {
		t.Errorf("the log of another session shrank from %d to %d", before, after)
	}
	if n := w.count(a.Session, api.EventPlaced); n != 1 {
		t.Errorf("placed %d times", n)
	}
}

// An owner that dies between archive and store leaves signals there that are settled, and spokes without an answer.
func TestWhatWasArchivedAndNotAcknowledgedIsNotDoneTwice(t *testing.T) {
	for _, outcome := range []api.Outcome{api.OutcomeDone, api.OutcomeFailed} {
		t.Run(string(outcome), func(t *testing.T) {
			w := newBrains(t)
			w.cluster("aws")
			b := w.start()
			s := b.attach("aws", 4)
			a := b.accept("alice", "k", "x")
			d := s.gets(a.Session, 1)
			s.held(a.Session, api.HeldRunning, "")
			var archived atomic.Bool
			w.history.after(func(appends []hub.Append) error {
				for _, ap := range appends {
					for _, e := range ap.Events {
						if e.Type == api.EventTurnDone {
							archived.Store(true)
						}
					}
				}
				if archived.Load() {
					return api.Errorf(api.CodeUnavailable, "the owner dies before it hears that it is archived")
				}
				return nil
			})
			batch := s.turn(d, outcome, 1)
			s.send(api.SpokeMessage{Events: []api.EventBatch{batch}})
			eventually(t, "archived", func() string {
				if !archived.Load() {
					return "not yet"
				}
				return ""
			})
			report := s.report(a.Session, api.HeldRunning, "")
			must(t, b.stop())
			s.close()
			w.history.after(nil)

			b = w.start()
			left := 0
			if outcome == api.OutcomeFailed {
				left = 1
			}
			b.phase(a.Session, api.PhaseStarting, left)
			s2 := b.attach("aws", 4, report)
			s2.number = s.number
			s2.send(api.SpokeMessage{Events: []api.EventBatch{batch}}) // it goes up again
			s2.acks(batch.Source)
			b.phase(a.Session, api.PhaseRunning, left)
			if r := b.accept("alice", "k", "x"); !r.Duplicate || r.Signal != a.Signal {
				t.Errorf("the key is lost: %+v", r)
			}
			if left > 0 {
				eventually(t, "the failure counts once", func() string {
					if d, _ := s2.want(a.Session); len(d.Signals) != 1 || d.Signals[0].Deliveries != 1 {
						return fmt.Sprintf("%+v", d.Signals)
					}
					return ""
				})
				d, _ = s2.want(a.Session)
				s2.send(api.SpokeMessage{Events: []api.EventBatch{s2.turn(d, api.OutcomeDone, 1)}})
				s2.acks(batch.Source)
			}
			s2.sleepWith(a.Session, report)
			if n := w.count(a.Session, api.EventTurnDone); n != 1+left {
				t.Errorf("%d turn records", n)
			}
		})
	}
}

// What belongs to a former epoch is answered although memory keeps only the present one. What the log does not have is kept
// beside it and settles nothing; what no placement explains is not acknowledged.
func TestEventsOfAFormerEpochAreAcknowledgedWhenTheyAreKept(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 4)
	a := b.accept("alice", "", "x")
	d := s.gets(a.Session, 1)
	s.held(a.Session, api.HeldRunning, "")
	batch := s.turn(d, api.OutcomeDone, 1)
	s.send(api.SpokeMessage{Events: []api.EventBatch{batch}})
	s.acks(batch.Source)
	s.sleep(a.Session)
	b.accept("alice", "", "y")
	if d := s.gets(a.Session, 1); d.Epoch.N != 2 {
		t.Fatalf("epoch %v", d.Epoch)
	}
	s.close()

	s2 := b.attach("aws", 4) // the acknowledgement did not arrive
	s2.number = map[api.Source]uint64{batch.Source: 4}
	s2.send(api.SpokeMessage{Events: []api.EventBatch{batch}})
	s2.acks(batch.Source)
	late := s2.turn(d, api.OutcomeDone, 2) // numbers 5 to 8: the log does not have them
	s2.send(api.SpokeMessage{Events: []api.EventBatch{late}})
	s2.acks(batch.Source)
	side, _, err := w.archive.Side(t.Context(), api.DefaultOrg, a.Session, 0, 10)
	must(t, err)
	if len(side) != 4 || side[0].Event.SourceNumber != 5 {
		t.Errorf("beside the log: %+v, want events 5 to 8", side)
	}
	never := s2.turn(api.Desired{Session: a.Session, Epoch: api.Epoch{Incarnation: 1, N: 7}}, api.OutcomeDone, 2)
	s2.send(api.SpokeMessage{Events: []api.EventBatch{never}})
	s2.finish(a.Session, 1)
	s2.mu.Lock()
	defer s2.mu.Unlock()
	if n := s2.acked[never.Source]; n != 0 {
		t.Errorf("acknowledged up to %d of an epoch that was never placed: the spoke would forget what nobody has", n)
	}
	if n := w.count(a.Session, api.EventTurnDone); n != 2 {
		t.Errorf("%d turn records", n)
	}
}

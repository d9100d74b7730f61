package hub

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nave-dev/nave/api"
)

// check judges the promises by what is durable and by what spokes do. It knows them in another form than the machine does: it
// reads the logs.
func (w *shardWorld) check() error {
	if w.mem.broken != nil {
		return w.mem.broken
	}
	if len(w.cuts) > 0 {
		return fmt.Errorf("a link was ended: %v", w.cuts[0])
	}
	for id, a := range w.accepted {
		_, kept := w.mem.signals[SignalKey{a.Session, a.Sequence}]
		_, settled := w.mem.settled[id]
		if !kept && !settled {
			return fmt.Errorf("P1: signal %s was accepted and is nowhere", id)
		}
	}
	if err := w.checkKeys(); err != nil {
		return err
	}
	if err := w.checkReported(); err != nil {
		return err
	}
	for id, row := range w.mem.settled {
		l := w.read(row.Signal.Session)
		switch {
		case row.Outcome != settledDead && !l.covered[row.Signal.Sequence] && !(l.terminated && l.consumed[row.Signal.Sequence]):
			return fmt.Errorf("P3: signal %s is %s and no durable checkpoint covers a turn over it", id, row.Outcome)
		case row.Outcome == settledDead && l.failed[row.Signal.Sequence] < 2 && !(l.terminated && strings.HasPrefix(row.Reason, "the session was terminated")):
			return fmt.Errorf("P3: signal %s is dead after %d failures: %s", id, l.failed[row.Signal.Sequence], row.Reason)
		}
	}
	acts := map[api.SessionID]api.ClusterID{}
	for c, s := range w.spokes {
		for id, h := range s.sessions {
			if other, ok := acts[id]; ok && h.acts() {
				return fmt.Errorf("P4: session %s acts in %s and %s", id, other, c)
			} else if h.acts() {
				acts[id] = c
			}
			if a := w.mem.sessions[id].Assignment; h.acts() && (a == nil || a.Cluster != c || a.Epoch != h.epoch) {
				return fmt.Errorf("P4: session %s acts in %s at epoch %s, and its assignment is %+v", id, c, h.epoch, a)
			}
		}
	}
	for id, want := range w.wanted {
		s, there := w.mem.sessions[id]
		if _, over := w.mem.ended[id]; !there && !over || there && want == api.IntentTerminated && s.Intent != want || there && want == api.IntentPaused && s.Intent == api.IntentActive {
			return fmt.Errorf("session %s was answered to be %s, and is %s", id, want, s.Intent)
		}
		if want == api.IntentTerminated && s.Phase == api.PhaseRunning {
			return fmt.Errorf("session %s is terminated and runs", id)
		}
	}
	if err := w.checkApprovals(); err != nil {
		return err
	}
	if err := w.checkFates(); err != nil {
		return err
	}
	for id, s := range w.mem.sessions {
		if len(s.Checkpoints) > api.KeepCheckpoints {
			return fmt.Errorf("session %s keeps %d checkpoints", id, len(s.Checkpoints))
		}
		if a := s.Assignment; a != nil && a.Checkpoint != "" && !w.mem.bucket[a.Checkpoint] {
			return fmt.Errorf("session %s begins from a checkpoint that is nowhere", id)
		}
	}
	return nil
}

func (w *shardWorld) checkKeys() error {
	seen := map[KeyScope]api.SignalID{}
	note := func(k KeyScope, id api.SignalID) error {
		if k.Key == "" {
			return nil
		}
		if other, ok := seen[k]; ok && other != id {
			return fmt.Errorf("P2: key %v is of signals %s and %s", k, other, id)
		}
		seen[k] = id
		return nil
	}
	for _, s := range w.mem.signals {
		if err := note(KeyScope{worldAgent, w.mem.sessions[s.Session].Key, s.IdempotencyKey}, s.ID); err != nil {
			return err
		}
	}
	for _, row := range w.mem.settled {
		if err := note(row.Scope, row.Signal.ID); err != nil {
			return err
		}
	}
	return nil
}

// checkReported judges that the event of each acceptance is in the log, or in the store with a number that the log has not
// reached; that it is there once follows from the numbers, which the archive compares.
func (w *shardWorld) checkReported() error {
	type signal struct {
		session  api.SessionID
		sequence uint64
	}
	reported := map[signal]int{}
	for id, log := range w.mem.log {
		for _, ev := range log {
			if ev.Type == api.EventAccepted {
				reported[signal{id, ev.Signals[0]}]++
			}
		}
	}
	for k, sig := range w.mem.signals {
		if sig.Reported > lastOf(w.mem.log[k.Session], api.HubSource) {
			reported[signal{k.Session, k.Sequence}]++
		}
	}
	for k, item := range w.mem.outbox {
		if item.Event.Type == api.EventAccepted && k.Number > lastOf(w.mem.log[k.Session], api.HubSource) {
			reported[signal{k.Session, item.Event.Signals[0]}]++
		}
	}
	for id, a := range w.accepted {
		if n := reported[signal{a.Session, a.Sequence}]; n != 1 {
			return fmt.Errorf("P1: that signal %s was accepted is in log and store %d times", id, n)
		}
	}
	return nil
}

// older makes the store what a hub before this version would have left: it kept the event of each acceptance in the outbox, and
// no number with the signal. With late, what the archive has is still in the outbox.
func (w *shardWorld) older(late bool) {
	for k, sig := range w.mem.signals {
		if sig.Reported == 0 {
			continue
		}
		if late || sig.Reported > lastOf(w.mem.log[k.Session], api.HubSource) {
			w.mem.outbox[OutboxKey{k.Session, sig.Reported}] = OutboxItem{Event: acceptance(&sig)}
		}
		sig.Reported = 0
		w.mem.signals[k] = sig
	}
	w.restart()
}

// lesson is what a session's log says about its signals.
type lesson struct {
	consumed, covered map[uint64]bool
	failed            map[uint64]int
	terminated        bool
}

// read goes through a log. A turn that is done consumes; a new epoch and state.restored take back what no checkpoint covers; a
// checkpoint that is in the bucket covers what is consumed.
func (w *shardWorld) read(id api.SessionID) lesson {
	l := lesson{map[uint64]bool{}, map[uint64]bool{}, map[uint64]int{}, false}
	for _, ev := range w.mem.log[id] {
		switch ev.Type {
		case api.EventPlaced:
			clear(l.consumed)
		case api.EventState:
			for _, n := range ev.Signals {
				delete(l.consumed, n)
			}
		case api.EventSaved:
			if w.mem.bucket[checkpointOf(ev)] {
				for n := range l.consumed {
					l.covered[n] = true
				}
			}
		case api.EventTurnDone:
			for _, n := range ev.Signals {
				if ev.Outcome.Consumes() {
					l.consumed[n] = true
				} else if ev.Outcome == api.OutcomeFailed {
					l.failed[n]++
				}
			}
		case api.EventEnd:
			l.terminated = true
		}
	}
	return l
}

// checkRest judges a world in which nothing is left to be done.
func (w *shardWorld) checkRest() error {
	w.turn(CoreFacts()) // they come every few seconds, and outboxes are cleaned with them
	w.settle()
	for id, a := range w.accepted {
		_, kept := w.mem.signals[SignalKey{a.Session, a.Sequence}]
		if _, settled := w.mem.settled[id]; kept || !settled {
			return fmt.Errorf("at rest signal %s is not settled once", id)
		}
	}
	for id := range w.mem.ended {
		if _, there := w.mem.sessions[id]; there {
			return fmt.Errorf("at rest session %s is a tombstone still", id)
		}
		if keep, ok := w.collected[id]; !ok || keep != nil {
			return fmt.Errorf("the checkpoints of session %s, which ended, are kept", id)
		}
	}
	if err := w.checkAnswers(); err != nil {
		return err
	}
	if n := len(w.mem.outbox); n > 0 {
		return fmt.Errorf("at rest with %d events in outboxes", n)
	}
	for c, s := range w.spokes {
		if len(s.boxes) > 0 {
			return fmt.Errorf("at rest spoke %s keeps events that nobody acknowledges: %v", c, s.boxes)
		}
	}
	return nil
}

// checkFates asks for each cluster which of the sessions moved away from it. By the log and the decisions, the last durable checkpoint
// of such a one was taken elsewhere, after every epoch of that cluster.
func (w *shardWorld) checkFates() error {
	if w.mem.died {
		return nil
	}
	m := w.core.l.m
	for c := range w.spokes {
		moved, err := movedFrom(context.Background(), w.mem, c, m.savedElsewhere(c, slices.Collect(maps.Keys(m.sessions))))
		if err != nil {
			return err
		}
		for _, id := range moved {
			w.moves++
			var saved api.Event
			for _, ev := range w.mem.log[id] {
				if ev.Type == api.EventSaved && ev.Attributes[attrDisproved] == "" {
					saved = ev
				}
			}
			if a := w.mem.sessions[id].Assignment; a != nil && a.Cluster == c {
				return fmt.Errorf("session %s moved away from %s, it is said, and is assigned there", id, c)
			}
			if h := w.spokes[c].sessions[id]; h != nil && h.acts() {
				return fmt.Errorf("session %s moved away from %s, it is said, and acts there", id, c)
			}
			placed, decisions := false, slices.Clone(w.mem.decisions[id])
			for k, item := range w.mem.outbox {
				if k.Session == id && item.Decision != nil { // the archive does not have it yet
					decisions = append(decisions, *item.Decision)
				}
			}
			for _, d := range decisions {
				if d.Cluster == c {
					if placed = true; d.Epoch.Compare(saved.Source.Epoch) >= 0 {
						return fmt.Errorf("session %s moved away from %s, it is said, where it was in epoch %v; its last checkpoint is of epoch %v", id, c, d.Epoch, saved.Source.Epoch)
					}
				}
			}
			if !placed || saved.Cluster == c || saved.Cluster == "" {
				return fmt.Errorf("session %s moved away from %s, it is said; it was there: %v, and its last checkpoint is from %q", id, c, placed, saved.Cluster)
			}
		}
	}
	return nil
}

package hub_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

func (b *brain) want(id api.SessionID, change hub.Change) (hub.IntentAnswer, error) {
	return b.SetIntent(b.w.t.Context(), hub.IntentRequest{Org: api.DefaultOrg, Session: id, Change: change, By: "test"})
}

func TestAPausedSessionKeepsItsSignalsUntilItIsResumed(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 4)
	a := b.accept("alice", "", "x")
	s.gets(a.Session, 1)
	s.held(a.Session, api.HeldRunning, "")
	answer, err := b.want(a.Session, hub.ChangePause)
	must(t, err)
	if !answer.Changed || answer.Session.Intent != api.IntentPaused || !answer.EffectiveBy.IsZero() || answer.Waits {
		t.Errorf("pause is answered with %+v", answer)
	}
	s.released(a.Session)
	s.held(a.Session, api.HeldGone, "")
	b.phase(a.Session, api.PhaseDormant, 1)
	b.accept("alice", "", "y")
	must(t, b.stop())

	b = w.start() // the pause is durable
	s = b.attach("aws", 4)
	v := b.phase(a.Session, api.PhaseDormant, 2)
	if v.Intent != api.IntentPaused || !slices.Equal(v.Pauses, []api.PauseReason{api.PausePerson}) {
		t.Errorf("after a restart: %s, %v", v.Intent, v.Pauses)
	}
	if again, err := b.want(a.Session, hub.ChangePause); err != nil || again.Changed {
		t.Errorf("pause again: %+v, %v", again, err)
	}
	_, err = b.want(a.Session, hub.ChangeResume)
	must(t, err)
	s.finish(a.Session, 2)
	s.sleep(a.Session)
	if p, r := w.count(a.Session, api.EventPaused), w.count(a.Session, api.EventResumed); p != 1 || r != 1 {
		t.Errorf("%d paused and %d resumed in the log, want one each", p, r)
	}
}

func TestATerminatedSessionLeavesItsSignalsAsDeadLetters(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 4)
	a := b.accept("alice", "k", "precious")
	s.gets(a.Session, 1)
	s.held(a.Session, api.HeldRunning, "")
	_, err := b.want(a.Session, hub.ChangeTerminate)
	must(t, err)
	next := b.accept("alice", "k2", "x") // the key is free at once
	if next.Session == a.Session {
		t.Error("a signal after the termination reached the terminated session")
	}
	s.released(a.Session)
	s.held(a.Session, api.HeldGone, "")
	shard, err := a.Session.Shard()
	must(t, err)
	eventually(t, "the tombstone leaves", func() string {
		c, err := w.store.Load(t.Context(), shard)
		if err != nil || len(c.Sessions) != 1 {
			return fmt.Sprintf("%d sessions: %v", len(c.Sessions), err)
		}
		return ""
	})
	eventually(t, "it left memory", func() string {
		if v, err := b.Session(t.Context(), api.DefaultOrg, a.Session); err != nil || v.Intent != api.IntentTerminated || v.Pending != 0 {
			return fmt.Sprintf("%+v, %v", v, err)
		}
		return ""
	})
	if answer, err := b.want(a.Session, hub.ChangeTerminate); err != nil || answer.Changed || answer.Session.Intent != api.IntentTerminated {
		t.Errorf("terminate again: %+v, %v", answer, err)
	}
	_, err = b.want(a.Session, hub.ChangeResume)
	refused(t, "resume", err, api.CodeConflict, "id")
	_, err = b.want(a.Session, hub.ChangePause)
	refused(t, "pause", err, api.CodeNotFound, "id")
	if again := b.accept("alice", "k", "precious"); !again.Duplicate || again.Session != a.Session || again.Signal != a.Signal {
		t.Errorf("its key is answered with %+v, want the first answer", again)
	}

	rows, _, err := w.archive.DeadLetters(t.Context(), api.DefaultOrg, hub.DeadFilter{Session: a.Session}, "", 10)
	must(t, err)
	if len(rows) != 1 || rows[0].Signal.ID != a.Signal || rows[0].Reason != "the session was terminated" || rows[0].AgentName != "a" {
		t.Fatalf("dead letters: %+v", rows)
	}
	replayed, err := b.Replay(t.Context(), api.DefaultOrg, a.Signal, "ann")
	must(t, err)
	if replayed.Session != next.Session || replayed.Duplicate {
		t.Errorf("replayed as %+v, want in session %s", replayed, next.Session)
	}
	if again, err := b.Replay(t.Context(), api.DefaultOrg, a.Signal, "ann"); err != nil || again.Signal != replayed.Signal || !again.Duplicate {
		t.Errorf("replayed again: %+v, %v, want the first answer", again, err)
	}
	d := s.gets(next.Session, 2)
	if sig := d.Signals[1]; string(sig.Payload) != "precious" || sig.ReplayOf != a.Signal || sig.Sender != "ann" {
		t.Errorf("the replayed signal is %+v", sig)
	}
	_, err = b.signal("alice", "nave.replay/x", "x")
	refused(t, "a key of the hub's own", err, api.CodeInvalid, "idempotency_key")
	_, err = b.Replay(t.Context(), api.DefaultOrg, next.Signal, "ann")
	if api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("replay of a signal that is no dead letter: %v", err)
	}
}

func TestPauseOfASessionWhoseClusterIsLostSaysByWhen(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 4)
	a := b.accept("alice", "", "x")
	s.gets(a.Session, 1)
	s.held(a.Session, api.HeldRunning, "")
	report := s.report(a.Session, api.HeldRunning, "")
	s.close()
	b.phase(a.Session, api.PhaseLost, 1)
	before := time.Now()
	answer, err := b.want(a.Session, hub.ChangePause)
	must(t, err)
	// stop_after is 60 s and the lease 2 s: 58 s, and 1 s and 5 % of margin.
	if left := answer.EffectiveBy.Sub(before); left < 50*time.Second || left > 63*time.Second {
		t.Errorf("it takes effect in %s, want about 62 s", left)
	}
	s = b.attach("aws", 4, report)
	s.released(a.Session)
	s.held(a.Session, api.HeldGone, "")
	b.phase(a.Session, api.PhaseDormant, 1)
	eventually(t, "it is in the log that the session was lost", func() string {
		if n := w.count(a.Session, api.EventLost); n != 1 {
			return fmt.Sprintf("%d times", n)
		}
		return ""
	})
}

// A turn that is archived does not settle its signals before a checkpoint in the bucket covers it; across a change of owner.
func TestASignalIsSettledByACheckpoint(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	b := w.start()
	s := b.attach("aws", 4)
	a := b.accept("alice", "k", "x")
	d := s.gets(a.Session, 1)
	s.held(a.Session, api.HeldRunning, "")
	batch := s.turn(d, api.OutcomeDone, 1)
	saved := batch.Events[3]
	batch.Events = batch.Events[:3]
	s.number[batch.Source] = 3
	s.send(api.SpokeMessage{Events: []api.EventBatch{batch}})
	s.gets(a.Session, 0)
	b.phase(a.Session, api.PhaseRunning, 1)
	s.acks(batch.Source)
	report := s.report(a.Session, api.HeldRunning, "")
	s.close()
	must(t, b.stop())

	b = w.start()
	s = b.attach("aws", 4, report)
	s.gets(a.Session, 0)
	b.phase(a.Session, api.PhaseRunning, 1)
	w.vault.mu.Lock()
	w.vault.missing[api.CheckpointID(saved.Attributes[api.AttrCheckpoint])] = true
	w.vault.mu.Unlock()
	s.number[batch.Source] = 4
	s.send(api.SpokeMessage{Events: []api.EventBatch{{Session: a.Session, Source: batch.Source, Events: []api.Event{saved}}}})
	s.acks(batch.Source)
	if v := b.phase(a.Session, api.PhaseRunning, 1); len(v.Checkpoints) != 0 {
		t.Errorf("a checkpoint that is not in the bucket counts: %v", v.Checkpoints)
	}
	next := s.saved(batch.Source)
	s.send(api.SpokeMessage{Events: []api.EventBatch{{Session: a.Session, Source: batch.Source, Events: []api.Event{next}}}})
	v := b.phase(a.Session, api.PhaseRunning, 0)
	if len(v.Checkpoints) != 1 || string(v.Checkpoints[0]) != next.Attributes[api.AttrCheckpoint] {
		t.Errorf("checkpoints %v, want the last one", v.Checkpoints)
	}
	s.sleep(a.Session)
	b.accept("alice", "", "y")
	if d := s.gets(a.Session, 1); d.Epoch.N != 2 || d.Checkpoint != v.Checkpoints[0] {
		t.Errorf("the next epoch is %s and begins from %q", d.Epoch, d.Checkpoint)
	}
}

package hub_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// fates asks as a spoke does.
func (s *fakeSpoke) fates(ids ...api.SessionID) api.Fates {
	s.b.w.t.Helper()
	f, err := s.a.Fates(s.b.w.t.Context(), ids)
	must(s.b.w.t, err)
	return f
}

// placed waits until a session is placed at one of two spokes, and returns that one first.
func (b *brain) placed(id api.SessionID, spokes ...*fakeSpoke) (here, other *fakeSpoke) {
	b.w.t.Helper()
	eventually(b.w.t, "placed", func() string {
		for i, s := range spokes {
			if d, ok := s.want(id); ok && !d.Release {
				here, other = s, spokes[1-i]
				return ""
			}
		}
		return "nowhere"
	})
	return here, other
}

// comes waits until a session is placed at a spoke in an epoch.
func (s *fakeSpoke) comes(id api.SessionID, epoch uint64) (d api.Desired) {
	s.b.w.t.Helper()
	eventually(s.b.w.t, "it comes to "+s.name, func() string {
		if d, _ = s.want(id); d.Epoch.N != epoch || d.Release {
			return fmt.Sprintf("wanted at %v, release %v", d.Epoch, d.Release)
		}
		return ""
	})
	return d
}

// refuses lets a spoke refuse a session that comes, so that another one gets it.
func (s *fakeSpoke) refuses(id api.SessionID, epoch uint64) {
	s.b.w.t.Helper()
	s.comes(id, epoch)
	s.held(id, api.HeldRefused, "no room")
}

// A spoke hears that a session moved away only when each condition of that holds, and no longer than it does.
func TestASessionMovedWhenItIsSavedElsewhere(t *testing.T) {
	w := newBrains(t)
	w.cluster("aws")
	w.cluster("gcp")
	w.cluster("third")
	b := w.start()
	aws, gcp, third := b.attach("aws", 4), b.attach("gcp", 4), b.attach("third", 0)
	a := b.accept("alice", "", "x")
	id := a.Session
	here, other := b.placed(id, aws, gcp)
	said := func(when string, s *fakeSpoke, want bool) {
		t.Helper()
		var moved []api.SessionID
		if want {
			moved = []api.SessionID{id}
		}
		if diff := cmp.Diff(api.Fates{Moved: moved}, s.fates("no session", id, "01M83YE7WA753Z83HCBG9AVWHM")); diff != "" {
			t.Errorf("%s, to the spoke of %s (-want +got):\n%s", when, s.name, diff)
		}
	}
	nothing := func(when string) {
		t.Helper()
		for _, s := range []*fakeSpoke{here, other, third} {
			said(when, s, false)
		}
	}
	nothing("in its first epoch")
	here.finish(id, 1)
	here.sleep(id)
	nothing("saved where it is")

	b.accept("alice", "", "y")
	here.refuses(id, 2)
	d := other.comes(id, 3)
	nothing("placed elsewhere")
	other.held(id, api.HeldRunning, "")
	batch := other.turn(d, api.OutcomeDone, sequences(d)...)
	saved := batch.Events[len(batch.Events)-1]
	batch.Events = batch.Events[:len(batch.Events)-1]
	other.number[batch.Source]--
	other.send(api.SpokeMessage{Events: []api.EventBatch{batch}})
	other.acks(batch.Source)
	nothing("a turn ended elsewhere")

	one := func(ev api.Event) {
		other.send(api.SpokeMessage{Events: []api.EventBatch{{Session: id, Source: batch.Source, Events: []api.Event{ev}}}})
	}
	lacks := api.CheckpointID(saved.Attributes[api.AttrCheckpoint])
	w.vault.mu.Lock()
	w.vault.missing[lacks] = true
	w.vault.mu.Unlock()
	other.number[batch.Source]++
	one(saved)
	other.acks(batch.Source)
	nothing("a checkpoint that the bucket does not have")

	w.history.set(true)
	one(other.saved(batch.Source))
	b.phase(id, api.PhaseRunning, 1)
	nothing("a checkpoint that the archive does not have yet")
	w.history.set(false)
	other.acks(batch.Source)
	moved := func(when string) {
		t.Helper()
		said(when, here, true)
		said(when, other, false)
		said(when, third, false)
	}
	moved("saved elsewhere")
	other.sleep(id)
	moved("asleep elsewhere")

	must(t, b.stop())
	b = w.start()
	names := []string{here.name, other.name}
	here, other, third = b.attach(names[0], 4), b.attach(names[1], 4), b.attach("third", 0)
	moved("the next owner")

	b.accept("alice", "", "z")
	other.refuses(id, 4)
	here.comes(id, 5)
	nothing("placed back")
	here.held(id, api.HeldRunning, "") // so that what was refused before is forgotten
	here.held(id, api.HeldGone, "")
	here.refuses(id, 6)
	other.comes(id, 7)
	nothing("elsewhere again, from a checkpoint that is older than what is here")
	other.finish(id, 1)
	moved("saved elsewhere again")

	_, err := b.want(id, hub.ChangeTerminate)
	must(t, err)
	other.released(id)
	moved("being terminated")
	other.held(id, api.HeldGone, "")
	eventually(t, "it is over", func() string {
		return cmp.Diff([]api.Fates{{Ended: []api.SessionID{id}}, {Ended: []api.SessionID{id}}, {}}, []api.Fates{here.fates(id), other.fates(id), third.fates(id)})
	})
	if _, err := here.a.Fates(t.Context(), slices.Repeat([]api.SessionID{id}, api.MaxFates+1)); api.CodeOf(err) != api.CodeInvalid {
		t.Errorf("too many sessions: %v", err)
	}
	here.a.Close(nil)
	if f, err := here.a.Fates(t.Context(), []api.SessionID{id}); err == nil {
		t.Errorf("a link that ended is told %v", f)
	}
}

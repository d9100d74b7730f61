package hub

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// own makes this replica the shard's owner. The order matters: the store's generation is raised first, the archive's second, and
// only then is anything read by load, so that a former owner can add nothing to what was read.
func (l *loop) own(ctx context.Context) (api.Head, error) {
	head, err := l.ports.Shards.Claim(ctx, l.shard)
	if err != nil {
		return head, fmt.Errorf("shard %d: claim: %w", l.shard, err)
	}
	if err := l.ports.Archive.Raise(ctx, l.shard, head.Generation); err != nil {
		return head, fmt.Errorf("shard %d: fence archive: %w", l.shard, err)
	}
	return head, nil
}

// load brings the shard, which is owned, into memory. It returns the effects to begin with.
func (l *loop) load(ctx context.Context, head api.Head) (_ []effect, err error) {
	wrap := func(what string, err error) error { return fmt.Errorf("shard %d: %s: %w", l.shard, what, err) }
	past := past{tails: map[api.SessionID][]api.Event{}, revisions: map[api.SessionID]*api.ResolvedRevision{}}
	if past.contents, err = l.ports.Shards.Load(ctx, l.shard); err != nil {
		return nil, wrap("load", err)
	}
	if past.positions, err = l.ports.Archive.Positions(ctx, l.shard); err != nil {
		return nil, wrap("read positions", err)
	}
	ids := make([]api.SignalID, len(past.contents.Signals))
	for i, s := range past.contents.Signals {
		ids[i] = s.ID
	}
	if past.settled, err = l.ports.Archive.Settled(ctx, ids); err != nil {
		return nil, wrap("read settled signals", err)
	}
	for _, s := range past.contents.Sessions {
		if s.Assignment == nil {
			continue
		}
		// Without it the spoke still has the revision in its journal.
		if past.revisions[s.ID], err = l.ports.Resolver.ResolveAt(ctx, s.Org, s.Agent, *s.Assignment); err != nil {
			l.ports.Logger.Warn("revision of an assignment not found", "session", s.ID, "error", err)
		}
		if p := past.positions[s.ID]; behind(s, p) {
			from := p.Number - min(p.Number, undigested) + 1
			if past.tails[s.ID], err = l.ports.Log.Events(ctx, s.Org, s.ID, from, undigested); err != nil {
				return nil, wrap("read what was archived last", err)
			}
		}
	}
	l.m = newMachine(l.shard, head, l.limits)
	outs := l.m.load(l.now(), past)
	var effs []effect
	for _, o := range outs {
		if err := l.commitApart(ctx, o.apart); err != nil {
			return nil, wrap("clean up", err)
		}
		if err := l.commit(ctx, o.mutations); err != nil {
			return nil, wrap("clean up", err)
		}
		effs = append(effs, o.effects...)
	}
	return effs, nil
}

// past is what a new owner finds.
type past struct {
	contents  ShardContents
	positions map[api.SessionID]LogPosition
	settled   map[api.SignalID]bool                   // signals in the store that the archive has as settled
	tails     map[api.SessionID][]api.Event           // the last events in the archive of those sessions that are behind it
	revisions map[api.SessionID]*api.ResolvedRevision // of assigned sessions; what the tails lead to depends on them
}

// behind reports that the archive may have events that bear on a session and that its record does not know of: the former owner
// died between archive and store. One submission is on its way at a time, so that they are among the last events. It holds for
// assigned sessions alone: an assignment ends when all of its events were applied.
func behind(s api.Session, p LogPosition) bool {
	for src, n := range p.Sources {
		if src != api.HubSource && (moment{src, n}).after(moment{s.TurnSource, s.TurnNumber}) {
			return true
		}
	}
	return false
}

// load fills memory. What the archive has already is applied to the store, and leaves it; what it lacks goes to it; who waits
// is placed. The outputs are committed one after the other, each whole.
func (m *machine) load(now time.Time, past past) []output {
	var clean output
	for _, rec := range past.contents.Sessions {
		s := m.add(rec)
		forgetCancelled(s)
		if a := s.Assignment; a != nil {
			s.Assignment = nil
			m.assign(s, a)
			s.revision = past.revisions[s.ID]
			s.admitted = true // nobody knows any more
		}
		if p, ok := past.positions[s.ID]; ok {
			s.log.number, s.log.kept = p.Number, p.Number
			for src, n := range p.Sources {
				s.log.taken[src], s.log.settled[src] = n, n
			}
			s.log.forget(s.Epoch)
		}
		if s.Assignment != nil && s.Phase == api.PhaseRunning {
			s.Phase = api.PhaseStarting // until its spoke says what is
		}
	}
	for _, sig := range past.contents.Signals {
		s := m.sessions[sig.Session]
		s.pending = append(s.pending, &sig)
		clean.effect(effPending{s.Org, 1})
		if sig.IdempotencyKey != "" {
			m.idem[KeyScope{s.Agent, s.Key, sig.IdempotencyKey}] = &sig
		}
	}
	for _, item := range m.unreported(&clean, past.contents.Outbox) {
		m.enqueue(m.sessions[item.Event.Session], item.Event, item.Decision)
	}
	for _, a := range past.contents.Approvals {
		m.remember(m.sessions[a.Session], a)
	}
	outs := []output{clean}
	for _, s := range inOrder(m.sessions) {
		var o, owed output
		m.recover(&o, s, now, past)
		m.tend(&owed, s, now)
		m.place(&owed, s)
		m.bury(&owed, s, now)
		outs = append(outs, o, owed)
	}
	last := &outs[len(outs)-1]
	m.flush(last)
	return outs
}

// unreported are the events of the hub's own that the archive has not got, by session and number: those of the outbox, and the
// acceptances of signals, which follow from their records. What the outbox has beside that is deleted. An older version kept
// acceptances in the outbox: such an item becomes a number in its signal's record.
func (m *machine) unreported(clean *output, outbox []OutboxItem) (left []OutboxItem) {
	for _, item := range outbox {
		s, ev := m.sessions[item.Event.Session], item.Event
		gone := Mutation{DeleteOutbox: &OutboxKey{s.ID, ev.SourceNumber}}
		if ev.SourceNumber <= s.log.settled[api.HubSource] {
			clean.aside(s.Org, gone)
			continue
		}
		if ev.Type == api.EventAccepted {
			if i := slices.IndexFunc(s.pending, func(sig *api.Signal) bool { return slices.Contains(ev.Signals, sig.Sequence) }); i >= 0 {
				sig := *s.pending[i]
				sig.Reported = ev.SourceNumber
				s.pending[i] = &sig
				clean.aside(s.Org, Mutation{PutSignal: &sig}, gone)
				continue
			}
		}
		left = append(left, item)
	}
	for _, s := range m.sessions {
		for _, sig := range s.pending {
			if sig.Reported > s.log.settled[api.HubSource] {
				left = append(left, OutboxItem{Event: acceptance(sig)})
			}
		}
	}
	slices.SortFunc(left, func(a, b OutboxItem) int {
		return cmp.Or(strings.Compare(string(a.Event.Session), string(b.Event.Session)), cmp.Compare(a.Event.SourceNumber, b.Event.SourceNumber))
	})
	return left
}

// recover brings one session to where the archive has it.
func (m *machine) recover(o *output, s *session, now time.Time, past past) {
	settled := map[api.SignalID]string{}
	for _, sig := range s.pending {
		if past.settled[sig.ID] {
			settled[sig.ID] = ""
		}
	}
	s.foresee(past.tails[s.ID], settled)
	for _, ev := range past.tails[s.ID] {
		m.digest(o, now, s, ev, settled)
	}
	clear(s.failing)
	for _, sig := range slices.Clone(s.pending) {
		if past.settled[sig.ID] { // a former owner had no more time than for the archive
			m.leave(o, s, sig)
		}
	}
	s.pending = slices.DeleteFunc(s.pending, func(sig *api.Signal) bool { return past.settled[sig.ID] })
	s.applied = moment{s.TurnSource, s.TurnNumber}
	for _, sig := range s.pending {
		if s.consumed(sig) {
			s.marks[sig.Sequence] = mark{moment{sig.ConsumedBy, sig.ConsumedNumber}, sig.ConsumedAs}
		}
	}
}

// foresee finds out which of the signals that the archive has as settled are dead: those whose last turn in the tail failed. It
// counts the failures, as they were counted when the turns were taken.
func (s *session) foresee(tail []api.Event, settled map[api.SignalID]string) {
	for _, ev := range tail {
		if ev.Type != api.EventTurnDone || !(moment{ev.Source, ev.SourceNumber}).after(moment{s.TurnSource, s.TurnNumber}) {
			continue
		}
		for _, sig := range s.pending {
			if _, row := settled[sig.ID]; !row || !slices.Contains(ev.Signals, sig.Sequence) {
				continue
			}
			switch ev.Outcome {
			case api.OutcomeFailed:
				s.failing[sig.Sequence]++
				settled[sig.ID] = "failed too often"
			case api.OutcomeDone, api.OutcomeCancelled:
				settled[sig.ID] = ""
			}
		}
	}
}

package sim

import (
	"cmp"
	"maps"
	"slices"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/history"
)

func keysOf[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// check looks at what is durable, after every step.
func (w *World) check() {
	r := w.store.shard(shard)
	for _, a := range w.notes { // P1: what was accepted is somewhere
		if _, ok := w.archive.settled[a.Signal]; ok {
			continue
		}
		if sig, ok := r.signals[hub.SignalKey{Session: a.Session, Sequence: a.Sequence}]; !ok || sig.ID != a.Signal {
			w.violated("P1", "signal %s (%d of %s) was accepted and is neither in the store nor in the archive", a.Signal, a.Sequence, a.Session)
			return
		}
	}
	for _, id := range keysOf(r.sessions) {
		w.covered(r.sessions[id])
	}
	if w.asks {
		w.kept(r)
	}
}

// covered checks that the state of a session has every signal that is settled as done (P3, P10).
func (w *World) covered(s api.Session) {
	if s.Intent == api.IntentTerminated {
		return // its state is not needed any more
	}
	var content []uint64
	if id := s.Checkpoint(); id != "" {
		var ok bool
		if content, ok = w.vault.get(s.ID, id); !ok {
			w.violated("P10", "session %s: its last checkpoint %.8s is not in the bucket", s.ID, id)
			return
		}
	}
	for _, row := range w.archive.settled {
		if row.Signal.Session == s.ID && row.Outcome == "done" && !slices.Contains(content, row.Signal.Sequence) {
			// The archive is written first: until the session's record follows, the checkpoint is another one of the bucket's.
			if !slices.ContainsFunc(w.vault.of[s.ID], func(c saved) bool { return slices.Contains(c.content, row.Signal.Sequence) }) {
				w.violated("P3", "session %s: signal %d is settled and no checkpoint has it", s.ID, row.Signal.Sequence)
				return
			}
		}
	}
}

// judge compares, at the end, what clients were told and agents did with the archive.
func (w *World) judge() history.Tally {
	in := history.Input{Accepted: w.notes, Witness: w.books, Logs: map[api.SessionID][]api.Event{}}
	for id, row := range w.archive.settled {
		if in.Dead == nil {
			in.Dead = map[api.SignalID]bool{}
		}
		in.Dead[id] = row.Outcome == "dead"
	}
	for id, l := range w.archive.logs {
		in.Logs[id] = l.events
	}
	findings, tally := history.Judge(in)
	for _, f := range findings {
		w.violated(f.Promise, "%s: %s", f.Session, f.Text)
	}
	w.judgeAnswers()
	return tally
}

package spoke

import (
	"cmp"
	"maps"
	"slices"

	"github.com/nave-dev/nave/api"
)

// snapshot returns records that make the state from nothing, in a fixed order: what a compacted journal holds.
func (st *state) snapshot() []record {
	var out []record
	for _, shard := range sortedKeys(st.positions) {
		out = append(out, positionRecord{api.Position{Shard: shard, Head: st.positions[shard]}})
	}
	for _, id := range sortedKeys(st.sessions) {
		out = append(out, st.sessions[id].snapshot()...)
	}
	for _, id := range sortedKeys(st.outboxes) {
		for _, o := range st.outboxes[id] {
			out = append(out, outboxRecord{id, o.source, o.acked})
			if len(o.events) > 0 {
				out = append(out, eventsRecord{id, o.source, o.acked + 1, o.events})
			}
		}
	}
	// Turns are last: the events above tell of turns too, but perhaps not of all.
	for _, id := range sortedKeys(st.sessions) {
		s := st.sessions[id]
		out = append(out, inboxRecord{Session: id, Epoch: s.Epoch, Put: s.Inbox})
		if s.Ended {
			out = append(out, endedRecord{Session: id, Source: s.workload().Source(), Reason: s.Reason})
		}
		out = append(out, turnRecord{id, s.Epoch, s.progress.clone(), s.Closed})
		if s.Lapsed {
			out = append(out, lapsedRecord{id, s.Epoch})
		}
	}
	return out
}

func (d *desired) snapshot() []record {
	out := []record{wantedRecord{Desired: api.Desired{Session: d.Session, Org: d.Org, Key: d.Key, Epoch: d.Epoch, Release: d.Released, Revision: d.Revision,
		Signals: d.Inbox, Checkpoint: d.Saved}, Raw: d.Raw, Seen: d.Seen}}
	if d.Verdict != undecided {
		out = append(out, verdictRecord{d.Session, d.Epoch, d.Verdict == refused, d.Reason})
	}
	if d.Attempt > 0 {
		out = append(out, attemptRecord{d.Session, api.Source{Epoch: d.Epoch, Attempt: d.Attempt}})
	}
	if d.Next != nil {
		out = append(out, *d.Next)
	}
	return out
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

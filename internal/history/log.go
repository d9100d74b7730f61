package history

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/nave-dev/nave/api"
)

// log checks one session's log: its form (P5), that every accepted signal is in it once and has one settled turn record
// (P1, P3), and that what it calls a turn was seen by a witness (P4).
func (j *judge) log(id api.SessionID, events []api.Event) {
	j.tally.Sessions++
	j.tally.Events += len(events)
	j.form(id, events)
	var (
		done      = map[uint64]int{}  // turn records that consume and count
		unworked  = map[uint64]bool{} // of done: cancelled, which no state needs to remember
		level     uint64              // people cancelled up to here
		records   = map[uint64]int{}  // turn records at all
		accepted  = map[uint64]bool{} // signal.accepted events
		dead      = map[uint64]bool{}
		attempts  = map[api.Source]bool{}
		open      = map[api.Source][]uint64{}
		witnessed = j.turns(id)
		begun     = map[uint64]bool{} // handed to an agent
		memories  = j.memories(id, events)
		dies      = map[uint64]bool{} // dead letters, whenever the hub says so: its spoke goes on after the last failure
	)
	for _, ev := range events {
		if ev.Type == api.EventDead {
			for _, n := range ev.Signals {
				dies[n] = true
			}
		}
	}
	for _, ev := range events {
		if ev.Source != api.HubSource {
			attempts[ev.Source] = true
		}
		switch ev.Type {
		case api.EventAccepted:
			for _, n := range ev.Signals {
				if accepted[n] {
					j.find("P5", id, "event %d: signal %d is accepted a second time", ev.Number, n)
				}
				if n != uint64(len(accepted))+1 {
					j.find("P3", id, "event %d: signal %d is accepted after %d others", ev.Number, n, len(accepted))
				}
				accepted[n] = true
			}
		case api.EventTurn:
			if open[ev.Source] != nil {
				j.find("P5", id, "event %d: a turn begins in a turn", ev.Number)
			}
			open[ev.Source] = ev.Signals
			if k := turnKey(ev.Source, ev.Signals); len(memories[k]) > 0 {
				j.memory(id, ev, memories[k][0], done, unworked, begun)
				memories[k] = memories[k][1:]
			}
			for _, n := range ev.Signals {
				begun[n] = true
			}
			if !slices.IsSorted(ev.Signals) {
				j.find("P3", id, "event %d: the turn takes its signals in the order %v", ev.Number, ev.Signals)
			}
			for _, n := range ev.Signals {
				if !accepted[n] {
					j.find("P5", id, "event %d: the turn takes signal %d, which was not accepted before it", ev.Number, n)
				}
				if done[n] > 0 {
					j.find("P3", id, "event %d: signal %d is handed out again though it is settled", ev.Number, n)
				}
			}
			if first := min1(ev.Signals); first > 0 {
				for n := uint64(1); n < first; n++ {
					if accepted[n] && done[n] == 0 && !dies[n] {
						j.find("P3", id, "event %d: the turn takes signal %d before signal %d is settled", ev.Number, first, n)
						break
					}
				}
			}
		case api.EventTurnDone:
			j.tally.Turns++
			switch dropped := ev.Outcome == api.OutcomeCancelled && open[ev.Source] == nil; {
			case dropped && len(ev.Signals) > 0 && slices.Max(ev.Signals) > level:
				j.find("P3", id, "event %d: %v are consumed without a turn, and nobody cancelled beyond %d", ev.Number, ev.Signals, level)
			case !dropped && !slices.Equal(open[ev.Source], ev.Signals):
				j.find("P5", id, "event %d: the turn record names %v, the turn took %v", ev.Number, ev.Signals, open[ev.Source])
			}
			delete(open, ev.Source)
			for _, n := range ev.Signals {
				if records[n]++; records[n] == 2 {
					j.tally.Redone++
				}
				if ev.Outcome.Consumes() {
					done[n]++
					unworked[n] = ev.Outcome == api.OutcomeCancelled
				}
			}
			if ev.Outcome == api.OutcomeDone && !witnessed[turnKey(ev.Source, ev.Signals)] {
				j.find("P4", id, "event %d: no agent of epoch %s attempt %d saw the turn of %v to its end", ev.Number, ev.Source.Epoch, ev.Source.Attempt, ev.Signals)
			}
		case api.EventCancelled:
			for _, n := range numbers(ev.Attributes[api.AttrUpTo]) {
				level = max(level, n)
			}
		case api.EventState:
			j.forget(done, ev.Signals)
		case api.EventPlaced:
			j.forget(done, numbers(ev.Attributes["forgotten"]))
		case api.EventDead:
			for _, n := range ev.Signals {
				dead[n] = true
				j.tally.Dead++
			}
		}
	}
	j.tally.Attempts += len(attempts)
	for _, n := range sorted(j.accepted[id]) {
		a := j.accepted[id][n]
		dead[n] = dead[n] || j.in.Dead[a.Signal]
		switch {
		case !accepted[n]:
			j.find("P1", id, "signal %d (%s, key %q) was accepted and is not in the log", n, a.Signal, a.Idem)
		case done[n] == 0 && !dead[n]:
			j.find("P1", id, "signal %d (%s, key %q) was accepted and never settled", n, a.Signal, a.Idem)
		case done[n] > 1 || done[n] == 1 && dead[n]:
			j.find("P3", id, "signal %d (%s, key %q) has %d settled turn records, dead letter: %v", n, a.Signal, a.Idem, done[n], dead[n])
		}
	}
	for src := range open { // a later epoch, or the end of the session, because the spoke lost its memory or was not heard: what ended the turn came too late
		if !slices.ContainsFunc(events, func(ev api.Event) bool { return ev.Source.Epoch.Compare(src.Epoch) > 0 || ev.Type == api.EventEnd }) {
			j.find("P5", id, "source %s: the log ends within a turn", src)
		}
	}
}

func (j *judge) forget(done map[uint64]int, signals []uint64) {
	for _, n := range signals {
		if done[n] > 0 {
			j.tally.Forgotten++
		}
		done[n] = 0
	}
}

// form checks numbers and sources: dense, in order, no event after its source's epoch was over.
func (j *judge) form(id api.SessionID, events []api.Event) {
	last := map[api.Source]uint64{}
	var epoch api.Source
	for i, ev := range events {
		if ev.Session != "" && ev.Session != id {
			j.find("P5", id, "event %d is of session %s", ev.Number, ev.Session)
		}
		if ev.Number != uint64(i)+1 {
			j.find("P5", id, "event at place %d has number %d", i+1, ev.Number)
			return // what follows is as wrong
		}
		if ev.SourceNumber != last[ev.Source]+1 {
			j.find("P5", id, "event %d: source %s has number %d after %d", ev.Number, ev.Source, ev.SourceNumber, last[ev.Source])
		}
		last[ev.Source] = ev.SourceNumber
		if ev.Source == api.HubSource {
			continue
		}
		if cmp.Or(ev.Source.Epoch.Compare(epoch.Epoch), cmp.Compare(ev.Source.Attempt, epoch.Attempt)) < 0 {
			j.find("P5", id, "event %d: source %s comes after source %s", ev.Number, ev.Source, epoch)
		}
		epoch = ev.Source
	}
}

// memory checks what an agent found in its state directory: everything that is settled by a turn that was done, and nothing that nobody began (P10).
func (j *judge) memory(id api.SessionID, ev api.Event, memory []uint64, done map[uint64]int, unworked, begun map[uint64]bool) {
	for _, n := range sorted(done) {
		if done[n] > 0 && !unworked[n] && !slices.Contains(memory, n) {
			j.find("P10", id, "event %d: the turn began with a state that lacks signal %d, which is settled", ev.Number, n)
			break
		}
	}
	for _, n := range memory {
		if !begun[n] {
			j.find("P10", id, "event %d: the turn began with a state that has signal %d, which nobody had begun", ev.Number, n)
			break
		}
	}
}

// memories are what agents found when they began, by turn, in the order of their beginning. A turn that is in the log more
// often than an agent began it (one was killed before it wrote) is left out: nobody can tell which is which.
func (j *judge) memories(id api.SessionID, events []api.Event) map[string][][]uint64 {
	out, turns := map[string][][]uint64{}, map[string]int{}
	for _, ev := range events {
		if ev.Type == api.EventTurn {
			turns[turnKey(ev.Source, ev.Signals)]++
		}
	}
	for _, w := range j.bySession[id] {
		if w.Kind == Begin && w.Memory != nil {
			k := turnKey(api.Source{Epoch: w.Epoch, Attempt: w.Attempt}, w.Signals)
			out[k] = append(out[k], w.Memory)
		}
	}
	for k, m := range out {
		if len(m) != turns[k] {
			delete(out, k)
		}
	}
	return out
}

// turns are the turns of a session that an agent saw to their end.
func (j *judge) turns(id api.SessionID) map[string]bool {
	out := map[string]bool{}
	for _, w := range j.bySession[id] {
		if w.Kind == End {
			out[turnKey(api.Source{Epoch: w.Epoch, Attempt: w.Attempt}, w.Signals)] = true
		}
	}
	return out
}

func turnKey(src api.Source, signals []uint64) string {
	var b strings.Builder
	b.WriteString(src.String())
	for _, n := range signals {
		b.WriteByte(' ')
		b.WriteString(strconv.FormatUint(n, 10))
	}
	return b.String()
}

// numbers reads a list of sequences, separated by commas or spaces.
func numbers(s string) []uint64 {
	var out []uint64
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '[' || r == ']' }) {
		if n, err := strconv.ParseUint(f, 10, 64); err == nil {
			out = append(out, n)
		}
	}
	return out
}

func min1(ns []uint64) uint64 {
	if len(ns) == 0 {
		return 0
	}
	return slices.Min(ns)
}

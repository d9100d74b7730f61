package history_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/history"
)

const session = api.SessionID("01JZ0000000000000000000000")

// story builds a history in which everything is right, turn by turn.
type story struct {
	in     history.Input
	hub    uint64
	source api.Source
	number uint64
	clock  time.Duration
	pid    int
	next   uint64 // sequence
	memory []uint64
}

func newStory() *story {
	s := &story{in: history.Input{Logs: map[api.SessionID][]api.Event{session: nil}}, source: src(1, 1), pid: 100}
	return s
}

func src(epoch uint64, attempt uint32) api.Source {
	return api.Source{Epoch: api.Epoch{Incarnation: 1, N: epoch}, Attempt: attempt}
}

func (s *story) add(ev api.Event) {
	if ev.Source == api.HubSource {
		s.hub++
		ev.SourceNumber = s.hub
	} else {
		s.number++
		ev.SourceNumber = s.number
	}
	ev.Session, ev.Number = session, uint64(len(s.in.Logs[session]))+1
	s.in.Logs[session] = append(s.in.Logs[session], ev)
}

// accept sends a signal twice.
func (s *story) accept() uint64 {
	s.next++
	a := history.Accepted{Agent: "a", Key: "k", Idem: fmt.Sprint("i", s.next), Signal: api.SignalID(fmt.Sprint("sig", s.next)), Session: session, Sequence: s.next}
	s.in.Accepted = append(s.in.Accepted, a, a)
	s.add(api.Event{Type: api.EventAccepted, Signals: []uint64{s.next}})
	return s.next
}

func (s *story) begin(signals ...uint64) {
	s.add(api.Event{Source: s.source, Type: api.EventTurn, Signals: signals})
	s.witness(history.Begin, signals)
}

func (s *story) witness(k history.Kind, signals []uint64) {
	s.clock += time.Second
	w := history.Witness{Kind: k, Session: session, Epoch: s.source.Epoch, Attempt: s.source.Attempt, Signals: signals, PID: s.pid, Boot: s.clock}
	if k == history.Begin {
		w.Memory = append([]uint64{}, s.memory...)
	} else {
		s.memory = append(s.memory, signals...)
	}
	s.in.Witness = append(s.in.Witness, w)
}

func (s *story) end(o api.Outcome, signals ...uint64) {
	if o == api.OutcomeDone {
		s.witness(history.End, signals)
	}
	s.add(api.Event{Source: s.source, Type: api.EventTurnDone, Outcome: o, Signals: signals})
}

func (s *story) turn(signals ...uint64) {
	s.begin(signals...)
	s.end(api.OutcomeDone, signals...)
}

func (s *story) attempt(epoch uint64, attempt uint32) {
	s.source, s.number = src(epoch, attempt), 0
	s.pid++
	s.add(api.Event{Source: s.source, Type: api.EventStarted})
}

// cancel cancels up to the last signal.
func (s *story) cancel() {
	s.add(api.Event{Type: api.EventCancelled, Attributes: map[string]string{api.AttrUpTo: fmt.Sprint(s.next)}})
}

// good is a history with everything that may happen: a kill in a turn, a turn that is forgotten, a dead letter, two epochs, a turn
// that was cancelled and a signal that was before anybody began it.
func good() *story {
	s := newStory()
	s.add(api.Event{Source: s.source, Type: api.EventStarted})
	a, b := s.accept(), s.accept()
	s.turn(a)
	s.begin(b)
	s.end(api.OutcomeCut, b) // the harness was killed
	s.attempt(1, 2)
	s.turn(b)
	c := s.accept()
	s.turn(c)
	s.attempt(1, 3)
	s.add(api.Event{Source: s.source, Type: api.EventState, Signals: []uint64{c}}) // the turn of c is forgotten
	s.memory = s.memory[:len(s.memory)-1]
	s.turn(c)
	d := s.accept()
	s.begin(d)
	s.end(api.OutcomeFailed, d)
	s.add(api.Event{Type: api.EventDead, Signals: []uint64{d}})
	s.attempt(2, 1)
	s.turn(s.accept(), s.accept())
	e, f := s.accept(), s.accept()
	s.begin(e)
	s.cancel()
	s.end(api.OutcomeCancelled, e)
	s.end(api.OutcomeCancelled, f)
	s.pid++
	s.turn(s.accept())
	return s
}

func TestAGoodHistoryHasNoFindings(t *testing.T) {
	findings, tally := history.Judge(good().in)
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	want := history.Tally{Signals: 9, Duplicates: 9, Sessions: 1, Events: len(good().in.Logs[session]), Turns: 10, Attempts: 4, Redone: 2, Forgotten: 1, Dead: 1, Begun: 9}
	if tally != want {
		t.Fatalf("tally %+v, want %+v", tally, want)
	}
}

// TestEveryBadHistoryIsFound breaks a good history in one way each; the finding must name the promise and say what is wrong.
func TestEveryBadHistoryIsFound(t *testing.T) {
	log := func(f func([]api.Event) []api.Event) func(*history.Input) {
		return func(in *history.Input) { in.Logs[session] = f(slices.Clone(in.Logs[session])) }
	}
	index := func(evs []api.Event, typ api.EventType, nth int) int {
		for i, ev := range evs {
			if ev.Type == typ {
				if nth--; nth < 0 {
					return i
				}
			}
		}
		panic("no such event")
	}
	renumber := func(evs []api.Event) []api.Event {
		last := map[api.Source]uint64{}
		for i := range evs {
			last[evs[i].Source]++
			evs[i].Number, evs[i].SourceNumber = uint64(i)+1, last[evs[i].Source]
		}
		return evs
	}
	for _, c := range []struct {
		name, promise, text string
		spoil               func(*history.Input)
	}{
		{"the log is missing", "P1", "has no log", func(in *history.Input) { delete(in.Logs, session); in.Witness = nil }},
		{"a signal is not in the log", "P1", "is not in the log", log(func(evs []api.Event) []api.Event {
			i := index(evs, api.EventAccepted, 5)
			return renumber(slices.Delete(evs, i, len(evs)))
		})},
		{"a signal is never settled", "P1", "never settled", log(func(evs []api.Event) []api.Event {
			return renumber(slices.Delete(evs, index(evs, api.EventTurn, 6), len(evs)))
		})},
		{"a signal is settled twice", "P3", "settled", log(func(evs []api.Event) []api.Event {
			i := index(evs, api.EventTurn, 0)
			return renumber(slices.Insert(evs, i+2, evs[i], evs[i+1]))
		})},
		{"a forgotten turn is not named", "P3", "is handed out again though it is settled", log(func(evs []api.Event) []api.Event {
			evs[index(evs, api.EventState, 0)].Signals = nil
			return evs
		})},
		{"a signal is consumed that nobody cancelled", "P3", "nobody cancelled beyond 7", log(func(evs []api.Event) []api.Event {
			evs[index(evs, api.EventCancelled, 0)].Attributes[api.AttrUpTo] = "7"
			return evs
		})},
		{"an event is doubled", "P5", "has number", log(func(evs []api.Event) []api.Event { return slices.Insert(evs, 3, evs[3]) })},
		{"an event is missing", "P5", "has number", log(func(evs []api.Event) []api.Event { return slices.Delete(evs, 3, 4) })},
		{"a source has a gap", "P5", "after", log(func(evs []api.Event) []api.Event {
			i := index(evs, api.EventTurnDone, 2)
			evs = slices.Delete(evs, i, i+1)
			for i := range evs {
				evs[i].Number = uint64(i) + 1
			}
			return evs
		})},
		{"two events are swapped", "P5", "has number", log(func(evs []api.Event) []api.Event { evs[4], evs[5] = evs[5], evs[4]; return evs })},
		{"an old epoch writes after a new one", "P5", "comes after", log(func(evs []api.Event) []api.Event {
			return append(evs, api.Event{Session: session, Number: uint64(len(evs)) + 1, Source: src(1, 3), SourceNumber: 5, Type: api.EventMessage})
		})},
		{"signals are accepted in another order", "P3", "is accepted after", log(func(evs []api.Event) []api.Event {
			i, k := index(evs, api.EventAccepted, 4), index(evs, api.EventAccepted, 5)
			evs[i].Signals, evs[k].Signals = evs[k].Signals, evs[i].Signals
			return evs
		})},
		{"a later signal is taken first", "P3", "before signal", log(func(evs []api.Event) []api.Event {
			i := index(evs, api.EventTurn, 0)
			evs[i].Signals, evs[i+1].Signals = []uint64{2}, []uint64{2}
			return evs
		})},
		{"one key is answered twice", "P2", "was answered with", func(in *history.Input) { in.Accepted[1].Signal = "another" }},
		{"one place is given twice", "P3", "was given to", func(in *history.Input) {
			in.Accepted[2].Sequence, in.Accepted[3].Sequence = 1, 1
		}},
		{"one id is given twice", "P2", "was given to key", func(in *history.Input) { in.Accepted[2].Signal, in.Accepted[3].Signal = "sig1", "sig1" }},
		{"a turn that nobody saw", "P4", "no agent of epoch", func(in *history.Input) { in.Witness = slices.Delete(in.Witness, 0, 2) }},
		{"two act at a time", "P4", "two act at a time", func(in *history.Input) {
			w := in.Witness[0]
			w.Kind, w.PID, w.Boot = history.Locked, 7, w.Boot+1
			in.Witness = slices.Insert(in.Witness, 1, w)
		}},
		{"two epochs overlap", "P4", "while another one acted", func(in *history.Input) {
			w := in.Witness[1] // the end of the first turn, after the next attempt began
			in.Witness = slices.Delete(in.Witness, 1, 2)
			w.Boot = in.Witness[2].Boot
			in.Witness = slices.Insert(in.Witness, 3, w)
		}},
		{"an old attempt begins late", "P4", "began after", func(in *history.Input) {
			w := in.Witness[0]
			w.Boot = in.Witness[len(in.Witness)-1].Boot + 1
			in.Witness = append(in.Witness, w)
		}},
		{"an agent skips a signal", "P3", "when nobody had begun", func(in *history.Input) { in.Witness = slices.Delete(in.Witness, 2, 5) }},
		{"a state went back in silence", "P10", "lacks signal 2", func(in *history.Input) { in.Witness[5].Memory = []uint64{1} }},
		{"a state is of another session", "P10", "nobody had begun", func(in *history.Input) { in.Witness[2].Memory = []uint64{1, 9} }},
		{"something runs", "P4", "left running", func(in *history.Input) { in.Running = []string{"nave-harness 77"} }},
		{"an agent without a log", "P4", "has no log", func(in *history.Input) {
			w := in.Witness[0]
			w.Session = "01JZ0000000000000000000001"
			in.Witness = append(in.Witness, w)
		}},
		{"the log ends in a turn", "P5", "ends within a turn", log(func(evs []api.Event) []api.Event { return evs[:len(evs)-1] })},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := good().in
			c.spoil(&in)
			findings, _ := history.Judge(in)
			if !slices.ContainsFunc(findings, func(f history.Finding) bool { return f.Promise == c.promise && strings.Contains(f.Text, c.text) }) {
				t.Errorf("want a finding of %s with %q, got %v", c.promise, c.text, findings)
			}
		})
	}
}

func TestParseWorkload(t *testing.T) {
	id, epoch, attempt, err := history.ParseWorkload("01jz0000000000000000000000-1-3-2")
	if err != nil || id != session || epoch != (api.Epoch{Incarnation: 1, N: 3}) || attempt != 2 {
		t.Fatal(id, epoch, attempt, err)
	}
	for _, bad := range []string{"", "a-b-c-d", "01jz-1-3", "01jz-1-3-2-4"} {
		if _, _, _, err := history.ParseWorkload(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

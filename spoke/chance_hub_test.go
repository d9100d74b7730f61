package spoke_test

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
)

// chanceHub is a hub with one session and one cluster: what the design says that the owner of a session does, and no more.
type chanceHub struct {
	t           *rapid.T
	batch       uint64
	epoch       uint64
	assigned    bool
	releasing   bool
	gone        bool
	sequence    uint64
	signals     []chanceSignal
	taken       map[api.Source]uint64
	checkpoints []api.CheckpointID
	begins      api.CheckpointID // that the epoch begins from
	mode        api.CheckpointMode
	never       bool
	out         []api.HubMessage
	told        bool // the present state is on its way
}

type chanceSignal struct {
	n        uint64
	settled  bool
	by       api.Source
	number   uint64 // consumed by this event of by; 0: pending
	failures uint32
}

func (h *chanceHub) at() api.Epoch { return api.Epoch{Incarnation: 1, N: h.epoch} }

func (h *chanceHub) accept() {
	h.sequence++
	h.signals = append(h.signals, chanceSignal{n: h.sequence})
	h.change()
}

// unsettled reports that something is left to do.
func (h *chanceHub) unsettled() bool {
	return slices.ContainsFunc(h.signals, func(s chanceSignal) bool { return !s.settled })
}

// change is a commit: the state is another one.
func (h *chanceHub) change() {
	if !h.assigned && h.unsettled() {
		h.epoch++
		h.assigned, h.releasing, h.gone, h.begins = true, false, false, ""
		if n := len(h.checkpoints); n > 0 {
			h.begins = h.checkpoints[n-1]
		}
		for i := range h.signals {
			h.signals[i].number = 0 // no checkpoint covers the turn
		}
		h.taken = map[api.Source]uint64{}
	}
	h.batch++
	h.told = false
}

// update says what is wanted now.
func (h *chanceHub) update(full bool) {
	h.told = true
	u := api.ShardUpdate{Position: position(h.batch + 1), Full: full}
	if h.assigned {
		d := desired(sessionA, h.at())
		d.Revision.Agent.MaxDeliveries, d.Revision.Agent.Checkpoint.Mode, d.Checkpoint = 1000, h.mode, h.begins
		if h.never {
			d.Revision.Agent.StopAfter = api.StopNever
		}
		for _, s := range h.signals {
			if !s.settled && s.number == 0 && len(d.Signals) < 4 {
				d.Signals = append(d.Signals, api.Signal{ID: api.SignalID(fmt.Sprint(s.n)), Session: sessionA, Sequence: s.n, Deliveries: s.failures})
			}
		}
		if h.releasing {
			d = release(sessionA, h.at())
		}
		u.Sessions = []api.Desired{d}
	}
	h.out = append(h.out, api.HubMessage{Updates: []api.ShardUpdate{u}})
}

func (h *chanceHub) take(m api.SpokeMessage) {
	for _, b := range m.Events {
		for _, e := range b.Events {
			if b.Source.Epoch == h.at() && h.assigned {
				switch last := h.taken[b.Source]; {
				case e.SourceNumber > last+1:
					h.t.Fatalf("event %d of %v after %d: a gap", e.SourceNumber, b.Source, last)
				case e.SourceNumber == last+1:
					h.taken[b.Source] = e.SourceNumber
					h.event(b.Source, e)
				}
			}
			h.out = append(h.out, api.HubMessage{Acks: []api.Ack{{Session: sessionA, Source: b.Source, UpTo: e.SourceNumber, Position: position(h.batch + 1)}}})
		}
	}
	for _, held := range m.Held {
		h.held(held)
	}
}

func (h *chanceHub) event(source api.Source, e api.Event) {
	each := func(f func(s *chanceSignal)) {
		for i := range h.signals {
			f(&h.signals[i])
		}
		h.change()
	}
	switch {
	case e.Type == api.EventTurnDone && e.Outcome.Consumes():
		each(func(s *chanceSignal) {
			if slices.Contains(e.Signals, s.n) && !s.settled && s.number == 0 {
				s.by, s.number = source, e.SourceNumber
			}
		})
	case e.Type == api.EventTurnDone && e.Outcome == api.OutcomeFailed:
		each(func(s *chanceSignal) {
			if slices.Contains(e.Signals, s.n) && !s.settled && s.number == 0 {
				s.failures++
			}
		})
	case e.Type == api.EventSaved:
		h.checkpoints = append(h.checkpoints, api.CheckpointID(e.Attributes[api.AttrCheckpoint]))
		each(func(s *chanceSignal) { s.settled = s.settled || s.number > 0 })
	case e.Type == api.EventState:
		each(func(s *chanceSignal) {
			if slices.Contains(e.Signals, s.n) {
				if s.settled {
					h.t.Fatalf("signal %d is forgotten by %v and was settled", s.n, source)
				}
				s.number = 0
			}
		})
	}
}

// held takes a report.
func (h *chanceHub) held(held api.Held) {
	if !h.assigned || held.Epoch != h.at() {
		return
	}
	switch held.State {
	case api.HeldIdle:
		if held.Seen == h.sequence && !h.unsettled() {
			h.releasing = true
			h.change()
		}
	case api.HeldLapsed:
		h.releasing = true
		h.change()
	case api.HeldGone:
		h.assigned = false
		h.change()
	}
}

// hello begins a connection.
func (h *chanceHub) hello(hello api.Hello) {
	h.out = nil
	for _, held := range hello.Held {
		source := api.Source{Epoch: held.Epoch, Attempt: held.Attempt}
		if held.Number < h.taken[source] && held.Epoch == h.at() && h.assigned {
			h.t.Fatalf("the spoke has %d events of %v, %d were taken: its journal is behind", held.Number, source, h.taken[source])
		}
		h.held(held)
	}
	h.update(true)
}

// chanceEnd is how long the right of an answer lasts.
const chanceEnd = time.Minute

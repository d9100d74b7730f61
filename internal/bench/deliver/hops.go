package deliver

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/internal/bench/measure"
)

// The marks on the way of a signal, in their order. Times of events are those of who made them.
const (
	markAccepted  = "accepted by the owner" // before it is durable
	markAnswered  = "answered"              // after
	markPlaced    = "placed"
	markStarted   = "harness runs"
	markRestored  = "state restored"
	markTurn      = "turn started"
	markArrived   = "agent's program has it"
	markTurnEnded = "turn ended" // with its checkpoint on the disk
)

var marks = []string{markAccepted, markAnswered, markPlaced, markStarted, markRestored, markTurn, markArrived, markTurnEnded}

// hops are the times from when signals were due until each mark.
type hops map[string]measure.Samples

// of is when a signal passed the marks, by the log of its session.
func (h hops) add(s sent, log []*navev1.Event) {
	put := func(mark string, at time.Time) { h[mark] = append(h[mark], at.Sub(s.due)) }
	put(markAnswered, s.answered)
	put(markArrived, s.arrived)
	begun := map[string]time.Time{} // the last ones before the turn
	for _, e := range log {
		at := e.GetTime().AsTime()
		switch t := api.EventType(e.GetType()); t {
		case api.EventAccepted:
			if slices.Contains(e.GetSignals(), s.sequence) {
				put(markAccepted, at)
			}
		case api.EventPlaced:
			begun[markPlaced] = at
		case api.EventStarted:
			begun[markStarted] = at
		case api.EventState:
			begun[markRestored] = at
		case api.EventTurn:
			if !slices.Contains(e.GetSignals(), s.sequence) {
				continue
			}
			put(markTurn, at)
			for mark, at := range begun {
				if at.After(s.due) {
					put(mark, at)
				}
			}
		case api.EventTurnDone:
			if slices.Contains(e.GetSignals(), s.sequence) {
				put(markTurnEnded, at)
			}
		}
	}
}

// hops reads the logs of the sessions that signals went to.
func (w *world) hops(ctx context.Context, signals []sent) (hops, error) {
	h, logs := hops{}, map[string][]*navev1.Event{}
	for _, s := range signals {
		if logs[s.session] == nil {
			stream, err := w.calls.Events(w.authorized(ctx), &navev1.EventsRequest{SessionId: s.session})
			if err != nil {
				return nil, err
			}
			for {
				e, err := stream.Recv()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					return nil, err
				}
				logs[s.session] = append(logs[s.session], e)
			}
		}
		h.add(s, logs[s.session])
	}
	return h, nil
}

// show reports the median of each mark.
func (w *world) show(name string, h hops) {
	for _, m := range marks {
		if s := h[m]; len(s) > 0 {
			w.b.Report(measure.Figure{Name: name + ": " + m + ", p50", Unit: "ms", Value: measure.Ms(s.At(0.5))})
		}
	}
}

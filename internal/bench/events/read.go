package events

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/internal/bench/floor"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/bench/rig"
	"github.com/nave-dev/nave/internal/run"
)

// lineBytes is how long a line is: with the rest of its row about 300 bytes.
const lineBytes = 160

// lead is the time from a signal to a session that runs until the first line is due: its agent's program runs by then.
const lead = 500 * time.Millisecond

// warmUp is printed before anything counts.
var warmUp = floor.Plan{Lines: 1000, Rate: 2000, Bytes: lineBytes}

// seen is what a reader has of one session.
type seen struct {
	due     []int64         // of each line, in their order
	arrived []int64         // at the reader
	late    measure.Samples // of the lines that were waited for: how late their program woke
}

func newSeen(p floor.Plan) *seen {
	return &seen{due: make([]int64, 0, p.Lines), arrived: make([]int64, 0, p.Lines)}
}

// check takes a line. Its number is to be the next one.
func (s *seen) check(text string) error {
	now := time.Now().UnixNano()
	m, err := floor.ParseLine(text)
	if err != nil {
		return err
	}
	if m.N != len(s.due) {
		return fmt.Errorf("line %d comes where line %d is due", m.N, len(s.due))
	}
	s.due, s.arrived = append(s.due, m.Due), append(s.arrived, now)
	if m.Late != floor.Unknown {
		s.late = append(s.late, m.Late)
	}
	return nil
}

// latencies are those of the lines, the first ones left out: a program that has just begun is not what is measured.
func latencies(all []*seen, begin time.Time, warm time.Duration) measure.Samples {
	var out measure.Samples
	from := begin.Add(warm).UnixNano()
	for _, s := range all {
		for i, due := range s.due {
			if due >= from {
				out = append(out, time.Duration(s.arrived[i]-due))
			}
		}
	}
	return out
}

// lateness is how late the programs woke for their lines.
func lateness(all []*seen) (out measure.Samples) {
	for _, s := range all {
		out = append(out, s.late...)
	}
	return out
}

// print lets the agents of some sessions print by a plan, each its share of the rate, and reads until all lines are there.
func (w *world) print(ctx context.Context, n int, p floor.Plan) (all []*seen, begin time.Time, err error) {
	begin = time.Now().Add(lead)
	g := run.NewGroup(ctx)
	for i, own := range shares(n, p, begin) {
		s := newSeen(own)
		all = append(all, s)
		g.Go("session", func(ctx context.Context) error { return w.follow(ctx, fmt.Sprintf("s%d", i), own, s) })
	}
	err = g.Wait()
	w.b.Late = append(w.b.Late, lateness(all)...)
	return all, begin, err
}

// shares are the plans of the sessions that print by one plan together. They are not due at the same moment.
func shares(n int, p floor.Plan, begin time.Time) []floor.Plan {
	out := make([]floor.Plan, n)
	for i := range out {
		out[i] = p
		out[i].Lines, out[i].Rate, out[i].Begin = p.Lines/n, p.Rate/float64(n), begin.UnixNano()
		if p.Rate > 0 {
			out[i].Begin += int64(float64(max(p.Burst, 1)) / p.Rate * float64(i) * 1e9)
		}
	}
	return out
}

// follow sends the plan as a signal and reads the session's log from there on.
func (w *world) follow(ctx context.Context, key string, p floor.Plan, s *seen) error {
	payload, err := json.Marshal(p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(w.Authorized(ctx))
	defer cancel()
	accepted, err := w.calls.Signal(ctx, &navev1.SignalRequest{Agent: rig.Agent, Key: key, Payload: payload})
	if err != nil {
		return err
	}
	next := accepted.GetAfterEvent() + 1
	stream, err := w.calls.Events(ctx, &navev1.EventsRequest{SessionId: accepted.GetSessionId(), From: next, Follow: true})
	if err != nil {
		return err
	}
	for {
		e, err := stream.Recv()
		if err != nil {
			return err
		}
		if e.GetNumber() != next {
			return fmt.Errorf("session %s: event %d comes where %d is due", key, e.GetNumber(), next)
		}
		next++
		switch {
		case strings.HasPrefix(e.GetText(), "line "):
			if err := s.check(e.GetText()); err != nil {
				return fmt.Errorf("session %s: %w", key, err)
			}
		case e.GetType() == "turn.ended":
			if e.GetOutcome() != "done" {
				return fmt.Errorf("session %s: the turn ended %s: %s", key, e.GetOutcome(), e.GetText())
			}
			if len(s.due) != p.Lines {
				return fmt.Errorf("session %s: the turn ended after %d of %d lines", key, len(s.due), p.Lines)
			}
			return nil
		}
	}
}

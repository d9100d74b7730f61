package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub/client"
)

// waiter follows a session's log until one signal is consumed or given up: a turn that fails, or is cut off, is begun again. Messages are shown from the signal's
// acceptance on, but for those of turns that are known to be about other signals.
type waiter struct {
	*app
	live     *live
	sequence uint64
	accepted bool          // the signal's acceptance, or its turn, was seen
	others   bool          // a turn about other signals is open
	end      *navev1.Event // its last turn record, or that it is a dead letter
}

func (w *waiter) take(e *navev1.Event) error {
	if e.GetDelta() != nil {
		if w.accepted && !w.others && api.EventType(e.GetType()) == api.EventMessage {
			return w.live.delta(e)
		}
		return nil
	}
	mine := slices.Contains(e.GetSignals(), w.sequence)
	switch api.EventType(e.GetType()) {
	case api.EventAccepted:
		w.accepted = w.accepted || mine
	case api.EventTurn:
		w.accepted = w.accepted || mine
		w.others = !mine
	case api.EventStarted, api.EventEnded:
		w.others = false
	}
	shown := w.accepted && !w.others
	if w.output == formatJSON && (shown || mine) {
		if err := w.printLine(e); err != nil {
			return err
		}
	}
	switch api.EventType(e.GetType()) {
	case api.EventMessage:
		if shown && w.output != formatJSON {
			if done, err := w.live.event(e); done || err != nil {
				return err
			}
			if _, err := fmt.Fprintln(w.out, strings.TrimRight(w.text(e.GetText()), "\n")); err != nil {
				return err
			}
		}
	case api.EventAsked:
		if shown && w.output != formatJSON {
			w.live.close()
			id := short(e.GetAttributes()[api.AttrApproval])
			w.note("the agent asks: %s; answer it by nave approve %s, or nave deny %s", e.GetAttributes()[api.AttrTitle], id, id)
		}
	case api.EventTurnDone:
		w.others = false
		if !mine {
			return nil
		}
		if w.end = e; api.Outcome(e.GetOutcome()).Consumes() {
			return client.ErrStop
		}
		if w.output != formatJSON {
			w.live.close()
			w.note("the turn ended as %q: %s; the signal comes again", e.GetOutcome(), firstLine(e.GetText()))
		}
	case api.EventDead:
		if mine {
			w.end = e
			return client.ErrStop
		}
	case api.EventEnd:
		w.end = e
		return client.ErrStop
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// verdict turns the turn's outcome into success or failure.
func (w *waiter) verdict() error {
	switch {
	case w.end == nil:
		return api.Errorf(api.CodeUnavailable, "the log ended before the turn did: follow it with nave events --follow")
	case api.Outcome(w.end.GetOutcome()) == api.OutcomeDone:
		return nil
	case api.EventType(w.end.GetType()) == api.EventDead:
		return api.Errorf(api.CodeFailed, "the signal is a dead letter: %s; send it again by nave replay %s", w.end.GetText(), w.end.GetAttributes()["signal"])
	case api.EventType(w.end.GetType()) == api.EventEnd:
		return api.Errorf(api.CodeFailed, "the session was terminated: %s", w.end.GetText())
	}
	why := w.end.GetText()
	if why == "" {
		why = "nave events shows what happened"
	}
	return api.Errorf(api.CodeFailed, "the turn ended as %q: %s", w.end.GetOutcome(), why)
}

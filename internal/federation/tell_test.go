package federation_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nave-dev/nave/api/navev1"
)

// nave runs a command that is to succeed.
func (w *world) nave(args ...string) string {
	w.t.Helper()
	out, err := w.Nave(w.within(), args...)
	w.must(err)
	return out
}

// tell sends text to an agent and returns the session's id.
func (w *world) tell(agent, key, text string) string {
	w.t.Helper()
	a, err := w.client.Sessions.Signal(w.within(), &navev1.SignalRequest{Agent: agent, Key: key, Payload: []byte(text)})
	w.must(err)
	return a.GetSessionId()
}

// awaitLog waits until the log is as wanted.
func (w *world) awaitLog(session, what string, ok func(events) bool) (log events) {
	w.t.Helper()
	err := w.Await(w.within(), what, func() (bool, error) { log = w.log(session); return ok(log), nil })
	if err != nil {
		w.t.Fatalf("%v; the log:\n%s", err, log)
	}
	return log
}

// ended waits until turns have ended, and checks how.
func (w *world) ended(session string, outcomes ...string) events {
	w.t.Helper()
	log := w.awaitLog(session, fmt.Sprintf("%d turns have ended", len(outcomes)), func(log events) bool { return len(log.outcomes()) >= len(outcomes) })
	if !slices.Equal(log.outcomes(), outcomes) {
		w.t.Fatalf("turns ended %q, want %q; the log:\n%s", log.outcomes(), outcomes, log)
	}
	return log
}

// says fails unless the agent has said something.
func (w *world) says(log events, text string) {
	w.t.Helper()
	if !slices.ContainsFunc(log.messages(), func(m string) bool { return strings.Contains(m, text) }) {
		w.t.Errorf("the agent has not said %q; the log:\n%s", text, log)
	}
}

package federation_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// atOnce is far longer than a cancelled turn takes to end, and shorter than the turn itself.
const atOnce = 5 * time.Second

// slowly begins a turn of ten seconds and waits until its agent is in it.
func (w *world) slowly(agent, key string) (session string) {
	w.t.Helper()
	session = w.tell(agent, key, "slow 100")
	w.awaitLog(session, "the turn runs", func(log events) bool { return len(log.of(api.EventTurn)) == 1 && len(log.of(api.EventPlan)) == 1 })
	return session
}

// cancelsTurn: the turn ends at once and for good, and the session takes the next signal.
func (w *world) cancelsTurn() {
	session := w.slowly("scribe", "cancel-turn")
	begin := time.Now()
	w.nave("cancel", session, "--note", "that will do")
	log := w.ended(session, "[1] cancelled")
	if took := time.Since(begin); took > atOnce {
		w.t.Errorf("the turn ended %v after it was cancelled", took)
	}
	if end := log.of(api.EventTurnDone)[0]; !strings.Contains(end.GetText(), "that will do") || len(log.of(api.EventCancelled)) != 1 {
		w.t.Errorf("the turn's record is %v; the log:\n%s", end, log)
	}
	w.again(session, "recall")
	w.says(w.ended(session, "[1] cancelled", "[2] done"), "I remember nothing.")
	w.await("both are settled", func() (bool, error) { return w.session(session).GetPending() == 0, nil })
}

// interruptsTurn: a later signal ends the turn; the agent keeps in mind what it was sent, so that it is not sent again.
func (w *world) interruptsTurn() {
	session := w.slowly("restless", "interrupt")
	begin := time.Now()
	w.again(session, "recall")
	log := w.ended(session, "[1] cancelled", "[2] done")
	if took := time.Since(begin); took > atOnce {
		w.t.Errorf("the next turn ended %v after its signal was sent", took)
	}
	if end := log.of(api.EventTurnDone)[0]; !strings.Contains(end.GetText(), "signal 2") {
		w.t.Errorf("the first turn's record is %v, want that signal 2 interrupted it", end)
	}
}

// cancelsAll: the signals that wait are consumed, and no turn is begun for them.
func (w *world) cancelsAll() {
	session := w.slowly("scribe", "cancel-all")
	for i := range 3 {
		w.again(session, fmt.Sprintf("count %d", i+1))
	}
	begin := time.Now()
	w.nave("cancel", session, "--all")
	w.await("all are settled", func() (bool, error) { return w.session(session).GetPending() == 0, nil })
	if took := time.Since(begin); took > atOnce {
		w.t.Errorf("all were settled %v after they were cancelled", took)
	}
	w.again(session, "recall")
	log := w.awaitLog(session, "the next signal is done", func(log events) bool {
		all := log.outcomes()
		return len(all) > 0 && all[len(all)-1] == "[5] done"
	})
	var cancelled []uint64
	for _, e := range log.of(api.EventTurnDone) {
		if e.GetOutcome() == string(api.OutcomeCancelled) {
			cancelled = append(cancelled, e.GetSignals()...)
		}
	}
	var begun []uint64
	for _, e := range log.of(api.EventTurn) {
		begun = append(begun, e.GetSignals()...)
	}
	if fmt.Sprint(cancelled) != "[1 2 3 4]" || fmt.Sprint(begun) != "[1 5]" {
		w.t.Errorf("cancelled are %v, turns were begun for %v; want 1 to 4, and 1 and 5; the log:\n%s", cancelled, begun, log)
	}
	if n := strings.Count(strings.Join(log.messages(), ""), "number"); n != 0 {
		w.t.Errorf("the scribe counted %d numbers that were cancelled", n)
	}
}

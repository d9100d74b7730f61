package history

import (
	"cmp"

	"github.com/nave-dev/nave/api"
)

// acting checks what agents wrote down: at most one acts at a time, later ones have later epochs and attempts, and signals
// are begun in the order of their acceptance, but for those that were cancelled before anybody began them (P3, P4).
func (j *judge) acting(id api.SessionID, lines []Witness) {
	var (
		open   *Witness // begun and not ended: it was killed, or it acts still
		latest Witness
		begun  uint64 // the highest signal that was ever begun
	)
	dropped := map[uint64]bool{}
	for _, ev := range j.in.Logs[id] {
		if ev.Type == api.EventTurnDone && ev.Outcome == api.OutcomeCancelled {
			for _, n := range ev.Signals {
				dropped[n] = true
			}
		}
	}
	for i := range lines {
		w := &lines[i]
		if w.Boot < latest.Boot {
			j.find("P4", id, "pid %d wrote %q at %v after pid %d wrote at %v: the witness file is not in order", w.PID, w.Kind, w.Boot, latest.PID, latest.Boot)
		}
		switch w.Kind {
		case Locked:
			j.find("P4", id, "pid %d of epoch %s attempt %d found the session locked: two act at a time", w.PID, w.Epoch, w.Attempt)
			continue
		case Begin:
			j.tally.Begun++
			if latest.Kind != "" && cmp.Or(w.Epoch.Compare(latest.Epoch), cmp.Compare(w.Attempt, latest.Attempt)) < 0 {
				j.find("P4", id, "epoch %s attempt %d began after epoch %s attempt %d", w.Epoch, w.Attempt, latest.Epoch, latest.Attempt)
			}
			if open != nil && open.PID == w.PID {
				j.find("P4", id, "pid %d began a turn in a turn", w.PID)
			}
			n := min1(w.Signals)
			for dropped[begun+1] && begun+1 < n {
				begun++
			}
			if n > begun+1 {
				j.find("P3", id, "pid %d began signal %d when nobody had begun signal %d", w.PID, n, begun+1)
			}
			for _, n := range w.Signals {
				begun = max(begun, n)
			}
			open = w
		case End:
			if open == nil || open.PID != w.PID {
				j.find("P4", id, "pid %d of epoch %s attempt %d ended a turn while another one acted", w.PID, w.Epoch, w.Attempt)
			}
			open = nil
		}
		latest = *w
	}
}

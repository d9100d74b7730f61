package spoke

import (
	"time"

	"github.com/nave-dev/nave/api"
)

// heldOf says what the hub is to know; false while the session is not decided about.
func heldOf(d *desired, o *observed, now time.Duration) (api.Held, bool) {
	h := api.Held{Session: d.Session, Epoch: d.Epoch, Attempt: d.Attempt, Reason: d.Reason, Seen: d.Seen, StartFailures: d.StartFailures}
	switch {
	case d.Verdict == refused:
		h.State = api.HeldRefused
	case d.Lapsed:
		h.State = api.HeldLapsed
	case d.Verdict == undecided || d.stopping() && !d.live(): // Gone comes next
		return h, false
	case idle(d, o, now):
		h.State, h.Reason = api.HeldIdle, ""
	case d.live() && o.Heard:
		h.State, h.Reason = api.HeldRunning, ""
	default:
		h.State = api.HeldAdmitted
		if w, ok := find(o.Listed, d.workload()); ok && d.live() && w.Waiting != "" {
			h.Reason = w.Waiting
		}
	}
	return h, true
}

// sameHeld reports that the hub would learn nothing: which signals the spoke has seen matters when it proposes to sleep, and
// goes with what is reported then. Else each signal would cost a report.
func sameHeld(a, b api.Held) bool {
	if b.State != api.HeldIdle {
		a.Seen = b.Seen
	}
	return a == b
}

func idle(d *desired, o *observed, now time.Duration) bool {
	return !d.stopping() && !o.Busy && !d.working() && len(d.Uncovered) == 0 && now >= o.IdleAt+d.Revision.Agent.IdleTimeout
}

// planGone reports Gone behind the session's last event, and forgets the session once the report is queued. A report that
// is lost with its connection is made again when the hub asks again for the release. A session that lapsed is kept until the
// hub has shown that it knows: it may name the epoch once more, from before it heard of the lapse.
func planGone(d *desired, o *observed) []action {
	held := api.Held{Session: d.Session, Epoch: d.Epoch, Attempt: d.Attempt, State: api.HeldGone, Seen: d.Seen, StartFailures: d.StartFailures}
	switch {
	case !o.Connected || !o.Sent:
		return nil
	case o.Reported == nil || *o.Reported != held:
		return []action{report{held}}
	case d.Lapsed && !d.Released:
		return nil
	}
	return []action{forget{forgottenRecord{d.Session, d.Epoch}}}
}

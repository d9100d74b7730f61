package spoke

import (
	"hash/fnv"
	"time"

	"github.com/nave-dev/nave/api"
)

// endOrdered is the text of a harness's workload.ended when it was told to end: by the spoke, or by the machine it runs on.
const endOrdered = "stopped"

// startPauses are the times before the next attempt, by starts in a row that failed; the last one repeats.
var startPauses = []time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute}

// restartPauses are the same by ends after a turn began, since a turn succeeded.
var restartPauses = []time.Duration{0, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second}

func pauseOf(pauses []time.Duration, n uint32) time.Duration {
	return pauses[min(max(int(n), 1), len(pauses))-1]
}

// startPause is the pause after the n-th failed start in a row: up to a fifth longer or shorter, the same for the same
// session and count, so that many sessions that one bad definition stops do not come back together.
func startPause(id api.SessionID, n uint32) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(id))
	h.Write([]byte{byte(n)})
	d := pauseOf(startPauses, n)
	x := h.Sum64()
	x ^= x >> 32
	return d - d/5 + 2*d/5*time.Duration(x%1024)/1023
}

// retryPause is the pause before the next attempt after this end.
func retryPause(d *desired, e end) time.Duration {
	switch {
	case e.Failure != "":
		return startPause(d.Session, d.StartFailures+1)
	case e.Restart:
		return pauseOf(restartPauses, d.Failures+1)
	}
	return 0
}

// resumePause is the pause after a restart of the program, which does not know how much of it has passed.
func resumePause(d *desired) time.Duration {
	switch {
	case d.StartFailures > 0:
		return startPause(d.Session, d.StartFailures)
	case d.Failures > 0:
		return pauseOf(restartPauses, d.Failures)
	}
	return 0
}

// count tells what the end of an attempt counts as:
//
//	the end                                   counts as
//	asked for: released, lapsed, frozen       nothing
//	the platform ended it, or lost its node   restart, the turn is cut
//	withdrawn before the runtime was asked    nothing
//	the runtime made no workload              failed start, runtime
//	before a turn, the harness says the kind  failed start, that kind
//	before a turn, the runtime says the kind  failed start, that kind
//	before a turn, the harness was told to    restart
//	before a turn, else                       failed start, crash
//	after a turn began                        restart
func count(d *desired, o *observed, w Workload) (failure api.StartFailure, restart bool) {
	switch {
	case o.StartErr != "":
		return api.StartFailureRuntime, false
	case d.Began:
		return "", true
	case d.Failure != "":
		return d.Failure, false
	case d.Closed:
		return "", true
	case w.Failure != "":
		return w.Failure, false
	}
	return api.StartFailureCrash, false
}

// failureOf is what a harness's workload.ended says of a start that failed; known kinds pass, an end without one is a crash.
func failureOf(e api.Event) api.StartFailure {
	switch f := api.StartFailure(e.Attributes[api.AttrFailure]); {
	case f == api.StartFailureConfig || f == api.StartFailureRestore || f == api.StartFailureImage || f == api.StartFailureRuntime:
		return f
	case f == "" && e.Text == endOrdered:
		return ""
	}
	return api.StartFailureCrash
}

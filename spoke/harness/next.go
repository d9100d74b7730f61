package harness

import (
	"fmt"

	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// facts are what the next step depends on.
type facts struct {
	signals   []*harnessv1.Signal // of the orders, in order
	single    bool                // one signal per turn
	stop      string              // why to end; empty: go on
	lapsed    bool                // the lease has run out
	interrupt bool                // a later signal interrupts a turn
	preparing bool                // init scripts run
	running   []uint64            // of the turn that runs; nil between turns
	consumed  spans               // by turns that were done
	failed    map[uint64]uint32   // deliveries of signals when a turn with them failed
}

// The kinds of steps:
//
//	task       facts                          step
//	any        stop                           cut
//	any        lapsed                         cut
//	turn       interrupt and a later signal   cut
//	any        else                           wait
//	none       stop                           end
//	none       lapsed                         wait
//	none       no signal to run               wait
//	none       else                           run
const (
	stepWait = "wait"
	stepRun  = "run"
	stepCut  = "cut"
	stepEnd  = "end"
)

// step is what to do now.
type step struct {
	kind    string
	signals []*harnessv1.Signal // of a run
	reason  string              // of a cut
}

// next decides. It is a function of the facts alone.
func next(f facts) step {
	if f.preparing || f.running != nil {
		switch w := waiting(f); {
		case f.stop != "":
			return step{kind: stepCut, reason: f.stop}
		case f.lapsed:
			return step{kind: stepCut, reason: "the lease of the spoke ran out"}
		case f.interrupt && !f.preparing && len(w) > 0 && last(w) > f.running[len(f.running)-1]:
			return step{kind: stepCut, reason: fmt.Sprintf("signal %d interrupts", last(w))}
		}
		return step{kind: stepWait}
	}
	switch w := waiting(f); {
	case f.stop != "":
		return step{kind: stepEnd}
	case f.lapsed || len(w) == 0:
		return step{kind: stepWait}
	default:
		return step{kind: stepRun, signals: w}
	}
}

// waiting lists the signals that the next turn takes: all that were not consumed, up to the first that failed and was
// not handed out anew.
func waiting(f facts) []*harnessv1.Signal {
	var w []*harnessv1.Signal
	for _, s := range f.signals {
		if f.consumed.has(s.Sequence) {
			continue
		}
		if at, failed := f.failed[s.Sequence]; failed && s.Deliveries <= at {
			break
		}
		w = append(w, s)
		if f.single {
			break
		}
	}
	return w
}

func last(signals []*harnessv1.Signal) uint64 { return signals[len(signals)-1].Sequence }

// spans is a set of sequences, kept as spans because sequences are dense.
type spans []span

type span struct{ from, to uint64 }

func (ss spans) has(n uint64) bool {
	for _, s := range ss {
		if s.from <= n && n <= s.to {
			return true
		}
	}
	return false
}

// with returns the set with n in it.
func (ss spans) with(n uint64) spans {
	out := make(spans, 0, len(ss)+1)
	at := span{n, n}
	for _, s := range ss {
		if s.to+1 < at.from {
			out = append(out, s)
			continue
		}
		if at.to+1 < s.from {
			out, at = append(out, at), s
			continue
		}
		at = span{min(at.from, s.from), max(at.to, s.to)}
	}
	return append(out, at)
}

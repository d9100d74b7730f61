package harness

import (
	"fmt"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// The kinds of tasks: what runs, one at a time.
const (
	taskNone    = ""
	taskRestore = "restore" // the state directory
	taskPrepare = "prepare" // files and init scripts
	taskOpen    = "open"    // a conversation: the agent's program begins, the turn comes next
	taskTurn    = "turn"
	taskClose   = "close"  // a conversation of which no turn comes
	taskTake    = "take"   // a checkpoint, onto the disk
	taskUpload  = "upload" // it into the bucket
)

// facts are what the next step depends on.
type facts struct {
	task      string              // that runs
	running   []uint64            // signals of the turn that runs
	stop      string              // why to end; empty: go on
	lapsed    string              // why the agent may not act, or may not go on with the task; empty: it may
	restored  bool                // the state directory is what the attempt begins from
	prepared  bool                // files are in place and init scripts have run
	converses bool                // a turn needs a conversation that is open
	opened    bool                // one is: the agent's program runs
	signals   []*harnessv1.Signal // of the orders, in order
	single    bool                // one signal per turn
	interrupt bool                // a later signal interrupts a turn
	cancelled uint64              // signals up to this one are cancelled
	reason    string              // of that
	consumed  spans               // by turns that were done
	failed    map[uint64]uint32   // deliveries of signals when a turn with them failed

	mode      api.CheckpointMode
	open      bool // a turn has ended, and its record waits for its checkpoint
	dirty     bool // a turn began since the last checkpoint
	uncovered bool // there is a checkpoint, and no event yet that says it is in the bucket
	elapsed   bool // the interval between checkpoints is over
	calm      bool // no pause after a checkpoint that could not be taken or saved
	stalled   bool // the upload does not move
}

// The kinds of steps, by the first row that holds. A signal to run is not cancelled. Work is: a signal to run, a cancelled one
// that waits, or stop.
//
//	task                 facts                                                   step
//	restore              stop                                                    cut
//	prepare, open, turn  stop                                                    cut
//	prepare, open, turn  lapsed                                                  cut
//	open                 no signal to run                                        cut
//	turn                 all its signals are cancelled                           cancel
//	turn                 interrupt and a later signal                            interrupt
//	upload               stalled and work                                        abandon
//	any                  else                                                    wait
//	none                 opened: a signal to run and neither stop nor lapsed     run
//	none                 opened                                                  close
//	none                 open                                                    take
//	none                 dirty, calm: stop                                       take
//	none                 dirty, calm: mode turn                                  take
//	none                 dirty, calm: mode interval and elapsed                  take
//	none                 dirty, calm: mode idle and no signal to run, or lapsed  take
//	none                 uncovered, not dirty, calm                              upload
//	none                 stop                                                    end
//	none                 not restored                                            restore
//	none                 a cancelled signal waits                                drop
//	none                 lapsed                                                  wait
//	none                 not prepared                                            prepare
//	none                 a signal to run, converses                              open
//	none                 a signal to run                                         run
//	none                 else                                                    wait
const (
	stepWait      = "wait"
	stepRestore   = "restore"
	stepPrepare   = "prepare"
	stepOpen      = "open"
	stepClose     = "close"
	stepRun       = "run"
	stepDrop      = "drop" // consume signals without running anything
	stepCut       = "cut"
	stepCancel    = "cancel"    // end the turn; its signals are consumed
	stepInterrupt = "interrupt" // end the turn, to go on with a later signal
	stepTake      = "take"
	stepUpload    = "upload"
	stepAbandon   = "abandon"
	stepEnd       = "end"
)

// step is what to do now.
type step struct {
	kind    string
	signals []*harnessv1.Signal // of a run or a drop
	reason  string              // of a cut, a cancel, an interrupt or a drop
}

// next decides. It is a function of the facts alone.
func next(f facts) step {
	w := waiting(f)
	if f.task != taskNone {
		return during(f, w)
	}
	dropped := drops(f)
	switch {
	case f.opened && len(w) > 0 && len(dropped) == 0 && f.stop == "" && f.lapsed == "":
		return step{kind: stepRun, signals: w}
	case f.opened:
		return step{kind: stepClose}
	case f.open || f.dirty && f.calm && due(f, w):
		return step{kind: stepTake}
	case f.uncovered && !f.dirty && f.calm: // what is uncovered does not reach over a turn that began since
		return step{kind: stepUpload}
	case f.stop != "":
		return step{kind: stepEnd}
	case !f.restored:
		return step{kind: stepRestore}
	case len(dropped) > 0:
		return step{kind: stepDrop, signals: dropped, reason: f.reason}
	case f.lapsed != "":
		return step{kind: stepWait}
	case !f.prepared:
		return step{kind: stepPrepare}
	case len(w) > 0 && f.converses:
		return step{kind: stepOpen}
	case len(w) > 0:
		return step{kind: stepRun, signals: w}
	}
	return step{kind: stepWait}
}

// during decides while a task runs.
func during(f facts, w []*harnessv1.Signal) step {
	agent := f.task == taskPrepare || f.task == taskOpen || f.task == taskTurn
	switch {
	case f.stop != "" && (agent || f.task == taskRestore):
		return step{kind: stepCut, reason: f.stop}
	case f.lapsed != "" && agent:
		return step{kind: stepCut, reason: f.lapsed}
	case f.task == taskOpen && len(w) == 0:
		return step{kind: stepCut, reason: "there is no signal to run any more"}
	case f.task == taskTurn && f.running[len(f.running)-1] <= f.cancelled:
		return step{kind: stepCancel, reason: f.reason}
	case f.task == taskTurn && f.interrupt && len(w) > 0 && last(w) > f.running[len(f.running)-1]:
		return step{kind: stepInterrupt, reason: fmt.Sprintf("signal %d interrupts", last(w))}
	case f.task == taskUpload && f.stalled && (f.stop != "" || len(w)+len(drops(f)) > 0):
		return step{kind: stepAbandon}
	}
	return step{kind: stepWait}
}

// due reports that it is time for a checkpoint of what turns have changed.
func due(f facts, w []*harnessv1.Signal) bool {
	switch f.mode {
	case api.CheckpointInterval:
		return f.elapsed || f.stop != ""
	case api.CheckpointIdle:
		return len(w) == 0 || f.lapsed != "" || f.stop != ""
	}
	return true
}

// drops lists the cancelled signals that wait, those that failed too.
func drops(f facts) []*harnessv1.Signal {
	var out []*harnessv1.Signal
	for _, s := range f.signals {
		if s.Sequence <= f.cancelled && !f.consumed.has(s.Sequence) {
			out = append(out, s)
		}
	}
	return out
}

// waiting lists the signals that the next turn takes: all that were not consumed or cancelled, up to the first that failed
// and was not handed out anew.
func waiting(f facts) []*harnessv1.Signal {
	var w []*harnessv1.Signal
	for _, s := range f.signals {
		if f.consumed.has(s.Sequence) || s.Sequence <= f.cancelled {
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

package harness

import (
	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Facts are what a simulator tells of a harness that it plays; [Next] decides what that harness does. They are those that the
// harness itself decides by, without the parts that a simulator does not play: init scripts, intervals, interrupts,
// conversations.
type Facts struct {
	Task      string            // that runs: "", "restore", "turn", "upload"
	Running   []uint64          // signals of the turn that runs
	Stop      string            // why to end; empty: go on
	Lapsed    string            // why the agent may not act; empty: it may
	Restored  bool              // the state directory is what the attempt begins from
	Signals   []api.Signal      // of the orders, in order
	Single    bool              // one signal per turn
	Consumed  []uint64          // by turns that were done
	Failed    map[uint64]uint32 // deliveries of signals when a turn with them failed
	Open      bool              // a turn has ended, and its record waits for its checkpoint
	Dirty     bool              // a turn began since the last checkpoint
	Uncovered bool              // there is a checkpoint, and no event yet that says it is in the bucket
	Calm      bool              // no pause after a checkpoint that could not be saved
	Stalled   bool              // the upload does not move
	Cancelled api.Cancellation  // of the orders
}

// Step is what the harness does now: "wait", "restore", "run", "drop", "cut", "cancel", "take", "upload", "abandon" or "end".
type Step struct {
	Kind    string
	Signals []uint64 // of a run or a drop
	Reason  string   // of a cut, a cancel or a drop
}

// Next decides as a harness does. It is a function of the facts alone.
func Next(f Facts) Step {
	in := facts{task: f.Task, running: f.Running, stop: f.Stop, lapsed: f.Lapsed, restored: f.Restored, prepared: true, single: f.Single,
		failed: f.Failed, mode: api.CheckpointTurn, open: f.Open, dirty: f.Dirty, uncovered: f.Uncovered, calm: f.Calm, stalled: f.Stalled,
		cancelled: f.Cancelled.UpTo, reason: f.Cancelled.Reason}
	for _, n := range f.Consumed {
		in.consumed = in.consumed.with(n)
	}
	for _, s := range f.Signals {
		in.signals = append(in.signals, &harnessv1.Signal{Sequence: s.Sequence, Deliveries: s.Deliveries})
	}
	out := next(in)
	return Step{Kind: out.kind, Signals: sequences(out.signals), Reason: out.reason}
}

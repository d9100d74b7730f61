package spoke_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// chanceRun is a workload and the harness in it. Its state directory holds the signals that its turns consumed, in order.
type chanceRun struct {
	spec     spoke.WorkloadSpec
	ended    bool
	exit     string
	killAt   time.Duration // 0: nobody asked
	frozen   time.Duration // since when; 0: it is not
	attached bool
	busy     bool // a report is under way

	events   []api.Event // that the spoke has not taken, dense
	number   uint64      // of the last event
	restored bool
	lease    time.Duration
	asked    time.Duration
	turn     []uint64
	consumed map[uint64]bool
	clean    api.CheckpointID // the state is as this checkpoint; empty: as none
	unsaved  bool             // clean is not in the bucket
}

// chanceDisk is what is beside the workloads, and the bucket.
type chanceDisk struct {
	state  []uint64         // the directory
	marker api.CheckpointID // it is as this one
	local  map[api.CheckpointID][]uint64
	bucket map[api.CheckpointID][]uint64
	made   int
}

func (d *chanceDisk) checkpoint() api.CheckpointID {
	d.made++
	h := sha256.Sum256(fmt.Append(nil, d.made, d.state))
	id := api.CheckpointID(hex.EncodeToString(h[:]))
	d.local[id], d.marker = slices.Clone(d.state), id
	return id
}

func (r *chanceRun) emit(e api.Event) {
	r.number++
	e.SourceNumber, e.Time = r.number, time.Unix(0, 0)
	r.events = append(r.events, e)
}

// restore begins an attempt's state.
func (r *chanceRun) restore(d *chanceDisk) {
	r.restored = true
	r.emit(api.Event{Type: api.EventStarted})
	wanted := r.spec.State.Latest
	if wanted == "" {
		wanted = r.spec.State.Saved
	}
	e := api.Event{Type: api.EventState, Attributes: map[string]string{api.AttrCheckpoint: string(wanted)}}
	from := func(v string) { e.Attributes[api.AttrFrom] = v }
	switch {
	case wanted != "" && d.marker == wanted:
		from("kept")
	case wanted != "" && d.local[wanted] != nil:
		from("local")
		d.state = slices.Clone(d.local[wanted])
	case r.spec.State.Saved != "":
		from("bucket")
		wanted = r.spec.State.Saved
		d.state = slices.Clone(d.bucket[wanted])
		e.Attributes[api.AttrCheckpoint] = string(wanted)
		d.local[wanted] = slices.Clone(d.state)
	default:
		from("empty")
		d.state, wanted = nil, ""
		delete(e.Attributes, api.AttrCheckpoint)
	}
	d.marker, r.clean, r.unsaved = wanted, wanted, wanted != r.spec.State.Saved
	r.emit(e)
}

// work does the harness's next step; saving needs the hub.
func (r *chanceRun) work(d *chanceDisk, o spoke.Orders, now time.Duration, online bool, outcome api.Outcome) {
	switch {
	case !r.restored:
		r.restore(d)
	case r.turn != nil:
		e := api.Event{Type: api.EventTurnDone, Signals: r.turn, Outcome: outcome, Attributes: map[string]string{}}
		if outcome.Consumes() {
			d.state = append(slices.Clone(d.state), r.turn...)
			for _, n := range r.turn {
				r.consumed[n] = true
			}
		}
		r.clean, r.unsaved = "", true
		if r.spec.State.Mode == api.CheckpointTurn {
			r.clean = d.checkpoint()
			e.Attributes[api.AttrCheckpoint] = string(r.clean)
		}
		r.turn = nil
		r.emit(e)
	case r.unsaved && online:
		if r.clean == "" {
			r.clean = d.checkpoint()
		}
		d.bucket[r.clean], r.unsaved = slices.Clone(d.local[r.clean]), false
		if d.bucket[r.clean] == nil { // what was beside it is lost; the directory is there
			d.bucket[r.clean] = slices.Clone(d.state)
		}
		r.emit(api.Event{Type: api.EventSaved, Attributes: map[string]string{api.AttrCheckpoint: string(r.clean)}})
	case now < r.lease && !o.Stop:
		for _, s := range o.Signals {
			if r.consumed[s.Sequence] {
				continue
			}
			r.turn = append(r.turn, s.Sequence)
			if o.Single || s.Sequence%3 == 0 {
				break
			}
		}
		if r.turn != nil {
			d.marker = ""
			r.emit(api.Event{Type: api.EventTurn, Signals: r.turn})
		}
	}
}

package events

import (
	"path/filepath"
	"time"

	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/federation"
)

// processor is what the programs of the federation have used since they began.
func (w *world) processor() map[string]time.Duration {
	out := map[string]time.Duration{}
	for _, p := range federation.Naming(w.f.Path()) {
		if used, err := measure.ProcessorTime(p.ID); err == nil { // else it has just ended: an agent
			out[filepath.Base(p.Args[0])] += used
		}
	}
	return out
}

// cost reports what the programs used per event since an earlier look, beside what the floor used for its events.
func (w *world) cost(name string, since map[string]time.Duration, events int, floor time.Duration, floorEvents int) {
	var sum time.Duration
	var attrs []any
	for program, used := range w.processor() {
		if program == filepath.Base(w.b.Self) {
			continue // agents
		}
		used -= since[program]
		sum += used
		attrs = append(attrs, program, (used / time.Duration(events)).String())
	}
	w.b.Log.Info("processor time per event", attrs...)
	per := func(d time.Duration, n int) float64 { return float64(d.Microseconds()) / float64(max(n, 1)) }
	w.b.Report(measure.Figure{Name: "processor time per event " + name, Unit: "µs", Value: per(sum, events), Floor: per(floor, floorEvents)})
}

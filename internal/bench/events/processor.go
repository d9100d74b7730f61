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

// cost reports what the programs used per event since an earlier look.
func (w *world) cost(name string, since map[string]time.Duration, events int) {
	var sum time.Duration
	var attrs []any
	for program, used := range w.processor() {
		if program != filepath.Base(w.b.Self) { // agents and generators
			used -= since[program]
			sum += used
			attrs = append(attrs, program, (used / time.Duration(events)).String())
		}
	}
	w.b.Log.Info("processor time per event", attrs...)
	w.b.Report(measure.Figure{Name: "processor time per event " + name, Unit: "µs", Value: float64(sum) / float64(events) / 1000})
}

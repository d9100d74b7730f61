package events

import (
	"path/filepath"
	"time"

	"github.com/nave-dev/nave/internal/bench/measure"
)

// cost reports what the programs used per event since an earlier look, beside what the floor used for its events.
func (w *world) cost(name string, since map[string]time.Duration, events int, floor time.Duration, floorEvents int) {
	sum := w.used(since, events)
	w.b.Report(measure.Figure{Name: "processor time per event " + name, Unit: "µs", Value: per(sum, events), Floor: per(floor, floorEvents)})
}

// used is what the programs have used since an earlier look, without the agents.
func (w *world) used(since map[string]time.Duration, events int) (sum time.Duration) {
	var attrs []any
	for program, used := range w.Processor() {
		if program == filepath.Base(w.b.Self) {
			continue // agents
		}
		used -= since[program]
		sum += used
		attrs = append(attrs, program, (used / time.Duration(events)).String())
	}
	w.b.Log.Info("processor time per event", attrs...)
	return sum
}

// per is processor time per event, in µs.
func per(d time.Duration, events int) float64 {
	return float64(d.Nanoseconds()) / 1000 / float64(max(events, 1))
}

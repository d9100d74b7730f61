package clusters

import (
	"time"

	"github.com/nave-dev/nave/internal/bench/measure"
)

// stage is a part of a start.
type stage struct {
	name     string
	from, to func(begun) time.Time
}

// stages are those of a start, one after another. What the kubelet does is known by its events, whose own times have whole seconds: what
// counts is when an informer showed them, some milliseconds after they were.
var stages = []stage{
	{"hub places, the spoke is told", func(s begun) time.Time { return s.accepted }, func(s begun) time.Time { return s.starts }},
	{"spoke makes the claim", func(s begun) time.Time { return s.starts }, func(s begun) time.Time { return s.claim }},
	{"the pod is made", func(s begun) time.Time { return s.claim }, func(s begun) time.Time { return s.made }},
	{"scheduler", func(s begun) time.Time { return s.made }, func(s begun) time.Time { return s.scheduled }},
	{"kubelet: volumes and sandbox", func(s begun) time.Time { return s.scheduled }, func(s begun) time.Time { return s.pulled }},
	{"kubelet: container is made", func(s begun) time.Time { return s.pulled }, func(s begun) time.Time { return s.created }},
	{"kubelet: container is started", func(s begun) time.Time { return s.created }, func(s begun) time.Time { return s.started }},
	{"harness: begins, dials, is described, attaches", func(s begun) time.Time { return s.started }, func(s begun) time.Time { return s.attached }},
	{"harness: attached to turn begun", func(s begun) time.Time { return s.attached }, func(s begun) time.Time { return s.turn }},
	{"(kubelet: container started to pod running)", func(s begun) time.Time { return s.started }, func(s begun) time.Time { return s.running }},
}

// reportStages reports the medians of the stages, beside those that bare pods have too.
func (w *world) reportStages(name string, sessions []begun, bare []bareStart) {
	for _, of := range stages {
		var value, floor measure.Samples
		for _, s := range sessions {
			value = append(value, of.to(s).Sub(of.from(s)))
		}
		for _, l := range bare {
			s := begun{life: l.life}
			if of.name == "the pod is made" {
				s.claim = l.from
			}
			if from, to := of.from(s), of.to(s); !from.IsZero() && !to.IsZero() {
				floor = append(floor, to.Sub(from))
			}
		}
		w.b.Report(measure.Figure{Name: name + ", stage: " + of.name + ", p50", Unit: "ms", Value: measure.Ms(value.At(0.5)), Floor: measure.Ms(floor.At(0.5))})
	}
}

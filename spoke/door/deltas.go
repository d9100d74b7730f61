package door

import (
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Bounds of deltas; what is beyond is dropped.
const (
	deltasPerSecond = 200      // of one harness
	deltasMessage   = 64 << 10 // bytes of text of one message
	maxStream       = 64       // bytes of a stream's name
)

// deltaTypes are the events that deltas may belong to.
var deltaTypes = []api.EventType{api.EventMessage, api.EventThought, api.EventTool, api.EventResult}

// gate lets deltas of one harness pass, as far as their bounds allow.
type gate struct{ rate *rate.Limiter }

func newGate() *gate { return &gate{rate.NewLimiter(deltasPerSecond, deltasPerSecond)} }

// pass returns the deltas that may go on, as those of the workload that the harness proved to be, and how many may not.
func (g *gate) pass(id spoke.WorkloadID, in []*harnessv1.Delta, now time.Time) (out []api.Delta, dropped int) {
	bytes := 0
	for _, d := range in {
		if bytes += len(d.Text); bytes > deltasMessage || !validDelta(d) || !g.rate.AllowN(now, 1) {
			dropped++
			continue
		}
		out = append(out, api.Delta{Session: id.Session, Source: id.Source(), Stream: d.Stream, Type: api.EventType(d.Type), Offset: d.Offset, Text: d.Text})
	}
	return out, dropped
}

func validDelta(d *harnessv1.Delta) bool {
	return d.Stream != "" && len(d.Stream) <= maxStream && d.Text != "" && len(d.Text) <= api.MaxDeltaBytes && slices.Contains(deltaTypes, api.EventType(d.Type))
}

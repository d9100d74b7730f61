package memory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/bench/rig"
	"github.com/nave-dev/nave/internal/run"
)

// Links is what an idle link costs.
var Links = measure.Scenario{
	Name: "links",
	About: "memory of a hub per idle link, and bytes per idle link and second: links of enrolled clusters over a real overlay. " +
		"The floor: a gRPC server over TLS on loopback, per connection one open stream and one call per heartbeat.",
	Run: in(measureLinks),
}

// beat is how often a spoke of a hub with default settings says that it lives; the floor's clients call as often.
const beat = 2 * time.Second

func measureLinks(ctx context.Context, w world) (err error) {
	counts := []int{0, 50, 100, 200}
	if w.Bench.Quick {
		counts = []int{0, 40}
	}
	l := &links{g: run.NewGroup(ctx)}
	defer func() { err = errors.Join(err, l.close()) }()
	most := counts[len(counts)-1]
	w.Bench.Log.Info("enrolling", "clusters", most)
	if l.members, err = w.enrollAll(ctx, most); err != nil {
		return err
	}
	f, err := startLinksFloor(ctx, w.Bench)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()

	var (
		hub, floor    []look
		traffic, base float64
	)
	for _, n := range counts {
		if err := l.to(ctx, n); err != nil {
			return err
		}
		if err := f.to(n); err != nil {
			return err
		}
		during := w.Bench.Long(5*beat, time.Second)
		if n == most { // here bytes are counted
			during = w.Bench.Long(15*beat, 2*beat)
		}
		if traffic, base, err = leave(ctx, l, f, during); err != nil {
			return err
		}
		h, err := lookAt(ctx, w.Hub.ID(), w.Profiles)
		if err != nil {
			return err
		}
		g, err := lookAt(ctx, f.ID(), f.Says[1])
		if err != nil {
			return err
		}
		w.Bench.Log.Info("looked", "links", n, "anonymous", h.Anonymous>>10, "resident", h.Resident>>10, "live", int(h.Live)>>10, "floor_anonymous", g.Anonymous>>10, "floor_live", int(g.Live)>>10)
		hub, floor = append(hub, h), append(floor, g)
	}
	if n := l.lost.Load(); n > 0 {
		return fmt.Errorf("links were lost %d times: they were not idle", n)
	}
	s, t := slopesOf(counts, hub), slopesOf(counts, floor)
	per := fmt.Sprintf("per link, %d links", most)
	if !w.Bench.Quick { // the pages of few links are lost in those of the garbage
		w.Bench.Report(measure.Figure{Name: "resident " + per, Unit: "KiB", Value: s.resident, Floor: t.resident, Target: 100})
		w.Bench.Report(measure.Figure{Name: "anonymous " + per, Unit: "KiB", Value: s.anonymous, Floor: t.anonymous, Target: 100})
	}
	w.Bench.Report(measure.Figure{Name: "live objects and stacks " + per, Unit: "KiB", Value: s.live, Floor: t.live, Gate: true})
	if !w.Bench.Quick {
		for i, n := range counts {
			w.Bench.Report(measure.Figure{Name: fmt.Sprintf("anonymous of the hub, %d links", n), Unit: "MiB", Value: float64(hub[i].Anonymous) / (1 << 20), Floor: float64(floor[i].Anonymous) / (1 << 20)})
		}
	}
	w.Bench.Report(measure.Figure{Name: "bytes per idle link and second, both directions", Unit: "B/s", Value: traffic, Floor: base, Gate: true})
	return w.keep(ctx, "links-hub", w.Profiles)
}

// leave leaves all links alone for a time, and returns how many bytes per link and second went over them and over those of the
// floor.
func leave(ctx context.Context, l *links, f *linksFloor, during time.Duration) (path, base float64, err error) {
	p, b, began := l.bytes.Load(), f.bytes.Load(), time.Now()
	if err := rig.Pause(ctx, during); err != nil {
		return 0, 0, err
	}
	seconds := time.Since(began).Seconds() * float64(max(1, l.open))
	return float64(l.bytes.Load()-p) / seconds, float64(f.bytes.Load()-b) / seconds, nil
}

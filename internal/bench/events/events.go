package events

import (
	"context"
	"fmt"
	"time"

	"github.com/nave-dev/nave/internal/bench/floor"
	"github.com/nave-dev/nave/internal/bench/measure"
)

// Scenario is the way of an event.
var Scenario = measure.Scenario{
	Name: "events",
	About: "from when a line of an agent's program is due until a reader of the session's log has its event, which the archive has by then. " +
		"The floor: a producer with a synced journal, gRPC with TLS over loopback, the same rows into SQLite, committed as they come, and a reader.",
	Run: scenario,
}

// The targets: of events at 5,000/s, and of what is durable and read a second.
const (
	targetP50  = 8 * time.Millisecond
	targetP99  = 25 * time.Millisecond
	targetRate = 50_000
)

// load is a rate over some sessions, in bursts.
type load struct {
	rate     float64
	sessions int
	burst    int
}

// loads are what latencies are measured at: one by one, and in batches.
var loads = []load{{100, 1, 1}, {1000, 1, 1}, {5000, 10, 1}, {5000, 10, 25}, {5000, 10, 250}}

func (l load) String() string {
	s := fmt.Sprintf("at %s/s, %s", measure.Number(l.rate), count(l.sessions))
	if l.burst > 1 {
		s += fmt.Sprintf(", %d lines at a time", l.burst)
	}
	return s
}

func count(sessions int) string {
	if sessions == 1 {
		return "1 session"
	}
	return fmt.Sprintf("%d sessions", sessions)
}

func (l load) plan(during time.Duration) floor.Plan {
	return floor.Plan{Lines: int(l.rate * during.Seconds()), Rate: l.rate, Burst: l.burst, Bytes: lineBytes}
}

func scenario(ctx context.Context, b *measure.Bench) error {
	f, err := startFloor(ctx, b)
	if err != nil {
		return err
	}
	defer f.close()
	return with(ctx, b, func(ctx context.Context, w *world) error {
		if b.Quick {
			return quick(ctx, b, w, f)
		}
		for _, l := range loads {
			if err := latency(ctx, b, w, f, l); err != nil {
				return err
			}
		}
		for _, n := range []int{1, 4, 10} {
			if err := flatOut(ctx, b, w, f, n); err != nil {
				return err
			}
		}
		return nil
	})
}

// warm is the share of a run that is not counted.
const warm = 8

func latency(ctx context.Context, b *measure.Bench, w *world, f *base, l load) error {
	name := fmt.Sprintf("%.0f-%d", l.rate, l.burst)
	if b.Skips(name) {
		return nil
	}
	during := 6 * time.Second
	var floorSeen []*seen
	var begin time.Time
	floorUsed, err := f.using(func() (err error) {
		floorSeen, begin, err = f.print(ctx, l.sessions, l.plan(during/2))
		return err
	})
	if err != nil {
		return err
	}
	least := latencies(floorSeen, begin, during/2/warm)

	var all []*seen
	used := w.Processor()
	err = w.Profiled(ctx, "events-"+name, during, func(ctx context.Context) (err error) {
		all, begin, err = w.print(ctx, l.sessions, l.plan(during))
		return err
	})
	if err != nil {
		return err
	}
	p50, p99 := time.Duration(0), time.Duration(0)
	if l.rate == 5000 {
		p50, p99 = targetP50, targetP99
	}
	b.Latency("line to reader "+l.String(), latencies(all, begin, during/warm), least, p50, p99, false)
	w.cost(l.String(), used, l.plan(during).Lines, floorUsed, l.plan(during/2).Lines)
	return nil
}

// sustained is for how long so many agents print as fast as they can, about.
func sustained(sessions int) time.Duration {
	if sessions == 4 {
		return 20 * time.Second
	}
	return 8 * time.Second
}

// flatOut lets agents print as fast as they can. How many lines that takes is found by a short run.
func flatOut(ctx context.Context, b *measure.Bench, w *world, f *base, n int) error {
	if b.Skips(fmt.Sprint(n)) {
		return nil
	}
	p := floor.Plan{Lines: 200_000 / n * n, Bytes: lineBytes}
	base, _, err := flat(func() ([]*seen, time.Time, error) { return f.print(ctx, n, p) })
	if err != nil {
		return err
	}
	first, _, err := flat(func() ([]*seen, time.Time, error) { return w.print(ctx, n, p) })
	if err != nil {
		return err
	}
	p.Lines = int(first*sustained(n).Seconds()*1.2) / n * n
	used := w.Processor()
	var rate float64
	var took time.Duration
	err = w.Profiled(ctx, fmt.Sprintf("events-flat-%d", n), sustained(n)/2, func(ctx context.Context) error {
		rate, took, err = flat(func() ([]*seen, time.Time, error) { return w.print(ctx, n, p) })
		return err
	})
	if err != nil {
		return err
	}
	b.Log.Info("as fast as they can", "sessions", n, "lines", p.Lines, "took", took.String())
	b.Report(measure.Figure{Name: fmt.Sprintf("durable and read, flat out, %s", count(n)), Unit: "/s", Value: rate, Floor: base, Target: targetRate, More: true})
	w.cost("flat out, "+count(n), used, p.Lines, 0, 0)
	return nil
}

// flat runs a plan without a rate and returns how many lines a second there were at the readers, from the first due time to the
// last arrival.
func flat(print func() ([]*seen, time.Time, error)) (perSecond float64, took time.Duration, err error) {
	all, _, err := print()
	if err != nil {
		return 0, 0, err
	}
	first, last, lines := all[0].due[0], int64(0), 0
	for _, s := range all {
		first, last, lines = min(first, s.due[0]), max(last, s.arrived[len(s.arrived)-1]), lines+len(s.due)
	}
	took = time.Duration(last - first)
	return float64(lines) / took.Seconds(), took, nil
}

// quick takes short rounds of floor and path in turns. What is compared between runs is what an event costs: how much the
// programs allocate for it, and how long they compute. Latencies are not looked at, and the rate is not compared: it is that of
// five programs, four agents and a reader that compete for the processors, and of a floor of two, which loses less to whoever
// else is on the machine.
func quick(ctx context.Context, b *measure.Bench, w *world, f *base) error {
	const n = 4
	lines := floor.Plan{Lines: 16_000, Bytes: lineBytes}
	var path, least struct{ rate, used, bytes []float64 }
	for range 4 {
		had, err := f.allocated(ctx)
		if err != nil {
			return err
		}
		var rate float64
		used, err := f.using(func() (err error) {
			rate, _, err = flat(func() ([]*seen, time.Time, error) { return f.print(ctx, n, lines) })
			return err
		})
		if err != nil {
			return err
		}
		has, err := f.allocated(ctx)
		if err != nil {
			return err
		}
		least.rate, least.used, least.bytes = append(least.rate, rate), append(least.used, per(used, lines.Lines)), append(least.bytes, (has-had)/float64(lines.Lines))

		before, err := w.Counts(ctx)
		if err != nil {
			return err
		}
		since := w.Processor()
		if rate, _, err = flat(func() ([]*seen, time.Time, error) { return w.print(ctx, n, lines) }); err != nil {
			return err
		}
		used = w.used(since, lines.Lines)
		after, err := w.Counts(ctx)
		if err != nil {
			return err
		}
		path.rate, path.used, path.bytes = append(path.rate, rate), append(path.used, per(used, lines.Lines)), append(path.bytes, (after.Bytes-before.Bytes)/float64(lines.Lines))
	}
	name := "flat out, " + count(n)
	b.Report(measure.Figure{Name: "durable and read, " + name, Unit: "/s", Value: measure.Median(path.rate), Floor: measure.Median(least.rate), More: true})
	b.Report(measure.Figure{Name: "processor time per event " + name, Unit: "µs", Value: measure.Median(path.used), Floor: measure.Median(least.used), Gate: true})
	b.Report(measure.Figure{Name: "allocated per event by hub and spoke, " + name, Unit: "B", Value: measure.Median(path.bytes), Floor: measure.Median(least.bytes), Gate: true})
	return nil
}

package events

import (
	"context"
	"fmt"
	"os"
	"strings"
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
	w, err := up(ctx, b)
	if err != nil {
		return err
	}
	defer w.down()
	// Every session runs from here on.
	if _, _, err := w.print(ctx, sessions, warmUp); err != nil {
		return err
	}
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
}

// skipped is for those who look at one load alone: BENCH_EVENTS names loads by rate and lines at a time, and counts of sessions.
func skipped(name string) bool {
	only := os.Getenv("BENCH_EVENTS")
	return only != "" && !strings.Contains(","+only+",", ","+name+",")
}

// warm is the share of a run that is not counted.
const warm = 8

func latency(ctx context.Context, b *measure.Bench, w *world, f *base, l load) error {
	name := fmt.Sprintf("%.0f-%d", l.rate, l.burst)
	if skipped(name) {
		return nil
	}
	during := 6 * time.Second
	floorUsed := f.processor()
	floorSeen, begin, err := f.print(ctx, l.sessions, l.plan(during/2))
	if err != nil {
		return err
	}
	least := latencies(floorSeen, begin, during/2/warm)
	floorUsed = f.processor() - floorUsed

	var all []*seen
	used := w.processor()
	err = w.profiled(ctx, "events-"+name, during, func(ctx context.Context) (err error) {
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
	if skipped(fmt.Sprint(n)) {
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
	used := w.processor()
	var rate float64
	var took time.Duration
	err = w.profiled(ctx, fmt.Sprintf("events-flat-%d", n), sustained(n)/2, func(ctx context.Context) error {
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

// quick takes short rounds of floor and path in turns.
func quick(ctx context.Context, b *measure.Bench, w *world, f *base) error {
	bursts, lines := load{5000, 10, 25}, floor.Plan{Lines: 20_000, Bytes: lineBytes}
	var late, least, rates, most []float64
	const during = 600 * time.Millisecond
	for range 3 {
		all, begin, err := f.print(ctx, bursts.sessions, bursts.plan(during))
		if err != nil {
			return err
		}
		least = append(least, measure.Ms(latencies(all, begin, during/warm).At(0.5)))
		if all, begin, err = w.print(ctx, bursts.sessions, bursts.plan(during)); err != nil {
			return err
		}
		late = append(late, measure.Ms(latencies(all, begin, during/warm).At(0.5)))
		rate, _, err := flat(func() ([]*seen, time.Time, error) { return f.print(ctx, 4, lines) })
		if err != nil {
			return err
		}
		most = append(most, rate)
		if rate, _, err = flat(func() ([]*seen, time.Time, error) { return w.print(ctx, 4, lines) }); err != nil {
			return err
		}
		rates = append(rates, rate)
	}
	b.Report(measure.Figure{Name: "line to reader " + bursts.String() + ", p50", Unit: "ms", Value: measure.Median(late), Floor: measure.Median(least), Gate: true})
	b.Report(measure.Figure{Name: "durable and read, flat out, 4 sessions", Unit: "/s", Value: measure.Median(rates), Floor: measure.Median(most), More: true, Gate: true})
	return nil
}

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
	target   bool
	gate     bool
}

func (l load) String() string {
	s := fmt.Sprintf("at %s/s, %d session", measure.Number(l.rate), l.sessions)
	if l.sessions > 1 {
		s += "s"
	}
	if l.burst > 1 {
		s += fmt.Sprintf(", %d lines at a time", l.burst)
	}
	return s
}

func (l load) plan(during time.Duration) floor.Plan {
	return floor.Plan{Lines: int(l.rate * during.Seconds()), Rate: l.rate, Burst: l.burst, Bytes: lineBytes}
}

func scenario(ctx context.Context, b *measure.Bench) error {
	w, err := up(ctx, b)
	if err != nil {
		return err
	}
	defer w.down()
	// Every session runs from here on.
	if _, _, err := w.print(ctx, sessions, floor.Plan{Lines: 1000, Rate: 1000, Bytes: lineBytes}); err != nil {
		return err
	}
	only := os.Getenv("EVQ")
	for _, l := range []load{{rate: 100, sessions: 1}, {rate: 1000, sessions: 1}, {rate: 5000, sessions: 10}, {rate: 5000, sessions: 10, burst: 25}, {rate: 5000, sessions: 10, burst: 250}} {
		if only != "" && !strings.Contains(only, fmt.Sprintf("l%.0f-%d,", l.rate, l.burst)) {
			continue
		}
		during := b.Long(8*time.Second, time.Second)
		var all []*seen
		var begin time.Time
		used := w.processor()
		err := w.profiled(ctx, fmt.Sprintf("events-%.0f-%d", l.rate, l.burst), during, func(ctx context.Context) (err error) {
			all, begin, err = w.print(ctx, l.sessions, l.plan(during))
			return err
		})
		if err != nil {
			return err
		}
		b.Latency("line to reader "+l.String(), latencies(all, begin, during/8), nil, targetP50, targetP99, false)
		w.cost(l.String(), used, l.plan(during).Lines)
	}
	for _, n := range []int{1, 4, 10} {
		if only != "" && !strings.Contains(only, fmt.Sprintf("f%d,", n)) {
			continue
		}
		total := b.Many(400_000, 100_000)
		var all []*seen
		var begin time.Time
		used := w.processor()
		err := w.profiled(ctx, fmt.Sprintf("events-flat-%d", n), 8*time.Second, func(ctx context.Context) (err error) {
			all, begin, err = w.print(ctx, n, floor.Plan{Lines: total / n * n, Bytes: lineBytes})
			return err
		})
		if err != nil {
			return err
		}
		w.cost(fmt.Sprintf("flat out, %d sessions", n), used, total)
		last := begin
		for _, s := range all {
			if at := time.Unix(0, s.arrived[len(s.arrived)-1]); at.After(last) {
				last = at
			}
		}
		b.Report(measure.Figure{Name: fmt.Sprintf("durable and read, %d sessions", n), Unit: "/s", Value: rate(all, begin, last), Target: targetRate, More: true})
	}
	return nil
}

package deliver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/bench/measure"
)

// Deliver is the way of a signal to a session that runs.
var Deliver = measure.Scenario{
	Name: "deliver",
	About: "from when a signal is due until the agent's program has it on standard input: the session runs and its harness is idle, each signal is a turn with a process of its own. " +
		"The floor: a call, a synced append, a message on a stream, a synced append, a start of the same program; gRPC and TLS over loopback.",
	Run: func(ctx context.Context, b *measure.Bench) error {
		sessions := b.Many(100, 25)
		return with(ctx, b, sessions+b.Many(talking, 0), time.Hour, func(ctx context.Context, w *world) error { return deliver(ctx, w, sessions) })
	},
}

func deliver(ctx context.Context, w *world, sessions int) error {
	f, err := w.startFloor(ctx)
	if err != nil {
		return err
	}
	defer f.close()
	// Every session runs from here on.
	if _, _, err := w.load(ctx, tee, 20, time.Duration(sessions)*time.Second/20, sessions, 0); err != nil {
		return err
	}
	if err := w.settled(ctx, api.PhaseRunning); err != nil {
		return err
	}
	if w.b.Quick {
		return deliverQuick(ctx, w, f, sessions)
	}
	for _, rate := range []float64{25, 50, 100} {
		cost := cost{w: w, f: f}
		base, err := cost.ofFloor(func() (measure.Samples, error) { return f.load(ctx, rate, 4*time.Second) })
		if err != nil {
			return err
		}
		var (
			run     measure.Result
			signals []sent
		)
		err = w.profile(ctx, fmt.Sprintf("deliver-%.0f", rate), 10*time.Second, func() error {
			return w.counting(ctx, fmt.Sprintf("at %.0f/s", rate), func() (int, error) {
				_, err := cost.ofPath(func() (_ measure.Samples, err error) {
					run, signals, err = w.load(ctx, tee, rate, 12*time.Second, sessions, 0)
					return run.Samples, err
				})
				return len(run.Samples), err
			})
		})
		if err != nil {
			return err
		}
		var p50, p99 time.Duration
		if rate == 100 {
			p50, p99 = 4*time.Millisecond, 20*time.Millisecond
		}
		name := fmt.Sprintf("signal to program at %.0f/s, %d sessions", rate, sessions)
		w.b.Latency(name, run.Samples, base, p50, p99, false)
		cost.report(fmt.Sprintf("processor time per signal at %.0f/s", rate))
		if err := w.settled(ctx, api.PhaseRunning); err != nil {
			return err
		}
		h, err := w.hops(ctx, signals)
		if err != nil {
			return err
		}
		w.b.Latency(fmt.Sprintf("signal to start of the turn at %.0f/s", rate), h[markTurn], nil, p50, p99, false)
		if rate == 25 {
			w.show("at 25/s", h)
		}
	}
	return converse(ctx, w, f)
}

// deliverQuick takes short rounds of floor and path in turns.
func deliverQuick(ctx context.Context, w *world, f *relayFloor, sessions int) error {
	var path, base []float64
	cost := cost{w: w, f: f}
	err := w.counting(ctx, "at 25/s", func() (int, error) {
		res, _, err := w.load(ctx, tee, 25, time.Second, sessions, 0)
		return len(res.Samples), errors.Join(err, w.settled(ctx, api.PhaseRunning))
	})
	if err != nil {
		return err
	}
	for range 4 {
		floor, err := cost.ofFloor(func() (measure.Samples, error) { return f.load(ctx, 25, time.Second) })
		if err != nil {
			return err
		}
		run, err := cost.ofPath(func() (measure.Samples, error) {
			res, _, err := w.load(ctx, tee, 25, time.Second, sessions, 0)
			return res.Samples, err
		})
		if err != nil {
			return err
		}
		path, base = append(path, measure.Ms(run.At(0.5))), append(base, measure.Ms(floor.At(0.5)))
	}
	w.b.Report(measure.Figure{Name: "signal to program at 25/s, p50", Unit: "ms", Value: measure.Median(path), Floor: measure.Median(base)})
	cost.report("processor time per signal at 25/s")
	return nil
}

// cost adds up what signals cost of the processors, by the path and by the floor. It hardly depends on who else is on the machine.
type cost struct {
	w           *world
	f           *relayFloor
	path, floor time.Duration
	sent, base  int // signals
}

func (c *cost) ofPath(load func() (measure.Samples, error)) (measure.Samples, error) {
	before := c.w.processor()
	s, err := load()
	c.path, c.sent = c.path+c.w.processor()-before, c.sent+len(s)
	return s, err
}

func (c *cost) ofFloor(load func() (measure.Samples, error)) (measure.Samples, error) {
	before, err := c.f.processor()
	if err != nil {
		return nil, err
	}
	s, err := load()
	if err != nil {
		return nil, err
	}
	after, err := c.f.processor()
	c.floor, c.base = c.floor+after-before, c.base+len(s)
	return s, err
}

func (c *cost) report(name string) {
	c.w.b.Report(measure.Figure{Name: name, Unit: "ms", Value: measure.Ms(c.path) / float64(max(c.sent, 1)), Floor: measure.Ms(c.floor) / float64(max(c.base, 1)), Gate: true})
}

// load sends signals to sessions of an agent in turn, from number first on, and waits until their agents have them.
func (w *world) load(ctx context.Context, agent string, rate float64, during time.Duration, sessions, first int) (measure.Result, []sent, error) {
	var (
		mu    sync.Mutex
		all   []sent
		begin = time.Now()
		gap   = time.Duration(float64(time.Second) / rate)
	)
	res, err := w.b.OpenLoop(ctx, rate, during, func(ctx context.Context, n int) error {
		s, err := w.signal(ctx, agent, fmt.Sprintf("s%d", first+n%sessions))
		if err != nil {
			return err
		}
		s.due = begin.Add(time.Duration(n) * gap)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, s)
		return nil
	})
	if err == nil {
		err = res.Good()
	}
	return res, all, err
}

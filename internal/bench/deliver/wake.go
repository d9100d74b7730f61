package deliver

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/bench/floor"
	"github.com/nave-dev/nave/internal/bench/measure"
)

// Wake is the start of a session that sleeps.
var Wake = measure.Scenario{
	Name: "wake",
	About: "from when a signal is due until the agent's program has it, of sessions that slept, with an empty state: placing, a harness of its own, its lease, the turn. " +
		"The floor: a start of a small program and a handshake of JSON-RPC over pipes.",
	Run: func(ctx context.Context, b *measure.Bench) error {
		return with(ctx, b, 128, time.Second, wake)
	},
}

const wakeSessions = 100

func wake(ctx context.Context, w *world) error {
	cat, err := exec.LookPath("cat")
	if err != nil {
		return err
	}
	handshakes := func(n int) (measure.Samples, error) {
		var s measure.Samples
		for range n {
			took, err := floor.Handshake([]string{cat})
			if err != nil {
				return nil, err
			}
			s = append(s, took)
		}
		return s, nil
	}
	sessions := w.b.Many(wakeSessions, 16)
	if _, _, err := w.load(ctx, tee, 10, time.Duration(sessions)*time.Second/10, sessions, 0); err != nil {
		return err
	}
	if err := w.settled(ctx, api.PhaseDormant); err != nil {
		return err
	}
	if w.b.Quick {
		return wakeQuick(ctx, w, handshakes, sessions)
	}
	base, err := handshakes(300)
	if err != nil {
		return err
	}
	run, signals, err := w.oneByOne(ctx, tee, 40, 0)
	if err != nil {
		return err
	}
	w.b.Latency("wake, one at a time", run, base, 15*time.Millisecond, 60*time.Millisecond, false)
	if err := w.settled(ctx, api.PhaseDormant); err != nil {
		return err
	}
	h, err := w.hops(ctx, signals)
	if err != nil {
		return err
	}
	w.show("one at a time", h)
	for _, mib := range []int{1, 10} {
		if err := wakeWith(ctx, w, mib, base); err != nil {
			return err
		}
	}
	for _, rate := range []float64{1, 5, 10} {
		if base, err = handshakes(200); err != nil {
			return err
		}
		var run measure.Result
		err = w.profile(ctx, fmt.Sprintf("wake-%.0f", rate), 8*time.Second, func() (err error) {
			run, _, err = w.load(ctx, tee, rate, 10*time.Second, sessions, 0)
			return err
		})
		if err != nil {
			return err
		}
		w.b.Latency(fmt.Sprintf("wake at %.0f/s", rate), run.Samples, base, 15*time.Millisecond, 60*time.Millisecond, false)
		if err := w.settled(ctx, api.PhaseDormant); err != nil {
			return err
		}
	}
	return nil
}

func wakeQuick(ctx context.Context, w *world, handshakes func(int) (measure.Samples, error), sessions int) error {
	var path, base []float64
	for i := range 4 {
		floor, err := handshakes(100)
		if err != nil {
			return err
		}
		run, _, err := w.oneByOne(ctx, tee, sessions/4, i*sessions/4)
		if err != nil {
			return err
		}
		path, base = append(path, measure.Ms(run.At(0.5))), append(base, measure.Ms(floor.At(0.5)))
	}
	w.b.Report(measure.Figure{Name: "wake, one at a time, p50", Unit: "ms", Value: measure.Median(path), Floor: measure.Median(base)}) // a start without a sync does not slow down as the path does: their ratio is not steady
	return nil
}

// wakeWith wakes sessions whose state has a size. It lies where they ran last, as they left it.
func wakeWith(ctx context.Context, w *world, mib int, base measure.Samples) error {
	const sessions = 10
	agent := fmt.Sprintf("holds-%d", mib)
	fill := fmt.Sprintf("[ -e $HOME/held ] || head -c %d /dev/urandom >$HOME/held; exec %s %s", mib<<20, w.tee, w.arrivals.path)
	if err := w.apply(ctx, agent, api.ProtocolCommand, time.Second, "/bin/sh", "-c", fill); err != nil {
		return err
	}
	if _, _, err := w.load(ctx, agent, 5, sessions*time.Second/5, sessions, 0); err != nil {
		return err
	}
	if err := w.settled(ctx, api.PhaseDormant); err != nil {
		return err
	}
	run, _, err := w.oneByOne(ctx, agent, sessions, 0)
	if err != nil {
		return err
	}
	w.b.Latency(fmt.Sprintf("wake with %d MiB of state, one at a time", mib), run, base, 0, 0, false)
	return w.settled(ctx, api.PhaseDormant)
}

// oneByOne wakes sessions one after another, with a moment between so that the last one is not in the way of the next.
func (w *world) oneByOne(ctx context.Context, agent string, n, first int) (measure.Samples, []sent, error) {
	var (
		took measure.Samples
		all  []sent
	)
	for i := range n {
		due := time.Now()
		s, err := w.signal(ctx, agent, fmt.Sprintf("s%d", first+i))
		if err != nil {
			return nil, nil, err
		}
		s.due = due
		took, all = append(took, s.arrived.Sub(due)), append(all, s)
		select {
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return took, all, nil
}

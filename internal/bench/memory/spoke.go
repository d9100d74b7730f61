package memory

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/internal/bench/floor"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/bench/rig"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/run"
)

// Spoke is the memory of a spoke.
var Spoke = measure.Scenario{
	Name: "spoke",
	About: "memory of a spoke that runs sessions whose agents are idle; their harnesses are processes of their own and are shown apart. " +
		"The floor: a program of grpc-go and the OpenZiti SDK with one connection to the same hub, and nothing else.",
	Run: in(measureSpoke),
}

func measureSpoke(ctx context.Context, w world) (err error) {
	counts := []int{0, 10, 100}
	if w.Bench.Quick {
		counts = []int{0, 10}
	}
	f, err := w.contextFloor(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	profiles, err := rig.FreePort()
	if err != nil {
		return err
	}
	var args []string
	if w.Bench.Folder != "" || w.Bench.Quick { // else it has nothing that a user's has not
		args = []string{"--profiling-listen", profiles}
	}
	spoke, err := w.StartSpoke(ctx, "one", counts[len(counts)-1], args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.EndSpoke("one", spoke)) }()
	if err := w.Apply(ctx, "/bin/cat"); err != nil {
		return err
	}
	for i, n := range counts {
		if i > 0 {
			if err := w.sessions(ctx, counts[i-1], n); err != nil {
				return err
			}
		}
		if err := rig.Pause(ctx, w.Bench.Long(10*time.Second, 2*time.Second)); err != nil {
			return err
		}
		if err := w.reportSpoke(n, spoke.ID(), f.ID()); err != nil {
			return err
		}
		if w.Bench.Quick {
			if err := w.reportLive(ctx, n, profiles, f); err != nil {
				return err
			}
		}
		if err := w.keep(ctx, fmt.Sprintf("spoke-%d", n), profiles); err != nil {
			return err
		}
	}
	return w.reportHarness()
}

// reportSpoke looks at the spoke with n sessions, and at the floor.
func (w world) reportSpoke(n, spoke, bare int) error {
	m, err := measure.MemoryOf(spoke)
	if err != nil {
		return err
	}
	base, err := measure.MemoryOf(bare)
	if err != nil {
		return err
	}
	resident := measure.Figure{Name: fmt.Sprintf("resident, %d sessions", n), Unit: "MiB", Value: mib(m.Resident), Floor: mib(base.Resident), Gate: true}
	anonymous := measure.Figure{Name: fmt.Sprintf("anonymous, %d sessions", n), Unit: "MiB", Value: mib(m.Anonymous), Floor: mib(base.Anonymous)} // not compared: how much garbage there is depends on when it was last collected
	if n == 10 {
		resident.Target, anonymous.Target = 30, 12
	}
	w.Bench.Report(resident)
	w.Bench.Report(anonymous)
	return nil
}

// reportLive looks at what lives in the spoke and in the floor: that hardly depends on anything else.
func (w world) reportLive(ctx context.Context, n int, profiles string, f *floor.Child) error {
	spoke, err := liveOf(ctx, profiles)
	if err != nil {
		return err
	}
	var base int64
	if _, err := fmt.Fprintln(f.Stdin); err != nil {
		return err
	}
	if _, err := fmt.Fscanln(f.Lines, &base); err != nil {
		return fmt.Errorf("the floor says what lives: %w", err)
	}
	w.Bench.Report(measure.Figure{Name: fmt.Sprintf("live objects and stacks, %d sessions", n), Unit: "MiB", Value: mib(int64(spoke)), Floor: mib(base), Gate: true})
	return nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// reportHarness looks at the harnesses that run: the middle one.
func (w world) reportHarness() error {
	var resident, anonymous []float64
	for _, p := range federation.Naming(w.Path("one")) {
		if filepath.Base(p.Args[0]) != "nave-harness" {
			continue
		}
		m, err := measure.MemoryOf(p.ID)
		if err != nil {
			return err
		}
		resident, anonymous = append(resident, mib(m.Resident)), append(anonymous, mib(m.Anonymous))
	}
	if len(resident) == 0 {
		return errors.New("no harness runs")
	}
	w.Bench.Report(measure.Figure{Name: "resident, one harness", Unit: "MiB", Value: measure.Median(resident)})
	w.Bench.Report(measure.Figure{Name: "anonymous, one harness", Unit: "MiB", Value: measure.Median(anonymous)})
	return nil
}

// starters are how many sessions are started at a time.
const starters = 4

// sessions brings the spoke from one number of sessions to another, and waits until all of them run and have nothing to do.
func (w world) sessions(ctx context.Context, from, to int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	g := run.NewGroup(ctx)
	for s := range starters {
		g.Go("start", func(ctx context.Context) error {
			for i := from + s; i < to; i += starters {
				if _, err := w.Signal(ctx, fmt.Sprint("s", i), "hello"); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return w.Await(ctx, fmt.Sprintf("%d sessions run and are idle", to), func() (bool, error) {
		res, err := w.Client.Sessions.List(ctx, &navev1.ListSessionsRequest{PageSize: 1000})
		for _, s := range res.GetSessions() {
			if s.GetPhase() != string(api.PhaseRunning) || s.GetPending() > 0 {
				return false, err
			}
		}
		return len(res.GetSessions()) == to, err
	})
}

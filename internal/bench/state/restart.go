package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/nave-dev/nave/internal/bench/measure"
	bench "github.com/nave-dev/nave/internal/bench/rig"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/run"
)

// Restart measures how soon hub and spoke are ready again.
var Restart = measure.Scenario{
	Name: "restart",
	About: "how long after kill -9 hub and spoke are ready again, by how much they keep; the overlay lives on. The floor of the hub: an embedded etcd and a " +
		"SQLite database with as many records, opened after a kill -9 and read once; of the spoke: its journal's bytes, read from a file.",
	Run: func(ctx context.Context, b *measure.Bench) (err error) {
		r, err := newRig(ctx, b)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.stop()) }()
		sizes := []int{1, 100, 10000}
		if b.Quick {
			sizes = []int{200}
		}
		for _, n := range sizes {
			if err := r.hubs(ctx, n); err != nil {
				return fmt.Errorf("hub with %d sessions: %w", n, err)
			}
		}
		if err := r.profile(ctx); err != nil {
			return fmt.Errorf("profile of a hub: %w", err)
		}
		for _, n := range sizes {
			if err := r.spokes(ctx, n); err != nil {
				return fmt.Errorf("spoke with %d sessions: %w", n, err)
			}
		}
		if b.Quick {
			return nil
		}
		if err := r.working(ctx); err != nil {
			return fmt.Errorf("spoke with workloads: %w", err)
		}
		return nil
	},
}

// rounds is how often each is killed. The figures are medians.
const rounds = 3

// costs are those of several starts.
type costs struct{ took, used []float64 }

func (c *costs) add(one cost) {
	c.took, c.used = append(c.took, one.took.Seconds()), append(c.used, one.used.Seconds())
}

// hubs kills the hub when n sessions are dormant.
func (r *rig) hubs(ctx context.Context, n int) error {
	if err := r.grow(ctx, n); err != nil {
		return err
	}
	dir, err := r.b.Subdir("floor" + strconv.Itoa(n))
	if err != nil {
		return err
	}
	if _, _, err := runFloor(ctx, r.b, "state-make", dir, strconv.Itoa(n), strconv.Itoa(keyBytes), strconv.Itoa(recordBytes())); err != nil {
		return err
	}
	var (
		ready, floor costs
		accepted     []float64
	)
	for range rounds {
		r.hub.Kill()
		again, first, err := r.again(ctx)
		if err != nil {
			return err
		}
		_, least, err := runFloor(ctx, r.b, "state-read", dir)
		if err != nil {
			return err
		}
		ready.add(again)
		floor.add(least)
		accepted = append(accepted, first.Seconds())
	}
	of, target := fmt.Sprintf(" with %d dormant sessions", n), 0.0
	if n == 10000 {
		target = 2
	}
	// None of them is compared between runs. A start waits for timers, disk and overlay, and so little of that is in the floor that
	// the ratio of times moves by half with what else the machine does. Processor time is counted in steps of 10 ms, of which a start
	// takes some fifteen: on a busy machine its ratio was between 3.7 and 6.
	r.b.Report(measure.Figure{Name: "hub ready" + of, Unit: "s", Value: measure.Median(ready.took), Floor: measure.Median(floor.took), Target: target})
	r.b.Report(measure.Figure{Name: "first signal accepted" + of, Unit: "s", Value: measure.Median(accepted), Floor: measure.Median(floor.took)})
	r.b.Report(measure.Figure{Name: "processor time of the hub until ready" + of, Unit: "s", Value: measure.Median(ready.used), Floor: measure.Median(floor.used)})
	return nil
}

// again starts the hub and waits until it is ready, and has accepted a signal.
func (r *rig) again(ctx context.Context) (ready cost, accepted time.Duration, err error) {
	began := time.Now()
	if err := r.start(ctx); err != nil {
		return ready, 0, err
	}
	ready.took = time.Since(began)
	if ready.used, err = measure.ProcessorTime(r.hub.ID()); err != nil {
		return ready, 0, err
	}
	err = r.Await(ctx, "first signal", func() (bool, error) { err := r.signal(ctx, "s0"); return err == nil, err })
	return ready, time.Since(began), err
}

// profile starts the hub once more and looks at it meanwhile, when profiles are wanted.
func (r *rig) profile(ctx context.Context) error {
	if r.b.Folder == "" {
		return nil
	}
	r.hub.Kill()
	g := run.NewGroup(ctx)
	g.Go("profile", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, startTime)
		defer cancel()
		return federation.Await(ctx, "profile", func() (bool, error) { // the first tries come before it listens
			err := r.b.Profile(ctx, "restart-hub", r.ports["profiling"], 2*time.Second)
			return err == nil, err
		})
	})
	_, _, err := r.again(ctx)
	return errors.Join(err, g.Wait())
}

// spokes kills a spoke that has n sessions in its journal. Each is a cluster of its own: the hub lets the spoke of another
// journal wait until the lease of the former one has run out.
func (r *rig) spokes(ctx context.Context, n int) error {
	name := fmt.Sprintf("kept%d", n)
	bytes, err := fillJournal(ctx, r.Path(name, "journal"), n)
	if err != nil {
		return err
	}
	file := r.Path(name + ".bytes")
	if err := os.WriteFile(file, make([]byte, bytes), 0o600); err != nil {
		return err
	}
	if err := r.Join(ctx, name); err != nil {
		return err
	}
	p, _, err := r.startSpoke(ctx, name, "other=4") // it enrolls
	if err != nil {
		return err
	}
	var ready, floor costs
	for range rounds {
		p.Kill()
		var again cost
		if p, again, err = r.startSpoke(ctx, name, "other=4"); err != nil {
			return err
		}
		_, least, err := runFloor(ctx, r.b, "file-read", file)
		if err != nil {
			return err
		}
		ready.add(again)
		floor.add(least)
	}
	if err := r.greeting(ctx, name, p); err != nil {
		return err
	}
	of := fmt.Sprintf(" with %d sessions in its journal (%s KiB)", n, measure.Number(float64(bytes)/1024))
	r.b.Report(measure.Figure{Name: "spoke ready, linked" + of, Unit: "s", Value: measure.Median(ready.took), Floor: measure.Median(floor.took)})
	r.b.Report(measure.Figure{Name: "processor time of the spoke until ready" + of, Unit: "s", Value: measure.Median(ready.used), Floor: measure.Median(floor.used)})
	return nil
}

// greeting kills the spoke for the last time, and looks at the hub while the spoke comes back, when profiles are wanted.
func (r *rig) greeting(ctx context.Context, name string, p *spokeProcess) error {
	p.Kill()
	if r.b.Folder == "" {
		return nil
	}
	g := run.NewGroup(ctx)
	g.Go("profile", func(ctx context.Context) error {
		return r.b.Profile(ctx, "restart-hello-"+name, r.ports["profiling"], 5*time.Second)
	})
	p, _, err := r.startSpoke(ctx, name, "other=4")
	err = errors.Join(err, g.Wait())
	if p != nil {
		p.Kill()
	}
	return err
}

// startSpoke starts the spoke of a cluster and waits until it is ready.
func (r *rig) startSpoke(ctx context.Context, name, flavor string) (*spokeProcess, cost, error) {
	metrics, err := bench.FreePort()
	if err != nil {
		return nil, cost{}, err
	}
	began := time.Now()
	p, err := r.StartSpoke(name, "--metrics-listen", metrics, "--flavor", flavor)
	if err != nil {
		return nil, cost{}, err
	}
	s := &spokeProcess{p, metrics}
	if err := s.ready(ctx); err != nil {
		return s, cost{}, err
	}
	c := cost{took: time.Since(began)}
	c.used, err = measure.ProcessorTime(p.ID())
	return s, c, err
}

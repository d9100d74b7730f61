package state

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/run"
)

// Restart measures how soon hub and spoke are ready again.
var Restart = measure.Scenario{
	Name: "restart",
	About: "how long after kill -9 hub and spoke are ready again, by how much they keep; the overlay lives on. The floor of the hub: an embedded etcd and a " +
		"SQLite database with as many records, opened after a kill -9 and read once; of the spoke: its journal's bytes, read from a file.",
	Run: func(ctx context.Context, b *measure.Bench) (err error) {
		r, err := newRig(ctx, b, "r", false)
		if err != nil {
			return err
		}
		defer func() { err = joined(err, r.stop()) }()
		if err := hubs(ctx, b, r); err != nil {
			return fmt.Errorf("hub: %w", err)
		}
		if err := spokes(ctx, b, r); err != nil {
			return fmt.Errorf("spoke: %w", err)
		}
		return nil
	},
}

// rounds is how often each is killed. The figures are medians.
const rounds = 5

// hubs kills the hub, with ever more dormant sessions.
func hubs(ctx context.Context, b *measure.Bench, r *rig) error {
	counts := []int{1, 100, 10000}
	if b.Quick {
		counts = []int{1, 200}
	}
	for _, n := range counts {
		if err := r.grow(ctx, n); err != nil {
			return err
		}
		dir, err := b.Subdir("floor" + strconv.Itoa(n))
		if err != nil {
			return err
		}
		if _, _, err := runFloor(ctx, b, "state-make", dir, strconv.Itoa(n), strconv.Itoa(keyBytes), strconv.Itoa(recordBytes())); err != nil {
			return err
		}
		var ready, accepted, used, floors []float64
		for range rounds {
			r.hub.Kill()
			again, err := r.again(ctx)
			if err != nil {
				return err
			}
			_, least, err := runFloor(ctx, b, "state-read", dir)
			if err != nil {
				return err
			}
			ready, accepted = append(ready, again.ready.Seconds()), append(accepted, again.accepted.Seconds())
			used, floors = append(used, again.used.Seconds()), append(floors, least.Seconds())
		}
		of := fmt.Sprintf(" with %d dormant sessions", n)
		least, last := measure.Median(floors), n == counts[len(counts)-1]
		target := 0.0
		if n == 10000 {
			target = 2
		}
		b.Report(measure.Figure{Name: "hub ready" + of, Unit: "s", Value: measure.Median(ready), Floor: least, Target: target, Gate: last})
		b.Report(measure.Figure{Name: "first signal accepted" + of, Unit: "s", Value: measure.Median(accepted), Floor: least})
		b.Report(measure.Figure{Name: "processor time of the hub until then" + of, Unit: "s", Value: measure.Median(used)})
	}
	return r.profile(ctx)
}

// profile starts the hub once more and looks at it meanwhile.
func (r *rig) profile(ctx context.Context) error {
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
	_, err := r.again(ctx)
	return joined(err, g.Wait())
}

// again is how a start went: from exec.
type again struct{ ready, accepted, used time.Duration }

// again starts the hub and waits until it is ready, and has accepted a signal.
func (r *rig) again(ctx context.Context) (a again, err error) {
	began := time.Now()
	if err := r.start(ctx); err != nil {
		return a, err
	}
	a.ready = time.Since(began)
	if a.used, err = measure.ProcessorTime(r.hub.ID()); err != nil {
		return a, err
	}
	err = r.Await(ctx, "first signal", func() (bool, error) { err := r.signal(ctx, "s0"); return err == nil, err })
	a.accepted = time.Since(began)
	return a, err
}

// spokes kills a spoke, with ever more sessions in its journal.
func spokes(ctx context.Context, b *measure.Bench, r *rig) error {
	counts := []int{1, 100, 1000}
	if b.Quick {
		counts = []int{1, 200}
	}
	metrics, err := freePort()
	if err != nil {
		return err
	}
	start := func() (*spokeProcess, error) {
		p, err := r.StartSpoke("kept", "--metrics-listen", metrics, "--flavor", "other=4")
		return &spokeProcess{p, metrics}, err
	}
	if err := r.Join(ctx, "kept"); err != nil {
		return err
	}
	p, err := start()
	if err != nil {
		return err
	}
	if err := p.ready(ctx, r); err != nil {
		return err
	}
	for _, n := range counts {
		p.Kill()
		bytes, err := fillJournal(ctx, r.Path("kept", "journal"), n)
		if err != nil {
			return err
		}
		file := r.Path(fmt.Sprintf("journal-%d", n))
		if err := os.WriteFile(file, make([]byte, bytes), 0o600); err != nil {
			return err
		}
		var took, floors []float64
		for range rounds {
			began := time.Now()
			if p, err = start(); err != nil {
				return err
			}
			if err := p.ready(ctx, r); err != nil {
				return err
			}
			took = append(took, time.Since(began).Seconds())
			p.Kill()
			_, least, err := runFloor(ctx, b, "file-read", file)
			if err != nil {
				return err
			}
			floors = append(floors, least.Seconds())
		}
		if p, err = start(); err != nil {
			return err
		}
		of := fmt.Sprintf(" with %d sessions in its journal (%s KiB)", n, measure.Number(float64(bytes)/1024))
		b.Report(measure.Figure{Name: "spoke ready, linked" + of, Unit: "s", Value: measure.Median(took), Floor: measure.Median(floors)})
	}
	return nil
}

package state

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/run"
)

// Etcd measures how large etcd becomes.
var Etcd = measure.Scenario{
	Name: "etcd",
	About: "how large etcd is with dormant sessions, after compaction, and whether it grows while signals come and go at the full rate. The floor: " +
		"as many records of the length of a session's, put into an etcd with nothing else in it.",
	Run: func(ctx context.Context, b *measure.Bench) error {
		if err := dormant(ctx, b); err != nil {
			return fmt.Errorf("dormant sessions: %w", err)
		}
		if b.Quick { // three minutes are what it takes to see history leave
			return nil
		}
		if err := steady(ctx, b); err != nil {
			return fmt.Errorf("full rate: %w", err)
		}
		return nil
	},
}

const mib = 1 << 20

// dormant looks at three numbers of sessions. The hub is stopped for a look, so that etcd can be compacted up to its end.
func dormant(ctx context.Context, b *measure.Bench) (err error) {
	counts := []int{1000, 3000, 6000}
	if b.Quick {
		counts = []int{100, 300}
	}
	r, err := newRig(ctx, b, "d", false)
	if err != nil {
		return err
	}
	defer func() { err = joined(err, r.stop()) }()
	var x, used, floors []float64
	for _, n := range counts {
		if err := r.grow(ctx, n); err != nil {
			return err
		}
		r.hub.Kill()
		is, err := sizeOf(ctx, b, r.Path("hub"), 0)
		if err != nil {
			return err
		}
		if err := r.start(ctx); err != nil {
			return err
		}
		dir, err := b.Subdir("floor" + strconv.Itoa(n))
		if err != nil {
			return err
		}
		least, err := sizeOf(ctx, b, dir, n)
		if err != nil {
			return err
		}
		b.Report(measure.Figure{Name: fmt.Sprintf("in use with %s dormant sessions", measure.Number(float64(n))), Unit: "MiB", Value: is.used / mib, Floor: least.used / mib, Gate: n == counts[len(counts)-1]})
		b.Report(measure.Figure{Name: fmt.Sprintf("file, having become %s sessions", measure.Number(float64(n))), Unit: "MiB", Value: is.file / mib})
		x, used, floors = append(x, float64(n)), append(used, is.used), append(floors, least.used)
	}
	b.Report(measure.Figure{Name: "in use per 100,000 dormant sessions, by the slope", Unit: "MiB", Value: measure.Slope(x, used) * 1e5 / mib, Floor: measure.Slope(x, floors) * 1e5 / mib})
	return nil
}

// flat is how much etcd's file may grow a minute when nothing but history passes through it, in MiB.
const flat = 1

// steady signals as fast as the hub takes it, for a time in which etcd compacts at least twice.
func steady(ctx context.Context, b *measure.Bench) (err error) {
	r, err := newRig(ctx, b, "s", true)
	if err != nil {
		return err
	}
	defer func() { err = joined(err, r.stop()) }()
	g := run.NewGroup(ctx)
	var at, file, used []float64
	g.Go("look", func(ctx context.Context) error {
		began := time.Now()
		for tick := time.NewTicker(time.Second); ; {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			m, err := r.metrics(ctx)
			if err != nil {
				return err
			}
			at, file, used = append(at, time.Since(began).Minutes()), append(file, m["nave_etcd_file_bytes"]), append(used, m["nave_etcd_used_bytes"])
			if len(at)%20 == 0 {
				b.Log.Info("etcd", "minutes", at[len(at)-1], "file_mib", file[len(file)-1]/mib, "used_mib", used[len(used)-1]/mib, "pending", m["nave_hub_signals_pending"])
			}
		}
	})
	load, err := measure.ClosedLoop(ctx, 64, 200*time.Second, func(ctx context.Context, client, n int) error {
		for {
			err := r.signal(ctx, "s"+strconv.Itoa(rand.IntN(256)))
			if status.Code(err) != codes.ResourceExhausted {
				return err
			}
			select { // its session has as many as it may have: the load is to be what is settled
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	g.Stop()
	if err := joined(err, g.Wait()); err != nil {
		return err
	}
	if err := load.Good(); err != nil {
		return err
	}
	b.Report(measure.Figure{Name: "signals accepted and settled meanwhile", Unit: "/s", Value: load.Rate(), More: true})
	last := func(v []float64, minutes float64) []float64 {
		for i := range at {
			if at[i] >= at[len(at)-1]-minutes {
				return v[i:]
			}
		}
		return nil
	}
	most := func(v []float64) (m float64) {
		for _, x := range v {
			m = max(m, x)
		}
		return m
	}
	b.Report(measure.Figure{Name: "file after three minutes at full rate", Unit: "MiB", Value: most(last(file, 1)) / mib})
	b.Report(measure.Figure{Name: "most in use in the last minute", Unit: "MiB", Value: most(last(used, 1)) / mib})
	b.Report(measure.Figure{Name: "growth of the file a minute, at the end", Unit: "MiB", Value: measure.Slope(last(at, 1), last(file, 1)) / mib, Target: flat})
	return r.settled(ctx)
}

// settled waits until no signal is left.
func (r *rig) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	return r.Await(ctx, "all signals settled", func() (bool, error) {
		m, err := r.metrics(ctx)
		if n := m["nave_hub_signals_pending"]; err == nil && n > 0 {
			err = fmt.Errorf("%v are left", n)
		}
		return err == nil, err
	})
}

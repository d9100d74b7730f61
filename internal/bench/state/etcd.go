package state

import (
	"context"
	"errors"
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
	Run: func(ctx context.Context, b *measure.Bench) (err error) {
		r, err := newRig(ctx, b)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.stop()) }()
		if b.Quick { // one number of sessions; and three minutes are what it takes to see history leave
			_, _, err := r.dormant(ctx, 500)
			return err
		}
		var x, used, floors []float64
		for _, n := range []int{1000, 2000, 4000} {
			is, least, err := r.dormant(ctx, n)
			if err != nil {
				return fmt.Errorf("dormant sessions: %w", err)
			}
			if err := r.start(ctx); err != nil {
				return err
			}
			x, used, floors = append(x, float64(n)), append(used, is.used), append(floors, least.used)
		}
		b.Report(measure.Figure{Name: "in use per 100,000 dormant sessions, by the slope", Unit: "MiB", Value: measure.Slope(x, used) * 1e5 / mib, Floor: measure.Slope(x, floors) * 1e5 / mib})
		if err := r.steady(ctx); err != nil {
			return fmt.Errorf("full rate: %w", err)
		}
		return nil
	},
}

const mib = 1 << 20

// dormant looks at a number of sessions, and at the floor. The hub is killed for it, so that etcd can be compacted up to its end.
func (r *rig) dormant(ctx context.Context, n int) (is, least sizes, err error) {
	if err := r.grow(ctx, n); err != nil {
		return is, least, err
	}
	r.hub.Kill()
	if is, err = sizeOf(ctx, r.b, r.Path("hub"), 0); err != nil {
		return is, least, err
	}
	dir, err := r.b.Subdir("floor" + strconv.Itoa(n))
	if err != nil {
		return is, least, err
	}
	if least, err = sizeOf(ctx, r.b, dir, n); err != nil {
		return is, least, err
	}
	r.b.Report(measure.Figure{Name: fmt.Sprintf("in use with %s dormant sessions", measure.Number(float64(n))), Unit: "MiB", Value: is.used / mib, Floor: least.used / mib, Gate: r.b.Quick})
	r.b.Report(measure.Figure{Name: fmt.Sprintf("file, having become %s sessions", measure.Number(float64(n))), Unit: "MiB", Value: is.file / mib})
	return is, least, nil
}

// flat is how much etcd's file may grow a minute when nothing but history passes through it, in MiB.
const flat = 1

// busy is how many sessions are signalled at the full rate. They stay, so that nothing but signals comes and goes.
const busy = 256

// steady signals as fast as the hub takes it, for a time in which etcd compacts at least twice.
func (r *rig) steady(ctx context.Context) error {
	r.spoke.Stay()
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
				r.b.Log.Info("etcd", "minutes", at[len(at)-1], "file_mib", file[len(file)-1]/mib, "used_mib", used[len(used)-1]/mib, "pending", m["nave_hub_signals_pending"])
			}
		}
	})
	load, err := measure.ClosedLoop(ctx, 64, 200*time.Second, func(ctx context.Context, client, n int) error {
		for {
			err := r.signal(ctx, "s"+strconv.Itoa(rand.IntN(busy)))
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
	if err := errors.Join(err, g.Wait()); err != nil {
		return err
	}
	if err := load.Good(); err != nil {
		return err
	}
	r.b.Report(measure.Figure{Name: "signals accepted and settled meanwhile", Unit: "/s", Value: load.Rate(), More: true})
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
	r.b.Report(measure.Figure{Name: "file after three minutes at full rate", Unit: "MiB", Value: most(last(file, 1)) / mib})
	r.b.Report(measure.Figure{Name: "most in use in the last minute", Unit: "MiB", Value: most(last(used, 1)) / mib})
	r.b.Report(measure.Figure{Name: "growth of the file a minute, at the end", Unit: "MiB", Value: measure.Slope(last(at, 1), last(file, 1)) / mib, Target: flat})
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

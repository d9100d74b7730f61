package measure

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nave-dev/nave/internal/run"
)

// Result is what a generator saw.
type Result struct {
	Samples Samples       // of calls that came back without an error, from when each was due
	Late    Samples       // of an open loop: from when each call was due until it was made
	Errors  int           // calls that failed
	First   error         // the first failure
	Elapsed time.Duration // from the first call's due time to the last answer
}

// Rate is calls per second that came back without an error.
func (r Result) Rate() float64 { return float64(len(r.Samples)) / r.Elapsed.Seconds() }

// Good is an error when more than a thousandth of the calls failed.
func (r Result) Good() error {
	if total := len(r.Samples) + r.Errors; r.Errors*1000 > total || total == 0 {
		return fmt.Errorf("%d of %d calls failed: %w", r.Errors, total, r.First)
	}
	return nil
}

// maxOpen is how many calls of an open loop may be under way: past that the rate cannot be held and the run fails.
const maxOpen = 20000

// OpenLoop makes calls at a steady rate per second for a time, whether earlier ones have come back or not. call gets the
// number of the call, from 0. A latency counts from the time at which the call was due.
func OpenLoop(ctx context.Context, rate float64, during time.Duration, call func(ctx context.Context, n int) error) (Result, error) {
	p, err := NewPacer(ctx)
	if err != nil {
		return Result{}, err
	}
	defer p.Close()
	return openLoop(ctx, rate, during, p.Until, call)
}

// openLoop makes each call when until has waited for its time. A wait that fails ends the run.
func openLoop(ctx context.Context, rate float64, during time.Duration, until func(time.Time) error, call func(ctx context.Context, n int) error) (Result, error) {
	var (
		total = int(rate * during.Seconds())
		gap   = time.Duration(float64(time.Second) / rate)
		took  = make([]time.Duration, total) // negative: failed
		late  = make(Samples, total)
		open  atomic.Int64
		once  sync.Once
		res   Result
		g     = run.NewGroup(ctx)
		begin = time.Now()
	)
	for n := range total {
		due := begin.Add(time.Duration(n) * gap)
		err := until(due)
		if err == nil && open.Add(1) > maxOpen {
			err = fmt.Errorf("%d calls are under way: %.0f/s is more than is served", maxOpen, rate)
		}
		if err != nil {
			g.Stop()
			_ = g.Wait() // calls do not fail the group
			return res, err
		}
		g.Go("call", func(ctx context.Context) error {
			defer open.Add(-1)
			late[n] = time.Since(due)
			if err := call(ctx, n); err != nil {
				once.Do(func() { res.First = err })
				took[n] = -1
				return nil
			}
			took[n] = time.Since(due)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return res, err
	}
	res.Elapsed, res.Late = time.Since(begin), late
	res.take(took)
	return res, nil
}

// ClosedLoop lets clients make calls one after another for a time: what is served at saturation. call gets the client's
// number and that of its call.
func ClosedLoop(ctx context.Context, clients int, during time.Duration, call func(ctx context.Context, client, n int) error) (Result, error) {
	var (
		mu    sync.Mutex
		res   Result
		g     = run.NewGroup(ctx)
		begin = time.Now()
	)
	for c := range clients {
		g.Go("client", func(ctx context.Context) error {
			var took []time.Duration
			var first error
			for n := 0; time.Since(begin) < during && ctx.Err() == nil; n++ {
				sent := time.Now()
				if err := call(ctx, c, n); err != nil {
					first, took = err, append(took, -1)
					continue
				}
				took = append(took, time.Since(sent))
			}
			mu.Lock()
			defer mu.Unlock()
			res.take(took)
			if res.First == nil {
				res.First = first
			}
			return nil
		})
	}
	err := g.Wait()
	res.Elapsed = time.Since(begin)
	return res, err
}

func (r *Result) take(took []time.Duration) {
	for _, d := range took {
		if d < 0 {
			r.Errors++
			continue
		}
		r.Samples = append(r.Samples, d)
	}
}

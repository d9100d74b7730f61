package run_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/nave-dev/nave/internal/run"
)

// Calls that come while one is under way are done as one, each with its own answer. Who gives up does not stop the others.
func TestTogetherDoesWhatWaitsAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		odd := errors.New("odd")
		var done [][]int
		first := make(chan struct{})
		calls := run.NewTogether(func(ctx context.Context, calls []int) []error {
			if done = append(done, calls); len(done) == 1 {
				<-first
			}
			errs := make([]error, len(calls))
			for i, c := range calls {
				if c%2 == 1 {
					errs[i] = odd
				}
			}
			if ctx.Err() != nil {
				t.Error("whoever works for others is stopped with one of them")
			}
			return errs
		})
		g := run.NewGroup(t.Context())
		gaveUp, giveUp := context.WithCancel(t.Context())
		errs := make([]error, 5)
		for i := range errs {
			g.Go("caller", func(ctx context.Context) error {
				if i == 0 || i == 3 {
					ctx = gaveUp
				}
				errs[i] = calls.Do(ctx, i)
				return nil
			})
			synctest.Wait()
		}
		giveUp()
		synctest.Wait()
		if !errors.Is(errs[3], context.Canceled) {
			t.Errorf("a caller who gave up while it waited got %v", errs[3])
		}
		close(first)
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if want := [][]int{{0}, {1, 2, 3, 4}}; !slices.EqualFunc(done, want, slices.Equal[[]int]) {
			t.Errorf("done %v, want %v", done, want)
		}
		for i, want := range []error{nil, odd, nil, context.Canceled, nil} {
			if !errors.Is(errs[i], want) {
				t.Errorf("call %d = %v, want %v", i, errs[i], want)
			}
		}
		if err := calls.Do(gaveUp, 7); !errors.Is(err, context.Canceled) || len(done) != 2 {
			t.Errorf("a call of one who gave up before = %v, and %d rounds were done", err, len(done))
		}
	})
}

package run_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nave-dev/nave/internal/run"
)

func TestFirstErrorCancelsSiblingsWithCause(t *testing.T) {
	boom := errors.New("boom")
	g := run.NewGroup(context.Background())
	var cause error
	g.Go("sibling", func(ctx context.Context) error {
		<-ctx.Done()
		cause = context.Cause(ctx)
		return ctx.Err()
	})
	g.Go("failing", func(context.Context) error { return boom })
	err := g.Wait()
	if !errors.Is(err, boom) || !strings.HasPrefix(err.Error(), "failing: ") {
		t.Fatalf("Wait = %v, want the failing task's error with its name", err)
	}
	if !errors.Is(cause, boom) {
		t.Fatalf("cause seen by the sibling = %v, want %v", cause, boom)
	}
}

func TestPanicBecomesError(t *testing.T) {
	g := run.NewGroup(context.Background())
	g.Go("bad", func(context.Context) error { panic("invariant 3") })
	var p *run.PanicError
	if err := g.Wait(); !errors.As(err, &p) || p.Value != "invariant 3" || len(p.Stack) == 0 {
		t.Fatalf("Wait = %v, want a PanicError with value and stack", err)
	}
}

func TestStopIsNotAnError(t *testing.T) {
	g := run.NewGroup(context.Background())
	g.Go("task", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	g.Stop()
	if err := g.Wait(); err != nil {
		t.Fatalf("Wait after Stop = %v, want nil", err)
	}
}

func TestBoundedReturnsWhenTheCallIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		released := make(chan int, 1)
		start := time.Now()
		_, err := run.Bounded(ctx, func() (int, error) { time.Sleep(time.Minute); return 7, nil }, func(v int) { released <- v })
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Fatalf("Bounded = %v after %v, want deadline exceeded after 1s", err, time.Since(start))
		}
		if v := <-released; v != 7 {
			t.Fatalf("late result handed to discard = %d, want 7", v)
		}
	})
}

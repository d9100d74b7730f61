package memory

import (
	"context"

	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/bench/rig"
)

// world is a hub, and what is looked at beside it.
type world struct{ *rig.Rig }

// in makes a scenario's Run of a measurement beside a hub.
func in(measured func(context.Context, world) error) func(context.Context, *measure.Bench) error {
	return func(ctx context.Context, b *measure.Bench) error {
		return rig.With(ctx, b, func(ctx context.Context, r *rig.Rig) error { return measured(ctx, world{r}) })
	}
}

// keep fetches the heap profile of a program and its goroutines, when profiles are wanted.
func (w world) keep(ctx context.Context, name, address string) error {
	for _, kind := range []string{"heap", "goroutine"} {
		if err := w.Bench.Snapshot(ctx, name, address, kind); err != nil {
			return err
		}
	}
	return nil
}

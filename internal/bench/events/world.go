package events

import (
	"context"

	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/internal/bench/floor"
	"github.com/nave-dev/nave/internal/bench/measure"
	"github.com/nave-dev/nave/internal/bench/rig"
)

// sessions is how many a run has at most.
const sessions = 10

// world is a federation with one spoke, whose sessions run.
type world struct {
	*rig.Rig
	b     *measure.Bench
	calls navev1.SessionsClient
}

// with runs a scenario beside a hub and a spoke.
func with(ctx context.Context, b *measure.Bench, scenario func(context.Context, *world) error) error {
	return rig.With(ctx, b, func(ctx context.Context, r *rig.Rig) error {
		conn, err := r.GRPC()
		if err != nil {
			return err
		}
		w := &world{Rig: r, b: b, calls: navev1.NewSessionsClient(conn)}
		return r.Beside(ctx, "one", sessions, func(ctx context.Context) error {
			if err := r.Apply(ctx, b.Self, floor.Command, floor.Printer); err != nil {
				return err
			}
			if _, _, err := w.print(ctx, sessions, warmUp); err != nil { // every session runs from here on
				return err
			}
			return scenario(ctx, w)
		})
	})
}

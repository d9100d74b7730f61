package state

import (
	"context"
	"fmt"
	"time"

	"github.com/nave-dev/nave/internal/bench/measure"
)

// Restart measures how soon hub and spoke are ready again.
var Restart = measure.Scenario{
	Name: "restart",
	About: "how long after kill -9 hub and spoke are ready again, by how much they keep. The floor of the hub: an embedded etcd and a SQLite database " +
		"on as many records, opened and read once; of the spoke: a file of the size of its journal, read once.",
	Run: func(ctx context.Context, b *measure.Bench) error {
		if err := hubs(ctx, b); err != nil {
			return fmt.Errorf("hub: %w", err)
		}
		return nil
	},
}

func hubs(ctx context.Context, b *measure.Bench) (err error) {
	r, err := newRig(ctx, b, "r", false)
	if err != nil {
		return err
	}
	defer func() { err = joined(err, r.stop()) }()
	for _, n := range []int{1, 100, 10000} {
		began := time.Now()
		if err := r.grow(ctx, n); err != nil {
			return err
		}
		b.Log.Info("grown", "sessions", n, "took", time.Since(began))
		for range 3 {
			r.hub.Kill()
			ready, accepted, err := r.again(ctx)
			if err != nil {
				return err
			}
			b.Log.Info("again", "ready", ready, "accepted", accepted)
		}
	}
	return nil
}

// again starts the hub and returns when it was ready, and when it had accepted the first signal.
func (r *rig) again(ctx context.Context) (ready, accepted time.Duration, err error) {
	began := time.Now()
	if err := r.start(ctx); err != nil {
		return 0, 0, err
	}
	ready = time.Since(began)
	for {
		err := r.signal(ctx, "s0")
		if err == nil {
			return ready, time.Since(began), nil
		}
		if time.Since(began) > startTime {
			return 0, 0, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

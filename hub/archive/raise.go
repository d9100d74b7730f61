package archive

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/nave-dev/nave/api"
)

// raises are the calls of Raise that wait. A replica that starts raises all of its shards at once: whoever gets the turn writes
// what waits in one transaction, so that a start costs one sync instead of one for each shard.
type raises struct {
	turn chan struct{} // full while somebody writes

	mu      sync.Mutex
	waiting []*raise // guarded by mu; one for each call
}

type raise struct {
	shard api.Shard
	to    api.Generation
	n     int64 // of to
	done  chan error
}

func newRaises() *raises { return &raises{turn: make(chan struct{}, 1)} }

func (r *raises) add(one *raise) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, one)
}

// take returns what waits, in the order of shards, so that two transactions cannot wait for each other.
func (r *raises) take() []*raise {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.waiting
	r.waiting = nil
	slices.SortStableFunc(out, func(a, b *raise) int { return cmp.Compare(a.shard, b.shard) })
	return out
}

// Raise implements [hub.Archive]. When ctx ends before its turn has come the shard may be raised all the same.
func (a *Archive) Raise(ctx context.Context, shard api.Shard, g api.Generation) error {
	const op = "raise generation"
	if err := ctx.Err(); err != nil {
		return failure(op, err)
	}
	n, err := signed("generation", g.N)
	if err != nil {
		return failure(op, err)
	}
	one := &raise{shard, g, n, make(chan error, 1)}
	a.raises.add(one)
	select {
	case a.raises.turn <- struct{}{}:
		a.raiseAll(context.WithoutCancel(ctx), op) // others wait for it too
		<-a.raises.turn
		return <-one.done // it was among them, or a former turn took it
	case err := <-one.done:
		return err
	case <-ctx.Done():
		return failure(op, ctx.Err())
	}
}

// raiseAll raises what waits, and answers it: what was passed is refused, and the rest is raised all the same.
func (a *Archive) raiseAll(ctx context.Context, op string) {
	all := a.raises.take()
	if len(all) == 0 {
		return
	}
	ctx, cancel := a.bound(ctx)
	defer cancel()
	passed := make([]bool, len(all))
	err := a.transact(ctx, op, func(t *tx) error {
		for i, one := range all {
			changed, err := t.insert(a.st.raise, int64(one.shard), int64(one.to.Incarnation), one.n)
			if err != nil {
				return err
			}
			passed[i] = !changed
		}
		return nil
	})
	for i, one := range all {
		switch {
		case err != nil:
			one.done <- err
		case passed[i]:
			one.done <- refuse(op, api.CodeConflict, "a later owner than generation %v of shard %d raised it already", one.to, one.shard)
		default:
			one.done <- nil
		}
	}
}

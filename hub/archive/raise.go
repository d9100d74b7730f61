package archive

import (
	"cmp"
	"context"
	"slices"

	"github.com/nave-dev/nave/api"
)

// raise is one call of Raise. A replica that starts raises all of its shards at once: what waits is written in one transaction,
// so that a start costs one sync instead of one for each shard.
type raise struct {
	shard api.Shard
	to    api.Generation
	n     int64 // of to
	at    int   // among the calls that are done together
}

const opRaise = "raise generation"

// Raise implements [hub.Archive]. When ctx ends before its turn has come the shard may be raised all the same.
func (a *Archive) Raise(ctx context.Context, shard api.Shard, g api.Generation) error {
	n, err := signed("generation", g.N)
	if err == nil {
		err = a.raises.Do(ctx, raise{shard: shard, to: g, n: n})
	}
	if err != nil {
		return failure(opRaise, err)
	}
	return nil
}

// raiseAll raises several: what was passed is refused, and the rest is raised all the same. It goes by the order of shards, so that
// two transactions cannot wait for each other.
func (a *Archive) raiseAll(ctx context.Context, calls []raise) []error {
	ctx, cancel := a.bound(ctx)
	defer cancel()
	errs := make([]error, len(calls))
	for i := range calls {
		calls[i].at = i
	}
	slices.SortStableFunc(calls, func(a, b raise) int { return cmp.Compare(a.shard, b.shard) })
	err := a.transact(ctx, opRaise, func(t *tx) error {
		for _, one := range calls {
			changed, err := t.insert(a.st.raise, int64(one.shard), int64(one.to.Incarnation), one.n)
			if err != nil {
				return err
			}
			if !changed {
				errs[one.at] = refuse(opRaise, api.CodeConflict, "a later owner than generation %v of shard %d raised it already", one.to, one.shard)
			}
		}
		return nil
	})
	if err != nil {
		for i := range errs {
			errs[i] = err
		}
	}
	return errs
}

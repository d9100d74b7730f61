package bucket

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/nave-dev/nave/api"
)

// abandoned is how long ago the last object of an incomplete checkpoint was written when it counts as given up. Another
// process may still be saving a younger one.
const abandoned = 24 * time.Hour

// objects are what lies under one checkpoint's id.
type objects struct {
	names map[string]time.Time // by name: when it was written
}

// list reads what there is of a session. It takes page after page, and keeps a name and a time of each object.
func (b *Bucket) list(ctx context.Context, prefix string) (map[api.CheckpointID]*objects, error) {
	out := map[api.CheckpointID]*objects{}
	token := blob.FirstPageToken
	for token != nil {
		page, next, err := b.page(ctx, prefix, token)
		if err != nil {
			return nil, err
		}
		for _, o := range page {
			id, name, ok := parse(prefix, o.Key)
			if !ok {
				continue // nothing of ours
			}
			if out[id] == nil {
				out[id] = &objects{names: map[string]time.Time{}}
			}
			out[id].names[name] = o.ModTime
		}
		token = next
	}
	return out, nil
}

func (b *Bucket) page(ctx context.Context, prefix string, token []byte) ([]*blob.ListObject, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for {
		page, next, err := b.b.ListPage(ctx, token, 1000, &blob.ListOptions{Prefix: prefix})
		switch {
		case errors.Is(err, io.EOF):
			return nil, nil, nil
		case gcerrors.Code(err) == gcerrors.NotFound && ctx.Err() == nil:
			continue // the directory bucket's list breaks off where a file vanishes under it: a save renames its own
		}
		if len(next) == 0 {
			next = nil
		}
		return page, next, err
	}
}

// CollectCheckpoints implements hub.Vault. CodeFailed, and nothing is removed, when one of keep is not complete: what is
// older than it cannot be told then.
func (b *Bucket) CollectCheckpoints(ctx context.Context, org api.OrgID, session api.SessionID, keep []api.CheckpointID) (removed int, err error) {
	const op = "collect checkpoints"
	p := prefix(org, session)
	of := b.saves.enter(p)
	defer b.saves.leave(p, of)
	if err := of.take(ctx); err != nil {
		return 0, failure(op, err)
	}
	defer of.give()
	if len(keep) == 0 {
		b.saves.end(of)
	}
	all, err := b.list(ctx, p)
	if err != nil {
		return 0, failure(op, err)
	}
	if len(keep) == 0 {
		for _, id := range slices.Sorted(maps.Keys(all)) {
			n, err := b.remove(ctx, p, id, all[id])
			if removed += n; err != nil {
				return removed, failure(op, err)
			}
		}
		b.tidy(p)
		return removed, nil
	}
	oldest, needed := uint64(0), map[api.CheckpointID]bool{}
	for i, id := range keep {
		r, err := b.refs(ctx, p, id)
		if err != nil {
			return 0, failure(op, err)
		}
		if r == nil {
			return 0, refuse(op, api.CodeFailed, "checkpoint %s is to be kept and is not there: nothing is removed", id)
		}
		if i == 0 || r.Sequence < oldest {
			oldest = r.Sequence
		}
		needed[id] = true
		for _, other := range r.Packs {
			needed[other] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if needed[id] || b.saves.busy(of, id) {
			continue
		}
		o := all[id]
		if _, complete := o.names[refsName]; complete {
			r, err := b.refs(ctx, p, id) // read last, so that one that another process saved anew stays
			if err != nil {
				return removed, failure(op, err)
			}
			if r == nil || r.Sequence >= oldest {
				continue
			}
		} else if time.Since(o.newest()) < abandoned {
			continue
		}
		n, err := b.remove(ctx, p, id, o)
		if removed += n; err != nil {
			return removed, failure(op, err)
		}
	}
	return removed, nil
}

func (o *objects) newest() time.Time {
	var t time.Time
	for _, at := range o.names {
		if at.After(t) {
			t = at
		}
	}
	return t
}

// remove deletes all objects of a checkpoint, refs first: what is half removed is not complete.
func (b *Bucket) remove(ctx context.Context, prefix string, id api.CheckpointID, o *objects) (removed int, err error) {
	names := slices.Sorted(maps.Keys(o.names))
	slices.SortStableFunc(names, func(x, y string) int {
		switch {
		case x == refsName:
			return -1
		case y == refsName:
			return 1
		}
		return 0
	})
	for _, name := range names {
		if err := b.delete(ctx, objectKey(prefix, id, name)); err != nil {
			return removed, err
		}
		removed++
	}
	b.tidy(prefix + string(id))
	return removed, nil
}

// delete removes an object; one that is gone is no error.
func (b *Bucket) delete(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := b.b.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return err
	}
	return nil
}

// discard removes what an unfinished save wrote, as far as that works now.
func (b *Bucket) discard(ctx context.Context, prefix string, id api.CheckpointID) {
	for _, part := range []api.CheckpointPart{api.PartManifest, api.PartPack} {
		_ = b.delete(ctx, objectKey(prefix, id, string(part))) // collected later otherwise
	}
}

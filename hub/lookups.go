package hub

import (
	"context"
	"slices"

	"github.com/nave-dev/nave/api"
)

// lookupKeys bounds the idempotency keys of one question to the archive. One request alone may be more.
const lookupKeys = 512

// lookups asks the archive for the idempotency keys of all shards: those that wait while a question is under way go into the
// next one together. A shard waits for the answer as if it had asked by itself.
type lookups struct {
	Archive
	in chan lookup // one per shard at most; a full channel makes shards wait
}

type lookup struct {
	org   api.OrgID
	keys  []KeyScope
	found map[KeyScope]SettledSignal // filled before done gets nil
	done  chan error                 // capacity 1
}

func newLookups(a Archive) *lookups { return &lookups{Archive: a, in: make(chan lookup, api.Shards)} }

// Keys implements [Archive].
func (l *lookups) Keys(ctx context.Context, org api.OrgID, keys []KeyScope) (map[KeyScope]SettledSignal, error) {
	q := lookup{org, keys, make(map[KeyScope]SettledSignal), make(chan error, 1)}
	select {
	case l.in <- q:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case err := <-q.done:
		return q.found, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *lookups) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case first := <-l.in:
			for _, asked := range l.gather(first) {
				l.ask(ctx, asked)
			}
		}
	}
}

// gather takes what is waiting, by organization.
func (l *lookups) gather(first lookup) [][]lookup {
	all, n := [][]lookup{{first}}, len(first.keys)
	for n < lookupKeys {
		select {
		case q := <-l.in:
			n += len(q.keys)
			i := slices.IndexFunc(all, func(of []lookup) bool { return of[0].org == q.org })
			if i < 0 {
				all = append(all, []lookup{q})
				continue
			}
			all[i] = append(all[i], q)
		default:
			return all
		}
	}
	return all
}

// ask answers lookups of one organization. When the archive takes offence at the question, each is asked alone, so that one
// shard's is nobody else's matter.
func (l *lookups) ask(ctx context.Context, asked []lookup) {
	var keys []KeyScope
	for _, q := range asked {
		keys = append(keys, q.keys...)
	}
	found, err := l.Archive.Keys(ctx, asked[0].org, keys)
	if len(asked) > 1 && api.CodeOf(err) == api.CodeInternal {
		for _, q := range asked {
			l.ask(ctx, []lookup{q})
		}
		return
	}
	for _, q := range asked {
		for _, k := range q.keys {
			if row, ok := found[k]; ok {
				q.found[k] = row
			}
		}
		q.done <- err
	}
}

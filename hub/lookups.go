package hub

import (
	"context"

	"github.com/nave-dev/nave/api"
)

// lookupKeys bounds the idempotency keys of one question to the archive. One request alone may be more.
const lookupKeys = 512

// lookups asks the archive for the idempotency keys of all shards: those that wait while a question is under way go into the
// next one together. A shard waits for the answer as if it had asked by itself.
type lookups struct {
	Archive
	queue convoy[*lookup] // one per shard at most
}

type lookup struct {
	org   api.OrgID
	keys  []KeyScope
	found map[KeyScope]SettledSignal // the answer, with err; others may be in it too
	err   error
}

func newLookups(a Archive) *lookups {
	l := &lookups{Archive: a}
	l.queue = convoy[*lookup]{lanes: 1, fits: fitsLookup, call: l.ask}
	return l
}

func fitsLookup(asked []*lookup, one *lookup) bool {
	n := 0
	for _, q := range asked {
		n += len(q.keys)
	}
	return n < lookupKeys && one.org == asked[0].org
}

// Keys implements [Archive].
func (l *lookups) Keys(ctx context.Context, org api.OrgID, keys []KeyScope) (map[KeyScope]SettledSignal, error) {
	q := &lookup{org: org, keys: keys}
	if err := l.queue.ride(ctx, q); err != nil {
		return nil, err
	}
	return q.found, q.err
}

// ask answers lookups of one organization. When the archive takes offence at the question, each is asked alone, so that one
// shard's is nobody else's matter.
func (l *lookups) ask(ctx context.Context, asked []*lookup) {
	keys := asked[0].keys
	for _, q := range asked[1:] {
		keys = append(keys[:len(keys):len(keys)], q.keys...)
	}
	found, err := l.Archive.Keys(ctx, asked[0].org, keys)
	if len(asked) > 1 && api.CodeOf(err) == api.CodeInternal {
		for _, q := range asked {
			l.ask(ctx, []*lookup{q})
		}
		return
	}
	for _, q := range asked {
		q.found, q.err = found, err // nobody changes it
	}
}

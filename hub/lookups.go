package hub

import (
	"context"

	"github.com/nave-dev/nave/api"
)

// lookupKeys bounds what one question to the archive asks for. One request alone may be more.
const lookupKeys = 512

// lookups asks the archive for all shards of this replica, so that what many of them ask at once, as after a burst of signals
// or a hello, is not as many questions.
type lookups struct {
	Archive
	keys *questions[api.OrgID, KeyScope, SettledSignal]
	ends *questions[api.ClusterID, SessionEpoch, api.OrgID]
}

func newLookups(a Archive) *lookups {
	return &lookups{a, newQuestions(a.Keys), newQuestions(a.EndedEpochs)}
}

// Keys implements [Archive].
func (l *lookups) Keys(ctx context.Context, org api.OrgID, keys []KeyScope) (map[KeyScope]SettledSignal, error) {
	return l.keys.ask(ctx, org, keys)
}

// EndedEpochs implements [Archive].
func (l *lookups) EndedEpochs(ctx context.Context, cluster api.ClusterID, epochs []SessionEpoch) (map[SessionEpoch]api.OrgID, error) {
	return l.ends.ask(ctx, cluster, epochs)
}

// questions is one method of the archive that finds values by keys, within a scope: questions that wait while one is under way
// go into the next one together. A shard waits for the answer as if it had asked by itself.
type questions[S, K comparable, V any] struct {
	find  func(context.Context, S, []K) (map[K]V, error)
	queue convoy[*question[S, K, V]] // one per shard at most
}

type question[S, K comparable, V any] struct {
	scope S
	keys  []K
	found map[K]V // the answer, with err; others may be in it too
	err   error
}

func newQuestions[S, K comparable, V any](find func(context.Context, S, []K) (map[K]V, error)) *questions[S, K, V] {
	q := &questions[S, K, V]{find: find}
	q.queue = convoy[*question[S, K, V]]{lanes: 1, fits: q.fits, call: q.answer}
	return q
}

// ask returns what is found of some keys.
func (l *questions[S, K, V]) ask(ctx context.Context, scope S, keys []K) (map[K]V, error) {
	q := &question[S, K, V]{scope: scope, keys: keys}
	if err := l.queue.ride(ctx, q); err != nil {
		return nil, err
	}
	return q.found, q.err
}

func (l *questions[S, K, V]) fits(asked []*question[S, K, V], one *question[S, K, V]) bool {
	n := 0
	for _, q := range asked {
		n += len(q.keys)
	}
	return n < lookupKeys && one.scope == asked[0].scope
}

// answer answers questions of one scope. When the archive takes offence at them, each is asked alone, so that one shard's is
// nobody else's matter.
func (l *questions[S, K, V]) answer(ctx context.Context, asked []*question[S, K, V]) {
	keys := asked[0].keys
	for _, q := range asked[1:] {
		keys = append(keys[:len(keys):len(keys)], q.keys...)
	}
	found, err := l.find(ctx, asked[0].scope, keys)
	if len(asked) > 1 && api.CodeOf(err) == api.CodeInternal {
		for i := range asked {
			l.answer(ctx, asked[i:i+1])
		}
		return
	}
	for _, q := range asked {
		q.found, q.err = found, err // nobody changes it
	}
}

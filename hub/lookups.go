package hub

import (
	"context"
	"slices"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
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

func (l *lookups) run(ctx context.Context) error {
	g := run.NewGroup(ctx)
	g.Go("keys", l.keys.run)
	g.Go("ends", l.ends.run)
	return g.Wait()
}

// questions is one method of the archive that finds values by keys, within a scope: questions that wait while one is under way
// go into the next one together. A shard waits for the answer as if it had asked by itself.
type questions[S, K comparable, V any] struct {
	find func(context.Context, S, []K) (map[K]V, error)
	in   chan question[S, K, V] // one per shard at most; a full channel makes shards wait
}

type question[S, K comparable, V any] struct {
	scope S
	keys  []K
	found map[K]V    // filled before done gets nil
	done  chan error // capacity 1
}

func newQuestions[S, K comparable, V any](find func(context.Context, S, []K) (map[K]V, error)) *questions[S, K, V] {
	return &questions[S, K, V]{find, make(chan question[S, K, V], api.Shards)}
}

// ask returns what is found of some keys.
func (l *questions[S, K, V]) ask(ctx context.Context, scope S, keys []K) (map[K]V, error) {
	q := question[S, K, V]{scope, keys, make(map[K]V), make(chan error, 1)}
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

func (l *questions[S, K, V]) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case first := <-l.in:
			for _, asked := range l.gather(first) {
				l.answer(ctx, asked)
			}
		}
	}
}

// gather takes what is waiting, by scope.
func (l *questions[S, K, V]) gather(first question[S, K, V]) [][]question[S, K, V] {
	all, n := [][]question[S, K, V]{{first}}, len(first.keys)
	for n < lookupKeys {
		select {
		case q := <-l.in:
			n += len(q.keys)
			i := slices.IndexFunc(all, func(of []question[S, K, V]) bool { return of[0].scope == q.scope })
			if i < 0 {
				all = append(all, []question[S, K, V]{q})
				continue
			}
			all[i] = append(all[i], q)
		default:
			return all
		}
	}
	return all
}

// answer answers questions of one scope. When the archive takes offence at them, each is asked alone, so that one shard's is
// nobody else's matter.
func (l *questions[S, K, V]) answer(ctx context.Context, asked []question[S, K, V]) {
	var keys []K
	for _, q := range asked {
		keys = append(keys, q.keys...)
	}
	found, err := l.find(ctx, asked[0].scope, keys)
	if len(asked) > 1 && api.CodeOf(err) == api.CodeInternal {
		for i := range asked {
			l.answer(ctx, asked[i:i+1])
		}
		return
	}
	for _, q := range asked {
		for _, k := range q.keys {
			if v, ok := found[k]; ok {
				q.found[k] = v
			}
		}
		q.done <- err
	}
}

package run

import (
	"context"
	"sync"
)

// Together lets calls that come while one is under way be done as one after it: whoever gets the turn does all that wait. It is
// for many callers that begin at once, where each call alone would cost a sync or a round trip. It starts no goroutine.
type Together[C any] struct {
	do   func(ctx context.Context, calls []C) []error // does several calls and answers each; in the order in which they came
	turn chan struct{}                                // full while somebody works

	mu      sync.Mutex
	waiting []*waiting[C] // guarded by mu; one for each caller
}

type waiting[C any] struct {
	call C
	done chan error // capacity 1
}

// NewTogether makes one for calls of a kind. do must answer each of the calls that it is given, and bound its time: it is not told when
// a caller gives up, since others wait for it too.
func NewTogether[C any](do func(ctx context.Context, calls []C) []error) *Together[C] {
	return &Together[C]{do: do, turn: make(chan struct{}, 1)}
}

// Do does a call, alone or with others, and returns its answer. When ctx ends before that, the call may be done all the same.
func (t *Together[C]) Do(ctx context.Context, call C) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	own := &waiting[C]{call, make(chan error, 1)}
	t.mu.Lock()
	t.waiting = append(t.waiting, own)
	t.mu.Unlock()
	select {
	case t.turn <- struct{}{}:
		t.all(context.WithoutCancel(ctx))
		return <-own.done // it was among them, or a former turn did it
	case err := <-own.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// all does what waits, and ends the turn.
func (t *Together[C]) all(ctx context.Context) {
	defer func() { <-t.turn }()
	t.mu.Lock()
	all := t.waiting
	t.waiting = nil
	t.mu.Unlock()
	if len(all) == 0 {
		return
	}
	calls := make([]C, len(all))
	for i, w := range all {
		calls[i] = w.call
	}
	for i, err := range t.do(ctx, calls) {
		all[i].done <- err
	}
}

package door

import (
	"context"
	"slices"
	"sync"

	"github.com/nave-dev/nave/api"
)

// queue lets a few in at a time; the others wait in the order in which they came.
type queue struct {
	what string // waits: a plural
	most int    // that may wait

	mu      sync.Mutex
	free    int             // guarded by mu
	waiting []chan struct{} // closed when it is one's turn; guarded by mu
}

func newQueue(what string, atOnce, most int) *queue {
	return &queue{what: what, free: atOnce, most: most}
}

// enter waits for one's turn, until ctx ends. Who came in leaves by [queue.leave].
func (q *queue) enter(ctx context.Context) error {
	q.mu.Lock()
	if q.free > 0 {
		q.free--
		q.mu.Unlock()
		return nil
	}
	if len(q.waiting) >= q.most {
		q.mu.Unlock()
		return api.Errorf(api.CodeUnavailable, "%d %s wait already: repeat later", q.most, q.what)
	}
	turn := make(chan struct{})
	q.waiting = append(q.waiting, turn)
	q.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, turn); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	} else {
		q.leaveLocked() // its turn came meanwhile
	}
	return context.Cause(ctx)
}

func (q *queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.leaveLocked()
}

func (q *queue) leaveLocked() {
	if len(q.waiting) == 0 {
		q.free++
		return
	}
	close(q.waiting[0])
	q.waiting = q.waiting[1:]
}

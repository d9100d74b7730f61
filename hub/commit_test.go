package hub

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

// narrowStore takes small transactions only. The first one waits, so that batches gather behind it.
type narrowStore struct {
	ShardStore
	limits CommitLimits
	tight  int // operations that it takes in truth; 0: as it says

	begun   chan struct{} // closed when the first commit is there
	release chan struct{}
	once    sync.Once

	mu    sync.Mutex
	taken int   // batches that came, guarded by mu
	seen  []int // operations of each transaction that was written, guarded by mu
	sum   int   // batches written, guarded by mu
}

func (s *narrowStore) came() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

func (s *narrowStore) Limits() CommitLimits { return s.limits }

func (s *narrowStore) Commit(ctx context.Context, batches []Batch) error {
	s.mu.Lock()
	s.taken += len(batches)
	s.mu.Unlock()
	s.once.Do(func() { close(s.begun); <-s.release })
	ops, bytes := 0, 0
	for _, b := range batches {
		ops += b.ops()
		bytes += b.size()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if most := max(s.tight, 0); ops > s.limits.Ops || bytes > s.limits.Bytes || most > 0 && ops > most {
		return api.Errorf(api.CodeLimit, "%d operations", ops)
	}
	s.seen, s.sum = append(s.seen, ops), s.sum+len(batches)
	return nil
}

// TestMergesWithinTheLimitsOfTheStore lets many batches wait: what is merged is never more than the store takes, no batch is
// split or left out, and where the store takes less than it says each goes alone.
func TestMergesWithinTheLimitsOfTheStore(t *testing.T) {
	const each, waiting = 9, 60 // 9 mutations and the head
	for _, tt := range []struct {
		name   string
		limits CommitLimits
		tight  int
		most   int // operations of the largest transaction
	}{
		{"operations", CommitLimits{Ops: 128, Bytes: 1 << 20}, 0, 120},
		{"bytes", CommitLimits{Ops: 1000, Bytes: 5 * each * 256}, 0, 50},
		{"one at a time", CommitLimits{Ops: 10, Bytes: 1 << 20}, 0, 10},
		{"less than it says", CommitLimits{Ops: 128, Bytes: 1 << 20}, 15, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &narrowStore{limits: tt.limits, tight: tt.tight, begun: make(chan struct{}), release: make(chan struct{})}
			c := newCommitter(s, newMetrics())
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			g := run.NewGroup(ctx)
			for n := range waiting {
				g.Go("shard", func(ctx context.Context) error {
					return c.commit(ctx, Batch{Shard: api.Shard(n), Mutations: make([]Mutation, each)})
				})
			}
			<-s.begun
			for s.came()+c.queue.queued() < waiting && ctx.Err() == nil { // the second queue may take several
				select {
				case <-ctx.Done():
				case <-time.After(time.Millisecond):
				}
			}
			close(s.release)
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
			most := 0
			for _, ops := range s.seen {
				if ops%(each+1) != 0 {
					t.Errorf("a transaction has %d operations: a batch was split", ops)
				}
				most = max(most, ops)
			}
			if s.sum != waiting || most != tt.most {
				t.Errorf("%d batches were written, at most %d operations at a time, want %d and %d", s.sum, most, waiting, tt.most)
			}
		})
	}
}

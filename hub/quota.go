package hub

import (
	"sync"

	"github.com/nave-dev/nave/api"
)

// quota counts the unsettled signals of each organization over this replica's shards. Shards add to it when a batch is
// durable, so that it lags by what is being written at most.
type quota struct {
	mu      sync.Mutex
	pending map[api.OrgID]int // guarded by mu
}

func newQuota() *quota { return &quota{pending: map[api.OrgID]int{}} }

func (q *quota) add(org api.OrgID, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.pending[org] += n; q.pending[org] == 0 {
		delete(q.pending, org)
	}
}

func (q *quota) of(org api.OrgID) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pending[org]
}

package hub

import (
	"context"
	"time"

	"github.com/nave-dev/nave/api"
)

// commitQueues is how many transactions are under way at a time: one is written while the next is gathered.
const commitQueues = 2

// A transaction takes batches while it stays within these bounds and those of the store.
const (
	mergeBatches = 64
	mergeOps     = 3000
	mergeBytes   = 4 << 20
)

// committer merges the waiting batches of several shards into one transaction. When a comparison fails, or when they were
// more than the store takes, each of them goes alone, so that one shard's conflict is nobody else's. A batch is never split.
type committer struct {
	store   ShardStore
	limits  CommitLimits
	metrics *metrics
	queue   convoy[*commitRequest] // one per shard at most
}

type commitRequest struct {
	batch      Batch
	ops, bytes int
	err        error // the answer
}

func newCommitter(store ShardStore, m *metrics) *committer {
	l := store.Limits()
	l.Ops, l.Bytes = min(l.Ops, mergeOps), min(l.Bytes, mergeBytes)
	c := &committer{store: store, limits: l, metrics: m}
	c.queue = convoy[*commitRequest]{lanes: commitQueues, fits: c.fits, call: c.together}
	return c
}

// commit makes a batch durable. Errors are those of [ShardStore.Commit].
func (c *committer) commit(ctx context.Context, b Batch) error {
	r := &commitRequest{batch: b, ops: b.ops(), bytes: b.size()}
	if err := c.queue.ride(ctx, r); err != nil {
		return err
	}
	return r.err
}

func (c *committer) fits(reqs []*commitRequest, one *commitRequest) bool {
	ops, bytes := one.ops, one.bytes
	for _, r := range reqs {
		ops, bytes = ops+r.ops, bytes+r.bytes
	}
	return len(reqs) < mergeBatches && ops <= c.limits.Ops && bytes <= c.limits.Bytes
}

func (c *committer) together(ctx context.Context, reqs []*commitRequest) {
	batches := make([]Batch, len(reqs))
	for i, r := range reqs {
		batches[i] = r.batch
	}
	err := c.write(ctx, batches)
	alone := false
	if code := api.CodeOf(err); len(reqs) > 1 && (code == api.CodeConflict || code == api.CodeLimit) {
		alone = true
	}
	for _, r := range reqs {
		if r.err = err; alone {
			r.err = c.write(ctx, []Batch{r.batch})
		}
	}
}

func (c *committer) write(ctx context.Context, batches []Batch) error {
	began := time.Now()
	err := c.store.Commit(ctx, batches)
	c.metrics.committed(len(batches), began, err)
	return err
}

// ops is how many operations of a transaction the batch is: its mutations and the head.
func (b Batch) ops() int { return len(b.Mutations) + 1 }

// size estimates the bytes of a batch by its payloads and texts.
func (b Batch) size() int {
	n := 0
	for _, m := range b.Mutations {
		n += m.size()
	}
	return n
}

func (m Mutation) size() int {
	const record = 256
	switch {
	case m.PutSignal != nil:
		return record + len(m.PutSignal.Payload)
	case m.PutOutbox != nil:
		n := record + len(m.PutOutbox.Event.Text)
		if d := m.PutOutbox.Decision; d != nil {
			n += record * len(d.Candidates)
		}
		return n
	case m.PutApproval != nil:
		a := m.PutApproval
		return record + len(a.Detail) + len(a.Title) + len(a.Reason) + len(a.Options)*record
	}
	return record
}

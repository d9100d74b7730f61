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
	in      chan commitRequest // one per shard at most; a full channel makes shards wait
}

type commitRequest struct {
	batch Batch
	done  chan<- error // capacity 1
}

func newCommitter(store ShardStore, m *metrics) *committer {
	l := store.Limits()
	l.Ops, l.Bytes = min(l.Ops, mergeOps), min(l.Bytes, mergeBytes)
	return &committer{store: store, limits: l, metrics: m, in: make(chan commitRequest, api.Shards)}
}

// commit makes a batch durable. Errors are those of [ShardStore.Commit].
func (c *committer) commit(ctx context.Context, b Batch) error {
	done := make(chan error, 1)
	select {
	case c.in <- commitRequest{b, done}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run is one queue.
func (c *committer) run(ctx context.Context) error {
	var held *commitRequest // did not fit into the transaction before
	for {
		first := held
		if first == nil {
			select {
			case <-ctx.Done():
				return nil
			case r := <-c.in:
				first = &r
			}
		}
		reqs, next := c.gather(*first)
		c.together(ctx, reqs)
		held = next
	}
}

// gather takes what is waiting, and returns apart what did not fit any more.
func (c *committer) gather(first commitRequest) (reqs []commitRequest, held *commitRequest) {
	reqs = []commitRequest{first}
	ops, bytes := first.batch.ops(), first.batch.size()
	for len(reqs) < mergeBatches {
		select {
		case r := <-c.in:
			ops += r.batch.ops()
			bytes += r.batch.size()
			if ops > c.limits.Ops || bytes > c.limits.Bytes {
				return reqs, &r
			}
			reqs = append(reqs, r)
		default:
			return reqs, nil
		}
	}
	return reqs, nil
}

func (c *committer) together(ctx context.Context, reqs []commitRequest) {
	batches := make([]Batch, len(reqs))
	for i, r := range reqs {
		batches[i] = r.batch
	}
	err := c.write(ctx, batches)
	if code := api.CodeOf(err); len(reqs) > 1 && (code == api.CodeConflict || code == api.CodeLimit) {
		for _, r := range reqs {
			r.done <- c.write(ctx, []Batch{r.batch})
		}
		return
	}
	for _, r := range reqs {
		r.done <- err
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

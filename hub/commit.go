package hub

import (
	"context"
	"time"

	"github.com/nave-dev/nave/api"
)

// commitQueues is how many transactions are under way at a time: one is written while the next is gathered.
const commitQueues = 2

// A transaction takes batches while it stays within these bounds.
const (
	mergeBatches = 64
	mergeOps     = 3000
	mergeBytes   = 4 << 20
)

// committer merges the waiting batches of several shards into one transaction. When a comparison fails each of them goes
// alone, so that one shard's conflict is nobody else's.
type committer struct {
	store   ShardStore
	metrics *metrics
	in      chan commitRequest // one per shard at most; a full channel makes shards wait
}

type commitRequest struct {
	batch Batch
	done  chan<- error // capacity 1
}

func newCommitter(store ShardStore, m *metrics) *committer {
	return &committer{store: store, metrics: m, in: make(chan commitRequest, api.Shards)}
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
	for {
		select {
		case <-ctx.Done():
			return nil
		case first := <-c.in:
			c.together(ctx, c.gather(first))
		}
	}
}

// gather takes what is waiting.
func (c *committer) gather(first commitRequest) []commitRequest {
	reqs := []commitRequest{first}
	ops, bytes := len(first.batch.Mutations), first.batch.size()
	for len(reqs) < mergeBatches && ops < mergeOps && bytes < mergeBytes {
		select {
		case r := <-c.in:
			reqs = append(reqs, r)
			ops += len(r.batch.Mutations)
			bytes += r.batch.size()
		default:
			return reqs
		}
	}
	return reqs
}

func (c *committer) together(ctx context.Context, reqs []commitRequest) {
	batches := make([]Batch, len(reqs))
	for i, r := range reqs {
		batches[i] = r.batch
	}
	err := c.write(ctx, batches)
	if len(reqs) > 1 && api.CodeOf(err) == api.CodeConflict {
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
	}
	return record
}

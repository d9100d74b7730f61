package store

import (
	"context"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/nave-dev/nave/api"
)

// maxAttempts bounds the repetitions of a compare-and-swap that others win.
const maxAttempts = 64

const opClaim = "claim shard"

// claim is one call of Claim. A replica that starts claims all of its shards at once: what waits is claimed in as few
// transactions as etcd takes. Each head is compared as if it were claimed alone.
type claim struct {
	shard api.Shard
	head  api.Head // the answer
}

// Claim implements [hub.ShardStore]. When ctx ends before the answer the shard may be claimed all the same.
func (s *Store) Claim(ctx context.Context, shard api.Shard) (api.Head, error) {
	c := &claim{shard: shard}
	if err := s.claims.Do(ctx, c); err != nil {
		return api.Head{}, failure(opClaim, err)
	}
	return c.head, nil
}

// claimAll claims several shards. What cannot be claimed with the others is claimed alone: a shard that is named twice, and all
// of a transaction in which one was not as it was read.
func (s *Store) claimAll(ctx context.Context, calls []*claim) []error {
	errs := make([]error, len(calls))
	var together, alone []int
	seen := map[api.Shard]bool{}
	for i, c := range calls {
		if seen[c.shard] {
			alone = append(alone, i)
			continue
		}
		seen[c.shard] = true
		together = append(together, i)
	}
	for some := range slices.Chunk(together, s.maxOps-1) { // beside the heads the incarnation is read
		shards := make([]api.Shard, len(some))
		for i, at := range some {
			shards[i] = calls[at].shard
		}
		heads, err := s.claimOnce(ctx, shards)
		for i, at := range some {
			if errs[at] = err; err == nil && heads != nil {
				calls[at].head = heads[i]
			}
		}
		if code := api.CodeOf(err); err == nil && heads == nil || len(some) > 1 && (code == api.CodeInternal || code == api.CodeLimit) {
			alone = append(alone, some...)
		}
	}
	for _, at := range alone {
		calls[at].head, errs[at] = s.claimAlone(ctx, calls[at].shard)
	}
	return errs
}

// claimAlone claims one shard, whoever else wants it.
func (s *Store) claimAlone(ctx context.Context, shard api.Shard) (api.Head, error) {
	for range maxAttempts {
		heads, err := s.claimOnce(ctx, []api.Shard{shard})
		if err != nil {
			return api.Head{}, err
		}
		if heads != nil {
			return heads[0], nil
		}
	}
	return api.Head{}, refuse(opClaim, api.CodeUnavailable, "others claimed shard %d %d times meanwhile: repeat", shard, maxAttempts)
}

// claimOnce claims different shards in one transaction, or none of them: without an error and without heads when one of them
// changed since it was read.
func (s *Store) claimOnce(ctx context.Context, shards []api.Shard) ([]api.Head, error) {
	gets := []clientv3.Op{clientv3.OpGet(s.keys.incarnation())}
	for _, shard := range shards {
		gets = append(gets, clientv3.OpGet(s.keys.head(shard)))
	}
	resp, err := s.txn(ctx, opClaim, nil, gets, nil)
	if err != nil {
		return nil, err
	}
	incarnation, err := incarnationOf(s.keys.incarnation(), resp.Responses[0].GetResponseRange())
	if err != nil {
		return nil, failure(opClaim, err)
	}
	var (
		heads = make([]api.Head, len(shards))
		cmps  []clientv3.Cmp
		puts  []clientv3.Op
	)
	for i, shard := range shards {
		key := s.keys.head(shard)
		head, revision, err := headOf(key, resp.Responses[1+i].GetResponseRange())
		if err != nil {
			return nil, failure(opClaim, err)
		}
		if incarnation < head.Generation.Incarnation {
			return nil, refuse(opClaim, api.CodeInternal, "shard %d has incarnation %d and the store %d", shard, head.Generation.Incarnation, incarnation)
		}
		heads[i] = api.Head{Generation: api.Generation{Incarnation: incarnation, N: head.Generation.N + 1}, Batch: head.Batch}
		value, err := encode(key, headRecord(heads[i]))
		if err != nil {
			return nil, failure(opClaim, err)
		}
		cmps, puts = append(cmps, unchanged(key, revision)), append(puts, putOp(key, value))
	}
	done, err := s.txn(ctx, opClaim, cmps, puts, nil)
	if err != nil || !done.Succeeded {
		return nil, err
	}
	return heads, nil
}

package store

import (
	"context"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/store/recordv1"
)

// Head implements [hub.ShardStore].
func (s *Store) Head(ctx context.Context, shard api.Shard) (api.Head, error) {
	const op = "read head"
	key := s.keys.head(shard)
	resp, err := s.get(ctx, op, key)
	if err != nil {
		return api.Head{}, err
	}
	head, _, err := headOf(key, (*rangeResponse)(resp))
	if err != nil {
		return api.Head{}, failure(op, err)
	}
	return head, nil
}

// Load implements [hub.ShardStore].
func (s *Store) Load(ctx context.Context, shard api.Shard) (hub.ShardContents, error) {
	var c hub.ShardContents
	prefix := s.keys.shard(shard)
	err := s.scan(ctx, "load shard", prefix, func(key string, value []byte, _ int64) error {
		rest := strings.TrimPrefix(key, prefix)
		switch {
		case strings.HasPrefix(rest, "s/"):
			r, err := decode(key, value, new(recordv1.Session))
			if err != nil {
				return err
			}
			c.Sessions = append(c.Sessions, sessionFrom(r))
		case strings.HasPrefix(rest, "q/"):
			r, err := decode(key, value, new(recordv1.Signal))
			if err != nil {
				return err
			}
			c.Signals = append(c.Signals, signalFrom(r))
		case strings.HasPrefix(rest, "o/"):
			r, err := decode(key, value, new(recordv1.OutboxItem))
			if err != nil {
				return err
			}
			o, err := outboxFrom(key, r)
			if err != nil {
				return err
			}
			c.Outbox = append(c.Outbox, o)
		case strings.HasPrefix(rest, "a/"):
			r, err := decode(key, value, new(recordv1.Approval))
			if err != nil {
				return err
			}
			c.Approvals = append(c.Approvals, approvalFrom(r))
		}
		return nil
	})
	if err != nil {
		return hub.ShardContents{}, err
	}
	return c, nil
}

// What a request needs beside keys and values.
const (
	opOverhead      = 96 // of an operation or a comparison: tags, lengths, and the key of a comparison
	requestOverhead = 1 << 10
)

// Limits implements [hub.ShardStore]. The bytes leave room for what an estimate does not see.
func (s *Store) Limits() hub.CommitLimits {
	return hub.CommitLimits{Ops: s.maxOps, Bytes: s.max / 3 * 2}
}

// Commit implements [hub.ShardStore].
func (s *Store) Commit(ctx context.Context, batches []hub.Batch) error {
	const op = "commit batches"
	if len(batches) == 0 {
		return nil
	}
	var (
		cmps  = make([]clientv3.Cmp, 0, len(batches))
		ops   changes
		seen  [api.Shards]bool
		alive map[api.ClusterID]bool
		n     int
	)
	for i := range batches {
		n += 1 + len(batches[i].Mutations)
	}
	ops.ops, ops.index = make([]clientv3.Op, 0, n), make(map[string]int, n)
	for i := range batches {
		b := &batches[i]
		if seen[b.Shard] {
			return refuse(op, api.CodeInternal, "shard %d has two batches: merge them or commit one after the other", b.Shard)
		}
		seen[b.Shard] = true
		key := s.keys.head(b.Shard)
		cmp, err := headIs(key, b.From)
		if err != nil {
			return failure(op, err)
		}
		cmps = append(cmps, cmp)
		for _, c := range b.Alive {
			if alive[c] {
				continue
			}
			if alive == nil {
				alive = map[api.ClusterID]bool{}
			}
			alive[c] = true
			cmps = append(cmps, present(s.keys.alive(c)))
			ops.add(s.keys.placed(c), clientv3.OpPut(s.keys.placed(c), ""))
		}
		if err := ops.put(key, headRecord(b.Next())); err != nil {
			return failure(op, err)
		}
		for j := range b.Mutations {
			if err := s.mutate(&ops, b.Shard, &b.Mutations[j]); err != nil {
				return failure(op, err)
			}
		}
	}
	if n := max(len(ops.ops), len(cmps)); n > s.maxOps {
		return refuse(op, api.CodeLimit, "%d batches have %d operations and etcd takes %d in a transaction: commit fewer at a time", len(batches), n, s.maxOps)
	}
	if n := ops.bytes() + len(cmps)*opOverhead; n > s.max-requestOverhead {
		return refuse(op, api.CodeLimit, "%d batches have %d bytes and etcd takes %d in a request: commit fewer at a time", len(batches), n, s.max)
	}
	resp, err := s.txn(ctx, op, cmps, ops.ops, nil)
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return refuse(op, api.CodeConflict, "a head or a lease is not what was compared: read the head")
	}
	return nil
}

func (s *Store) mutate(ops *changes, shard api.Shard, m *hub.Mutation) error {
	org := m.Org
	switch {
	case org == "":
		return api.Errorf(api.CodeInternal, "a mutation of shard %d names no organization", shard)
	case m.PutSession != nil:
		return ops.put(s.keys.session(shard, org, m.PutSession.ID), sessionRecord(m.PutSession))
	case m.PutSignal != nil:
		return ops.put(s.keys.signal(shard, org, m.PutSignal.Session, m.PutSignal.Sequence), signalRecord(org, m.PutSignal))
	case m.DeleteSignal != nil:
		ops.delete(s.keys.signal(shard, org, m.DeleteSignal.Session, m.DeleteSignal.Sequence))
	case m.PutOutbox != nil:
		key := s.keys.outbox(shard, org, m.PutOutbox.Event.Session, m.PutOutbox.Event.SourceNumber)
		r, err := outboxRecord(key, org, m.PutOutbox)
		if err != nil {
			return err
		}
		return ops.put(key, r)
	case m.DeleteOutbox != nil:
		ops.delete(s.keys.outbox(shard, org, m.DeleteOutbox.Session, m.DeleteOutbox.Number))
	case m.DeleteSession != "":
		ops.delete(s.keys.session(shard, org, m.DeleteSession))
	case m.PutApproval != nil:
		return ops.put(s.keys.approval(shard, org, m.PutApproval.ID), approvalRecord(org, m.PutApproval))
	case m.DeleteApproval != "":
		ops.delete(s.keys.approval(shard, org, m.DeleteApproval))
	default:
		return api.Errorf(api.CodeInternal, "a mutation of shard %d is empty", shard)
	}
	return nil
}

// headIs compares a head; the zero head is the missing one.
func headIs(key string, h api.Head) (clientv3.Cmp, error) {
	if h == (api.Head{}) {
		return absent(key), nil
	}
	value, err := encode(key, headRecord(h))
	return clientv3.Compare(clientv3.Value(key), "=", string(value)), err
}

func headOf(key string, r *rangeResponse) (api.Head, int64, error) {
	if len(r.Kvs) == 0 {
		return api.Head{}, 0, nil
	}
	rec, err := decode(key, r.Kvs[0].Value, new(recordv1.Head))
	return headFrom(rec), r.Kvs[0].ModRevision, err
}

func incarnationOf(key string, r *rangeResponse) (uint32, error) {
	if len(r.Kvs) == 0 {
		return 0, &recordError{key, strconv.ErrSyntax}
	}
	n, err := strconv.ParseUint(string(r.Kvs[0].Value), 10, 32)
	if err != nil || n == 0 {
		return 0, &recordError{key, strconv.ErrSyntax}
	}
	return uint32(n), nil
}

// changes collects the operations of a transaction. etcd refuses two operations on one key: the last one wins.
type changes struct {
	ops   []clientv3.Op
	index map[string]int
}

func (c *changes) add(key string, op clientv3.Op) {
	if c.index == nil {
		c.index = make(map[string]int)
	}
	if i, ok := c.index[key]; ok {
		c.ops[i] = op
		return
	}
	c.index[key] = len(c.ops)
	c.ops = append(c.ops, op)
}

func (c *changes) put(key string, m proto.Message, opts ...clientv3.OpOption) error {
	value, err := encode(key, m)
	if err != nil {
		return err
	}
	c.add(key, putOp(key, value, opts...))
	return nil
}

// putOp puts a value without another copy of it.
func putOp(key string, value []byte, opts ...clientv3.OpOption) clientv3.Op {
	op := clientv3.OpPut(key, "", opts...)
	op.WithValueBytes(value)
	return op
}

// bytes is how long the operations are in a request, at most.
func (c *changes) bytes() int {
	n := 0
	for i := range c.ops {
		op := &c.ops[i]
		n += len(op.KeyBytes()) + len(op.ValueBytes()) + opOverhead
	}
	return n
}

func (c *changes) delete(key string) { c.add(key, clientv3.OpDelete(key)) }

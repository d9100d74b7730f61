package sim

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// Store is etcd in memory: shards and leases. Each method is one transaction.
type Store struct {
	now    func() time.Duration
	shards map[api.Shard]*shardRecords
	leases map[api.ClusterID]*lease
}

type shardRecords struct {
	head     api.Head
	sessions map[api.SessionID]api.Session
	signals  map[hub.SignalKey]api.Signal
	outbox   map[hub.OutboxKey]hub.OutboxItem

	approvals map[api.ApprovalID]api.Approval
}

type lease struct {
	holder hub.LeaseHolder
	ttl    time.Duration
	ends   time.Duration
}

// NewStore makes an empty store whose leases run by the clock given.
func NewStore(now func() time.Duration) *Store {
	return &Store{now: now, shards: map[api.Shard]*shardRecords{}, leases: map[api.ClusterID]*lease{}}
}

func (s *Store) shard(n api.Shard) *shardRecords {
	r := s.shards[n]
	if r == nil {
		r = &shardRecords{sessions: map[api.SessionID]api.Session{}, signals: map[hub.SignalKey]api.Signal{}, outbox: map[hub.OutboxKey]hub.OutboxItem{},
			approvals: map[api.ApprovalID]api.Approval{}}
		s.shards[n] = r
	}
	return r
}

// Claim implements [hub.ShardStore].
func (s *Store) Claim(_ context.Context, shard api.Shard) (api.Head, error) {
	r := s.shard(shard)
	r.head.Generation = api.Generation{Incarnation: 1, N: r.head.Generation.N + 1}
	return r.head, nil
}

// Load implements [hub.ShardStore].
func (s *Store) Load(_ context.Context, shard api.Shard) (hub.ShardContents, error) {
	r := s.shard(shard)
	var c hub.ShardContents
	for _, id := range slices.Sorted(maps.Keys(r.sessions)) {
		c.Sessions = append(c.Sessions, cloneSession(r.sessions[id]))
	}
	for _, k := range slices.SortedFunc(maps.Keys(r.signals), func(a, b hub.SignalKey) int {
		return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(a.Sequence, b.Sequence))
	}) {
		c.Signals = append(c.Signals, r.signals[k])
	}
	for _, k := range slices.SortedFunc(maps.Keys(r.outbox), func(a, b hub.OutboxKey) int {
		return cmp.Or(cmp.Compare(a.Session, b.Session), cmp.Compare(a.Number, b.Number))
	}) {
		c.Outbox = append(c.Outbox, r.outbox[k])
	}
	for _, id := range slices.Sorted(maps.Keys(r.approvals)) {
		c.Approvals = append(c.Approvals, r.approvals[id])
	}
	return c, nil
}

func cloneSession(s api.Session) api.Session {
	if s.Assignment != nil {
		a := *s.Assignment
		s.Assignment = &a
	}
	s.Pauses, s.Checkpoints = slices.Clone(s.Pauses), slices.Clone(s.Checkpoints)
	return s
}

// Head implements [hub.ShardStore].
func (s *Store) Head(_ context.Context, shard api.Shard) (api.Head, error) {
	return s.shard(shard).head, nil
}

// Limits implements [hub.ShardStore].
func (s *Store) Limits() hub.CommitLimits { return hub.CommitLimits{Ops: 128, Bytes: 1 << 20} }

// Commit implements [hub.ShardStore].
func (s *Store) Commit(_ context.Context, batches []hub.Batch) error {
	for _, b := range batches {
		if r := s.shard(b.Shard); r.head != b.From {
			return api.Errorf(api.CodeConflict, "head of shard %d is %v, not %v", b.Shard, r.head, b.From)
		}
		for _, c := range b.Alive {
			if _, ok := s.holder(c); !ok {
				return api.Errorf(api.CodeConflict, "cluster %s is not alive", c)
			}
		}
	}
	for _, b := range batches {
		r := s.shard(b.Shard)
		for _, m := range b.Mutations {
			r.apply(m)
		}
		r.head = b.Next()
	}
	return nil
}

func (r *shardRecords) apply(m hub.Mutation) {
	switch {
	case m.PutSession != nil:
		r.sessions[m.PutSession.ID] = cloneSession(*m.PutSession)
	case m.PutSignal != nil:
		r.signals[hub.SignalKey{Session: m.PutSignal.Session, Sequence: m.PutSignal.Sequence}] = *m.PutSignal
	case m.DeleteSignal != nil:
		delete(r.signals, *m.DeleteSignal)
	case m.PutOutbox != nil:
		r.outbox[hub.OutboxKey{Session: m.PutOutbox.Event.Session, Number: m.PutOutbox.Event.SourceNumber}] = *m.PutOutbox
	case m.DeleteOutbox != nil:
		delete(r.outbox, *m.DeleteOutbox)
	case m.PutApproval != nil:
		r.approvals[m.PutApproval.ID] = *m.PutApproval
	case m.DeleteApproval != "":
		delete(r.approvals, m.DeleteApproval)
	case m.DeleteSession != "":
		delete(r.sessions, m.DeleteSession)
	}
}

// holder is who holds the lease of a cluster now.
func (s *Store) holder(c api.ClusterID) (hub.LeaseHolder, bool) {
	l := s.leases[c]
	if l == nil || s.now() >= l.ends {
		return hub.LeaseHolder{}, false
	}
	return l.holder, true
}

// Take implements [hub.Leases].
func (s *Store) Take(_ context.Context, c api.ClusterID, h hub.LeaseHolder, ttl time.Duration) error {
	if now, ok := s.holder(c); ok && now.Boot != h.Boot && now.Journal != h.Journal {
		return api.Errorf(api.CodeConflict, "another spoke of cluster %s holds the lease", c)
	}
	s.leases[c] = &lease{h, ttl, s.now() + ttl}
	return nil
}

// Renew implements [hub.Leases].
func (s *Store) Renew(_ context.Context, c api.ClusterID, boot string) error {
	if h, ok := s.holder(c); !ok || h.Boot != boot {
		return api.Errorf(api.CodeConflict, "boot %s does not hold the lease of cluster %s", boot, c)
	}
	s.leases[c].ends = s.now() + s.leases[c].ttl
	return nil
}

// Holders implements [hub.Leases].
func (s *Store) Holders(context.Context) (map[api.ClusterID]hub.LeaseHolder, error) {
	out := map[api.ClusterID]hub.LeaseHolder{}
	for c := range s.leases {
		if h, ok := s.holder(c); ok {
			out[c] = h
		}
	}
	return out, nil
}

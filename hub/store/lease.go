package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/store/recordv1"
)

type rangeResponse = etcdserverpb.RangeResponse

// leaseCache remembers under which lease of etcd a cluster lives, so that a renewal needs no read before it. It is a
// hint: what etcd answers decides.
type leaseCache struct {
	mu sync.Mutex
	id map[api.ClusterID]clientv3.LeaseID // at most one per cluster, guarded by mu
}

func (l *leaseCache) get(c api.ClusterID) clientv3.LeaseID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id[c]
}

func (l *leaseCache) set(c api.ClusterID, id clientv3.LeaseID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.id == nil {
		l.id = make(map[api.ClusterID]clientv3.LeaseID)
	}
	l.id[c] = id
}

func (l *leaseCache) forget(c api.ClusterID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.id, c)
}

// life is what etcd knows about the life of a cluster's spoke.
type life struct {
	cluster     int64 // revision of clusters/<cluster>; 0 when it is not registered
	identity    string
	holder      hub.LeaseHolder
	lease       clientv3.LeaseID // 0: nobody holds it
	revision    int64            // of alive/<cluster>; 0 when missing
	fingerprint string
	printed     int64 // revision of fingerprints/<cluster>; 0 when missing
}

// Take implements [hub.Leases]. etcd grants leases of whole seconds and has a least length of its own: the lease lasts
// the ttl or longer. A cluster that was removed has no lease: CodeNotFound.
func (s *Store) Take(ctx context.Context, c api.ClusterID, h hub.LeaseHolder, ttl time.Duration) error {
	const op = "take lease"
	if h.Boot == "" || h.Journal == "" || h.Fingerprint == "" {
		return refuse(op, api.CodeInvalid, "boot, journal and fingerprint must all be given")
	}
	for range maxAttempts {
		l, err := s.life(ctx, op, c)
		if err != nil {
			return err
		}
		switch {
		case l.cluster == 0:
			return refuse(op, api.CodeNotFound, "there is no cluster %s", c)
		case l.identity != h.Identity:
			return &api.Error{Code: api.CodeDenied, Op: op, Field: "identity", Err: fmt.Errorf("cluster %s has another identity now: its spoke was revoked", c)}
		case l.printed != 0 && l.fingerprint != h.Fingerprint:
			return &api.Error{Code: api.CodeDenied, Op: op, Field: "fingerprint", Err: fmt.Errorf("cluster %s presents another fingerprint than when it first came: a copy of its identity is in use elsewhere, or it was built anew; for a new spoke let it rejoin", c)}
		case l.lease != 0 && l.holder.Boot != h.Boot && l.holder.Journal != h.Journal:
			return refuse(op, api.CodeConflict, "another spoke of cluster %s holds the lease: wait until it has run out", c)
		}
		taken, err := s.take(ctx, op, c, h, l, ttl)
		if err != nil || taken {
			return err
		}
	}
	return refuse(op, api.CodeUnavailable, "the lease of cluster %s changed %d times meanwhile: repeat", c, maxAttempts)
}

// take grants a lease and puts the holder under it, if nothing changed since l was read.
func (s *Store) take(ctx context.Context, op string, c api.ClusterID, h hub.LeaseHolder, l life, ttl time.Duration) (bool, error) {
	bounded, cancel := s.bound(ctx)
	granted, err := s.client.Grant(bounded, max(1, int64((ttl+time.Second-1)/time.Second)))
	cancel()
	if err != nil {
		return false, failure(op, err)
	}
	var ops changes
	holder := &recordv1.LeaseHolder{Boot: h.Boot, Journal: h.Journal, Fingerprint: h.Fingerprint}
	if err := errors.Join(ops.put(s.keys.alive(c), holder, clientv3.WithLease(granted.ID)),
		ops.put(s.keys.fingerprint(c), &recordv1.Fingerprint{Value: h.Fingerprint})); err != nil {
		s.revoke(ctx, granted.ID)
		return false, failure(op, err)
	}
	resp, err := s.txn(ctx, op, []clientv3.Cmp{unchanged(s.keys.cluster(c), l.cluster), unchanged(s.keys.alive(c), l.revision),
		unchanged(s.keys.fingerprint(c), l.printed)}, ops.ops, nil)
	if err != nil {
		return false, err // the outcome is unknown: the lease may be in use, so it must run out by itself
	}
	if !resp.Succeeded {
		s.revoke(ctx, granted.ID)
		return false, nil
	}
	s.leases.set(c, granted.ID)
	if l.lease != 0 {
		s.revoke(ctx, l.lease) // the key belongs to the new lease now
	}
	return true, nil
}

// revoke ends a lease that nothing needs. When that does not work it runs out by itself.
func (s *Store) revoke(ctx context.Context, id clientv3.LeaseID) {
	ctx, cancel := s.bound(context.WithoutCancel(ctx))
	defer cancel()
	_, _ = s.client.Revoke(ctx, id)
}

// Renew implements [hub.Leases]. The holder is read after the renewal, so a success means that the boot held the lease
// while it was prolonged.
func (s *Store) Renew(ctx context.Context, c api.ClusterID, boot string) error {
	const op = "renew lease"
	id := s.leases.get(c)
	for range 3 { // a hint that is out of date, a takeover by the same boot meanwhile, and the renewal
		if id != 0 {
			err := s.keepAlive(ctx, id)
			if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
				return failure(op, err)
			}
			if err != nil {
				s.leases.forget(c)
				id = 0
			}
		}
		resp, err := s.get(ctx, op, s.keys.alive(c))
		if err != nil {
			return err
		}
		if len(resp.Kvs) == 0 {
			s.leases.forget(c)
			return refuse(op, api.CodeConflict, "the lease of cluster %s has run out: take it again", c)
		}
		r, err := decode(s.keys.alive(c), resp.Kvs[0].Value, new(recordv1.LeaseHolder))
		if err != nil {
			return failure(op, err)
		}
		if r.GetBoot() != boot {
			s.leases.forget(c)
			return refuse(op, api.CodeConflict, "another boot of the spoke of cluster %s holds the lease", c)
		}
		if held := clientv3.LeaseID(resp.Kvs[0].Lease); held != id {
			id = held
			s.leases.set(c, id)
			continue
		}
		return nil
	}
	return refuse(op, api.CodeUnavailable, "the lease of cluster %s changes hands: repeat", c)
}

func (s *Store) keepAlive(ctx context.Context, id clientv3.LeaseID) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	_, err := s.client.KeepAliveOnce(ctx, id)
	return err
}

// Holders implements [hub.Leases].
func (s *Store) Holders(ctx context.Context) (map[api.ClusterID]hub.LeaseHolder, error) {
	out := make(map[api.ClusterID]hub.LeaseHolder)
	err := s.scan(ctx, "list lease holders", s.keys.lives(), func(key string, value []byte, _ int64) error {
		r, err := decode(key, value, new(recordv1.LeaseHolder))
		if err != nil {
			return err
		}
		id, err := last(key, 1)
		if err != nil {
			return err
		}
		out[api.ClusterID(id[0])] = holderFrom(r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// life reads what decides about a lease at one revision of etcd.
func (s *Store) life(ctx context.Context, op string, c api.ClusterID) (life, error) {
	resp, err := s.txn(ctx, op, nil, []clientv3.Op{clientv3.OpGet(s.keys.cluster(c)), clientv3.OpGet(s.keys.alive(c)),
		clientv3.OpGet(s.keys.fingerprint(c))}, nil)
	if err != nil {
		return life{}, err
	}
	var l life
	if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
		r, err := decode(s.keys.cluster(c), kvs[0].Value, new(recordv1.Cluster))
		if err != nil {
			return life{}, failure(op, err)
		}
		l.cluster, l.identity = kvs[0].ModRevision, r.GetIdentity()
	}
	if kvs := resp.Responses[1].GetResponseRange().Kvs; len(kvs) > 0 {
		r, err := decode(s.keys.alive(c), kvs[0].Value, new(recordv1.LeaseHolder))
		if err != nil {
			return life{}, failure(op, err)
		}
		l.holder, l.lease, l.revision = holderFrom(r), clientv3.LeaseID(kvs[0].Lease), kvs[0].ModRevision
	}
	if kvs := resp.Responses[2].GetResponseRange().Kvs; len(kvs) > 0 {
		r, err := decode(s.keys.fingerprint(c), kvs[0].Value, new(recordv1.Fingerprint))
		if err != nil {
			return life{}, failure(op, err)
		}
		l.fingerprint, l.printed = r.GetValue(), kvs[0].ModRevision
	}
	return l, nil
}

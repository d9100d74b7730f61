package store

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/store/recordv1"
)

// Placements implements [hub.Departures]. The mark is the revision at which placed/<cluster> was last put.
func (s *Store) Placements(ctx context.Context, id api.ClusterID) (int64, error) {
	resp, err := s.get(ctx, "read placements", s.keys.placed(id))
	if err != nil || len(resp.Kvs) == 0 {
		return 0, err
	}
	return resp.Kvs[0].ModRevision, nil
}

// DeleteCluster implements [hub.Departures]. Without alive/<cluster> nothing can be assigned to it afterwards.
func (s *Store) DeleteCluster(ctx context.Context, id api.ClusterID, tag string, mark int64) error {
	const op = "delete cluster"
	key := s.keys.cluster(id)
	r, revision, err := s.clusterRecord(ctx, op, id)
	if err != nil {
		return err
	}
	if etag(revision) != tag {
		return refuse(op, api.CodeConflict, "the cluster was changed by somebody else: read it again")
	}
	var ops changes
	ops.delete(key)
	ops.delete(s.keys.clusterName(api.OrgID(r.GetOrg()), r.GetName()))
	ops.delete(s.keys.alive(id))
	ops.delete(s.keys.fingerprint(id))
	ops.delete(s.keys.placed(id))
	for _, h := range r.GetTokens() {
		ops.delete(s.keys.joinToken(h))
	}
	resp, err := s.txn(ctx, op, []clientv3.Cmp{unchanged(key, revision), unchanged(s.keys.placed(id), mark)}, ops.ops, nil)
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return refuse(op, api.CodeConflict, "the cluster was changed by somebody else, or was given a session: read it again")
	}
	s.leases.forget(id) // etcd's lease has no key any more and runs out by itself
	return nil
}

// RejoinCluster implements [hub.Departures].
func (s *Store) RejoinCluster(ctx context.Context, c api.Cluster, t api.JoinToken) (api.Cluster, error) {
	const op = "rejoin cluster"
	if t.Cluster != c.ID || t.Org != c.Org {
		return api.Cluster{}, refuse(op, api.CodeInternal, "cluster and token do not name the same cluster")
	}
	key, token := s.keys.cluster(c.ID), s.keys.joinToken(t.Hash[:])
	r, revision, err := s.clusterRecord(ctx, op, c.ID)
	if err != nil {
		return api.Cluster{}, err
	}
	if etag(revision) != c.Etag || r.GetName() != c.Name || r.GetOrg() != string(c.Org) {
		return api.Cluster{}, refuse(op, api.CodeConflict, "the cluster was changed by somebody else: read it again")
	}
	var ops changes
	for _, h := range r.GetTokens() {
		ops.delete(s.keys.joinToken(h))
	}
	ops.delete(s.keys.fingerprint(c.ID))
	setCluster(r, c)
	r.Tokens = [][]byte{t.Hash[:]}
	if err := ops.put(key, r); err != nil {
		return api.Cluster{}, failure(op, err)
	}
	if err := ops.put(token, tokenRecord(t)); err != nil {
		return api.Cluster{}, failure(op, err)
	}
	resp, err := s.txn(ctx, op, []clientv3.Cmp{unchanged(key, revision), absent(token)}, ops.ops, nil)
	if err != nil {
		return api.Cluster{}, err
	}
	if !resp.Succeeded {
		return api.Cluster{}, refuse(op, api.CodeConflict, "the cluster was changed by somebody else: read it again")
	}
	return clusterFrom(proto.Clone(r).(*recordv1.Cluster), resp.Header.Revision), nil
}

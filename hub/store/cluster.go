package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/store/recordv1"
)

func etag(revision int64) string { return strconv.FormatInt(revision, 10) }

// CreateCluster implements [hub.Clusters].
func (s *Store) CreateCluster(ctx context.Context, c api.Cluster, t api.JoinToken) (api.Cluster, error) {
	const op = "create cluster"
	if c.ID == "" || t.Cluster != c.ID || t.Org != c.Org {
		return api.Cluster{}, refuse(op, api.CodeInternal, "cluster and token do not name the same cluster")
	}
	key, name, token := s.keys.cluster(c.ID), s.keys.clusterName(c.Org, c.Name), s.keys.joinToken(t.Hash[:])
	r := &recordv1.Cluster{Tokens: [][]byte{t.Hash[:]}}
	setCluster(r, c)
	var ops changes
	for k, m := range map[string]proto.Message{key: r, name: &recordv1.ClusterName{Id: string(c.ID)}, token: tokenRecord(t)} {
		if err := ops.put(k, m); err != nil {
			return api.Cluster{}, failure(op, err)
		}
	}
	resp, err := s.txn(ctx, op, []clientv3.Cmp{absent(key), absent(name), absent(token)}, ops.ops, nil)
	if err != nil {
		return api.Cluster{}, err
	}
	if !resp.Succeeded {
		return api.Cluster{}, &api.Error{Code: api.CodeExists, Op: op, Field: "name", Err: fmt.Errorf("%q is taken: choose another name", c.Name)}
	}
	return clusterFrom(proto.Clone(r).(*recordv1.Cluster), resp.Header.Revision), nil
}

// UpdateCluster implements [hub.Clusters]. The name may change. A new identity forgets the recorded fingerprint: whoever
// enrolls anew may stand somewhere else.
func (s *Store) UpdateCluster(ctx context.Context, c api.Cluster) (api.Cluster, error) {
	const op = "update cluster"
	key := s.keys.cluster(c.ID)
	r, revision, err := s.clusterRecord(ctx, op, c.ID)
	if err != nil {
		return api.Cluster{}, err
	}
	if etag(revision) != c.Etag {
		return api.Cluster{}, refuse(op, api.CodeConflict, "the cluster was changed by somebody else: read it again")
	}
	if string(c.Org) != r.GetOrg() {
		return api.Cluster{}, &api.Error{Code: api.CodeInvalid, Op: op, Field: "organization", Err: fmt.Errorf("cannot be changed")}
	}
	var (
		ops  changes
		cmps = []clientv3.Cmp{unchanged(key, revision)}
	)
	if r.GetName() != c.Name {
		name := s.keys.clusterName(c.Org, c.Name)
		taken, err := s.get(ctx, op, name, clientv3.WithKeysOnly())
		if err != nil {
			return api.Cluster{}, err
		}
		if len(taken.Kvs) > 0 {
			return api.Cluster{}, &api.Error{Code: api.CodeExists, Op: op, Field: "name", Err: fmt.Errorf("%q is taken: choose another name", c.Name)}
		}
		cmps = append(cmps, absent(name))
		ops.delete(s.keys.clusterName(c.Org, r.GetName()))
		if err := ops.put(name, &recordv1.ClusterName{Id: string(c.ID)}); err != nil {
			return api.Cluster{}, failure(op, err)
		}
	}
	if r.GetIdentity() != c.Identity {
		ops.delete(s.keys.fingerprint(c.ID))
	}
	setCluster(r, c)
	if err := ops.put(key, r); err != nil {
		return api.Cluster{}, failure(op, err)
	}
	resp, err := s.txn(ctx, op, cmps, ops.ops, nil)
	if err != nil {
		return api.Cluster{}, err
	}
	if !resp.Succeeded {
		return api.Cluster{}, refuse(op, api.CodeConflict, "the cluster was changed by somebody else: read it again")
	}
	return clusterFrom(proto.Clone(r).(*recordv1.Cluster), resp.Header.Revision), nil
}

// Clusters implements [hub.Clusters].
func (s *Store) Clusters(ctx context.Context) ([]api.Cluster, error) {
	var out []api.Cluster
	err := s.scan(ctx, "list clusters", s.keys.clusters(), func(key string, value []byte, revision int64) error {
		r, err := decode(key, value, new(recordv1.Cluster))
		if err != nil {
			return err
		}
		out = append(out, clusterFrom(r, revision))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// BindToken implements [hub.Clusters].
func (s *Store) BindToken(ctx context.Context, hash [32]byte, pub []byte, now time.Time) (api.JoinToken, error) {
	const op = "bind join token"
	if len(pub) == 0 {
		return api.JoinToken{}, refuse(op, api.CodeDenied, "no key was presented")
	}
	key := s.keys.joinToken(hash[:])
	for range maxAttempts {
		resp, err := s.get(ctx, op, key)
		if err != nil {
			return api.JoinToken{}, err
		}
		if len(resp.Kvs) == 0 {
			return api.JoinToken{}, refuse(op, api.CodeDenied, "the join token is not known: ask an administrator for a new one")
		}
		r, err := decode(key, resp.Kvs[0].Value, new(recordv1.JoinToken))
		if err != nil {
			return api.JoinToken{}, failure(op, err)
		}
		if !now.Before(timeFrom(r.GetExpiresAt())) {
			return api.JoinToken{}, refuse(op, api.CodeDenied, "the join token has expired: ask an administrator for a new one")
		}
		if len(r.GetKey()) > 0 {
			if !bytes.Equal(r.GetKey(), pub) {
				return api.JoinToken{}, &api.Error{Code: api.CodeDenied, Op: op, Field: "key", Err: errors.New("the join token was used with another key")}
			}
			return tokenFrom(r), nil
		}
		r.Key = bytes.Clone(pub)
		var ops changes
		if err := ops.put(key, r); err != nil {
			return api.JoinToken{}, failure(op, err)
		}
		done, err := s.txn(ctx, op, []clientv3.Cmp{unchanged(key, resp.Kvs[0].ModRevision)}, ops.ops, nil)
		if err != nil {
			return api.JoinToken{}, err
		}
		if done.Succeeded {
			return tokenFrom(r), nil
		}
	}
	return api.JoinToken{}, refuse(op, api.CodeUnavailable, "the join token changed %d times meanwhile: repeat", maxAttempts)
}

// clusterRecord reads a cluster as it is stored, with the fields that this version does not know.
func (s *Store) clusterRecord(ctx context.Context, op string, id api.ClusterID) (*recordv1.Cluster, int64, error) {
	key := s.keys.cluster(id)
	resp, err := s.get(ctx, op, key)
	if err != nil {
		return nil, 0, err
	}
	if len(resp.Kvs) == 0 {
		return nil, 0, refuse(op, api.CodeNotFound, "there is no cluster %s", id)
	}
	r, err := decode(key, resp.Kvs[0].Value, new(recordv1.Cluster))
	if err != nil {
		return nil, 0, failure(op, err)
	}
	return r, resp.Kvs[0].ModRevision, nil
}

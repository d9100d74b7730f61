package store

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/store/recordv1"
)

// Definition implements [hub.Definitions]. In place of the name it takes the id of a definition; with it the revisions of
// a deleted one can be read.
func (s *Store) Definition(ctx context.Context, org api.OrgID, kind api.Kind, name string, revision uint64) (api.Definition, error) {
	const op = "read definition"
	if revision != 0 {
		id, err := s.definitionID(ctx, op, org, kind, name)
		if err != nil {
			return api.Definition{}, err
		}
		key := s.keys.revision(org, kind, id, revision)
		resp, err := s.get(ctx, op, key)
		if err != nil {
			return api.Definition{}, err
		}
		return s.oneDefinition(op, key, resp, kind, name)
	}
	key := s.keys.definition(org, kind, name)
	resp, err := s.get(ctx, op, key)
	if err != nil {
		return api.Definition{}, err
	}
	if len(resp.Kvs) > 0 || !isID(name) {
		return s.oneDefinition(op, key, resp, kind, name)
	}
	newest, err := s.revisions(ctx, op, org, kind, api.ObjectID(name), 0, 1)
	if err != nil {
		return api.Definition{}, err
	}
	if len(newest) == 0 {
		return api.Definition{}, missing(op, kind, name)
	}
	key = s.keys.definition(org, kind, newest[0].Name)
	if resp, err = s.get(ctx, op, key); err != nil {
		return api.Definition{}, err
	}
	d, err := s.oneDefinition(op, key, resp, kind, name)
	if err == nil && d.ID != api.ObjectID(name) {
		return api.Definition{}, missing(op, kind, name) // deleted; the name has a new owner
	}
	return d, err
}

// List implements [hub.Definitions].
func (s *Store) List(ctx context.Context, org api.OrgID, kind api.Kind, after string, limit int) ([]api.Definition, error) {
	const op = "list definitions"
	if limit <= 0 {
		return nil, nil
	}
	prefix := s.keys.definitions(org, kind)
	from := prefix
	if after != "" {
		from = s.keys.definition(org, kind, after) + "\x00"
	}
	resp, err := s.get(ctx, op, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)), clientv3.WithLimit(int64(limit)))
	if err != nil {
		return nil, err
	}
	return s.definitionsFrom(op, resp)
}

// Revisions implements [hub.Definitions]. In place of the name it takes an id, as Definition does.
func (s *Store) Revisions(ctx context.Context, org api.OrgID, kind api.Kind, name string, below uint64, limit int) ([]api.Definition, error) {
	const op = "list revisions"
	id, err := s.definitionID(ctx, op, org, kind, name)
	if err != nil {
		return nil, err
	}
	out, err := s.revisions(ctx, op, org, kind, id, below, limit)
	if err == nil && len(out) == 0 && below == 0 && limit > 0 {
		return nil, missing(op, kind, name)
	}
	return out, err
}

func (s *Store) revisions(ctx context.Context, op string, org api.OrgID, kind api.Kind, id api.ObjectID, below uint64, limit int) ([]api.Definition, error) {
	if limit <= 0 {
		return nil, nil
	}
	prefix := s.keys.revisions(org, kind, id)
	end := clientv3.GetPrefixRangeEnd(prefix)
	if below != 0 {
		end = s.keys.revision(org, kind, id, below)
	}
	resp, err := s.get(ctx, op, prefix, clientv3.WithRange(end), clientv3.WithLimit(int64(limit)),
		clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
	if err != nil {
		return nil, err
	}
	return s.definitionsFrom(op, resp)
}

// definitionID finds the id behind a name. What has the form of an id and is no name is an id.
func (s *Store) definitionID(ctx context.Context, op string, org api.OrgID, kind api.Kind, name string) (api.ObjectID, error) {
	key := s.keys.definition(org, kind, name)
	resp, err := s.get(ctx, op, key)
	if err != nil {
		return "", err
	}
	if len(resp.Kvs) == 0 {
		if isID(name) {
			return api.ObjectID(name), nil
		}
		return "", missing(op, kind, name)
	}
	r, err := decode(key, resp.Kvs[0].Value, new(recordv1.Definition))
	if err != nil {
		return "", failure(op, err)
	}
	return api.ObjectID(r.GetId()), nil
}

func (s *Store) oneDefinition(op, key string, resp *clientv3.GetResponse, kind api.Kind, name string) (api.Definition, error) {
	if len(resp.Kvs) == 0 {
		return api.Definition{}, missing(op, kind, name)
	}
	r, err := decode(key, resp.Kvs[0].Value, new(recordv1.Definition))
	if err != nil {
		return api.Definition{}, failure(op, err)
	}
	d, err := s.definitionFrom(key, r, resp.Kvs[0].ModRevision)
	if err != nil {
		return api.Definition{}, failure(op, err)
	}
	return d, nil
}

func (s *Store) definitionsFrom(op string, resp *clientv3.GetResponse) ([]api.Definition, error) {
	out := make([]api.Definition, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		r, err := decode(string(kv.Key), kv.Value, new(recordv1.Definition))
		if err != nil {
			return nil, failure(op, err)
		}
		d, err := s.definitionFrom(string(kv.Key), r, kv.ModRevision)
		if err != nil {
			return nil, failure(op, err)
		}
		out = append(out, d)
	}
	return out, nil
}

func isID(name string) bool {
	_, err := api.ParseULID(name)
	return err == nil
}

func missing(op string, kind api.Kind, name string) error {
	return refuse(op, api.CodeNotFound, "there is no %s %q", kind, name)
}

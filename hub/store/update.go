package store

import (
	"context"
	"errors"
	"hash/maphash"
	"reflect"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/store/recordv1"
)

// Update implements [hub.Definitions].
func (s *Store) Update(ctx context.Context, org api.OrgID, decide func(hub.DefinitionView) ([]hub.DefinitionWrite, error)) ([]api.Definition, error) {
	const op = "update definitions"
	slot := s.updates[maphash.String(s.seed, string(org))%uint64(len(s.updates))]
	bounded, cancel := s.bound(ctx)
	defer cancel()
	select {
	case slot <- struct{}{}:
		defer func() { <-slot }()
	case <-bounded.Done():
		return nil, failure(op, bounded.Err())
	}
	for range maxAttempts {
		v, err := s.view(ctx, op, org)
		if err != nil {
			return nil, err
		}
		writes, err := decide(v)
		if v.compacted {
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(writes) == 0 {
			return nil, nil
		}
		u := update{v: v, heads: map[api.Ref]*recordv1.Definition{}}
		stored, err := u.write(writes)
		if v.compacted {
			continue
		}
		if err != nil {
			return nil, failure(op, err)
		}
		version := s.keys.definitionsVersion(org)
		u.ops.add(version, clientv3.OpPut(version, ""))
		resp, err := s.txn(ctx, op, []clientv3.Cmp{unchanged(version, v.version)}, u.ops.ops, nil)
		if err != nil {
			return nil, err
		}
		if resp.Succeeded {
			return s.stored(op, stored, resp.Header.Revision)
		}
	}
	return nil, refuse(op, api.CodeUnavailable, "others were faster %d times: repeat", maxAttempts)
}

func (s *Store) stored(op string, records []*recordv1.Definition, revision int64) ([]api.Definition, error) {
	out := make([]api.Definition, 0, len(records))
	for _, r := range records {
		d, err := s.definitionFrom(r.GetName(), proto.Clone(r).(*recordv1.Definition), revision)
		if err != nil {
			return nil, failure(op, err)
		}
		out = append(out, d)
	}
	return out, nil
}

// view implements [hub.DefinitionView] at one revision of etcd. It lives as long as one call of decide.
type view struct {
	s         *Store
	ctx       context.Context
	op        string
	org       api.OrgID
	at        int64 // revision of etcd
	version   int64 // of defsversion/<org>
	compacted bool  // at is gone: the view must be made anew
}

func (s *Store) view(ctx context.Context, op string, org api.OrgID) (*view, error) {
	resp, err := s.get(ctx, op, s.keys.definitionsVersion(org))
	if err != nil {
		return nil, err
	}
	v := &view{s: s, ctx: ctx, op: op, org: org, at: resp.Header.Revision}
	if len(resp.Kvs) > 0 {
		v.version = resp.Kvs[0].ModRevision
	}
	return v, nil
}

func (v *view) get(key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	resp, err := v.s.get(v.ctx, v.op, key, append(opts, clientv3.WithRev(v.at))...)
	if errors.Is(err, rpctypes.ErrCompacted) {
		v.compacted = true
	}
	return resp, err
}

// Definition implements [hub.DefinitionView].
func (v *view) Definition(kind api.Kind, name string) (api.Definition, error) {
	key := v.s.keys.definition(v.org, kind, name)
	resp, err := v.get(key)
	if err != nil {
		return api.Definition{}, err
	}
	return v.s.oneDefinition(v.op, key, resp, kind, name)
}

// Users implements [hub.DefinitionView]. Field is where the first reference of each user stands.
func (v *view) Users(kind api.Kind, name string) ([]api.Ref, error) {
	resp, err := v.get(v.s.keys.users(v.org, kind, name), clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	out := make([]api.Ref, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		parts, err := last(string(kv.Key), 2)
		if err != nil {
			return nil, failure(v.op, err)
		}
		r, err := decode(string(kv.Key), kv.Value, new(recordv1.Use))
		if err != nil {
			return nil, failure(v.op, err)
		}
		out = append(out, api.Ref{Kind: api.Kind(parts[0]), Name: parts[1], Field: r.GetField()})
	}
	return out, nil
}

// update turns the writes of one decision into operations.
type update struct {
	v     *view
	ops   changes
	heads map[api.Ref]*recordv1.Definition // what an earlier write of this update left; nil: deleted
}

func (u *update) write(writes []hub.DefinitionWrite) ([]*recordv1.Definition, error) {
	var stored []*recordv1.Definition
	for _, w := range writes {
		switch {
		case w.Put != nil && w.Put.Spec != nil:
			r, err := u.put(w.Put)
			if err != nil {
				return nil, err
			}
			stored = append(stored, r)
		case w.Delete != nil:
			if err := u.delete(w.Delete.Kind, w.Delete.Name); err != nil {
				return nil, err
			}
		default:
			return nil, refuse(u.v.op, api.CodeInternal, "a write is empty")
		}
	}
	return stored, nil
}

func (u *update) put(d *api.Definition) (*recordv1.Definition, error) {
	v, kind := u.v, d.Spec.Kind()
	if d.Org != v.org || d.ID == "" || d.Name == "" || d.Revision == 0 {
		return nil, refuse(v.op, api.CodeInternal, "%s %q of organization %q is not complete", kind, d.Name, d.Org)
	}
	old, err := u.head(kind, d.Name)
	if err != nil {
		return nil, err
	}
	r := new(recordv1.Definition)
	if old != nil {
		if old.GetId() != string(d.ID) {
			return nil, refuse(v.op, api.CodeInternal, "%s %q has id %s, not %s: delete it first", kind, d.Name, old.GetId(), d.ID)
		}
		if d.Revision < old.GetRevision() {
			return nil, refuse(v.op, api.CodeInternal, "%s %q has revision %d already", kind, d.Name, old.GetRevision())
		}
		r = proto.Clone(old).(*recordv1.Definition)
		if err := u.unuse(old); err != nil {
			return nil, err
		}
	}
	spec, err := v.s.codec.EncodeSpec(d.Spec)
	if err != nil {
		return nil, refuse(v.op, api.CodeInternal, "encode %s %q: %w", kind, d.Name, err)
	}
	setDefinition(r, d.Meta, kind, spec)
	if err := u.putRevision(r, old); err != nil {
		return nil, err
	}
	if err := u.ops.put(v.s.keys.definition(v.org, kind, d.Name), r); err != nil {
		return nil, err
	}
	for _, ref := range firstRefs(d.Spec.Refs()) {
		if err := u.ops.put(v.s.keys.use(v.org, ref, kind, d.Name), &recordv1.Use{Field: ref.Field}); err != nil {
			return nil, err
		}
	}
	u.heads[api.Ref{Kind: kind, Name: d.Name}] = r
	return r, nil
}

// putRevision writes a new revision, or checks that the one that is there stays what it is.
func (u *update) putRevision(r, old *recordv1.Definition) error {
	v := u.v
	key := v.s.keys.revision(v.org, api.Kind(r.GetKind()), api.ObjectID(r.GetId()), r.GetRevision())
	if old == nil || old.GetRevision() != r.GetRevision() {
		resp, err := v.get(key)
		if err != nil {
			return err
		}
		if len(resp.Kvs) == 0 {
			return u.ops.put(key, r)
		}
		if old, err = decode(key, resp.Kvs[0].Value, new(recordv1.Definition)); err != nil {
			return err
		}
	}
	is, err := v.s.definitionFrom(key, old, 0)
	if err != nil {
		return err
	}
	want, err := v.s.definitionFrom(key, r, 0)
	if err != nil {
		return err
	}
	sameLabels := len(is.Labels) == 0 && len(want.Labels) == 0 || reflect.DeepEqual(is.Labels, want.Labels)
	if !sameLabels || !reflect.DeepEqual(is.Spec, want.Spec) {
		return refuse(v.op, api.CodeInternal, "revision %d of %s %q is there with another content", r.GetRevision(), r.GetKind(), r.GetName())
	}
	return nil
}

func (u *update) delete(kind api.Kind, name string) error {
	old, err := u.head(kind, name)
	if err != nil {
		return err
	}
	if old == nil {
		return missing(u.v.op, kind, name)
	}
	if err := u.unuse(old); err != nil {
		return err
	}
	u.ops.delete(u.v.s.keys.definition(u.v.org, kind, name))
	u.heads[api.Ref{Kind: kind, Name: name}] = nil
	return nil
}

// unuse removes a definition from the index of what it refers to.
func (u *update) unuse(r *recordv1.Definition) error {
	d, err := u.v.s.definitionFrom(r.GetName(), r, 0)
	if err != nil {
		return err
	}
	for _, ref := range d.Spec.Refs() {
		u.ops.delete(u.v.s.keys.use(u.v.org, ref, d.Spec.Kind(), d.Name))
	}
	return nil
}

// head returns the present record with all its fields, or nil.
func (u *update) head(kind api.Kind, name string) (*recordv1.Definition, error) {
	if r, ok := u.heads[api.Ref{Kind: kind, Name: name}]; ok {
		return r, nil
	}
	key := u.v.s.keys.definition(u.v.org, kind, name)
	resp, err := u.v.get(key)
	if err != nil || len(resp.Kvs) == 0 {
		return nil, err
	}
	return decode(key, resp.Kvs[0].Value, new(recordv1.Definition))
}

// firstRefs keeps the first of the references to each definition.
func firstRefs(refs []api.Ref) []api.Ref {
	seen := make(map[api.Ref]bool, len(refs))
	var out []api.Ref
	for _, r := range refs {
		if k := (api.Ref{Kind: r.Kind, Name: r.Name}); !seen[k] {
			seen[k] = true
			out = append(out, r)
		}
	}
	return out
}

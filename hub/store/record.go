package store

import (
	"math"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/store/recordv1"
)

// encode returns the record's bytes. Equal records give equal bytes, which the comparison of heads relies on.
func encode(key string, m proto.Message) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, &recordError{key, err}
	}
	return b, nil
}

func decode[M proto.Message](key string, value []byte, into M) (M, error) {
	if err := proto.Unmarshal(value, into); err != nil {
		return into, &recordError{key, err}
	}
	return into, nil
}

func timeRecord(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func timeFrom(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// millis counts a part of a millisecond as a whole one: of what people wait for, later is always safe.
func millis(d time.Duration) int64 {
	n := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		n++
	}
	return n
}

// ofMillis is the inverse: never negative, and at most 292 years, where a duration ends.
func ofMillis(ms int64) time.Duration {
	return time.Duration(min(max(ms, 0), math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}

func headRecord(h api.Head) *recordv1.Head {
	return &recordv1.Head{Incarnation: h.Generation.Incarnation, Generation: h.Generation.N, Batch: h.Batch}
}

func headFrom(r *recordv1.Head) api.Head {
	return api.Head{Generation: api.Generation{Incarnation: r.GetIncarnation(), N: r.GetGeneration()}, Batch: r.GetBatch()}
}

// setDefinition fills the known fields of a record; unknown ones stay.
func setDefinition(r *recordv1.Definition, m api.Meta, kind api.Kind, spec []byte) {
	r.Org, r.Kind, r.Id, r.Name = string(m.Org), string(kind), string(m.ID), m.Name
	r.Labels, r.Revision = m.Labels, m.Revision
	r.CreatedAt, r.UpdatedAt = timeRecord(m.CreatedAt), timeRecord(m.UpdatedAt)
	r.UpdatedBy, r.Spec = m.UpdatedBy, spec
}

func (s *Store) definitionFrom(key string, r *recordv1.Definition, revision int64) (api.Definition, error) {
	spec, err := s.codec.DecodeSpec(api.Kind(r.GetKind()), r.GetSpec())
	if err != nil {
		return api.Definition{}, &recordError{key, err}
	}
	return api.Definition{
		Meta: api.Meta{
			Org: api.OrgID(r.GetOrg()), ID: api.ObjectID(r.GetId()), Name: r.GetName(), Labels: r.GetLabels(), Revision: r.GetRevision(),
			Etag: etag(revision), CreatedAt: timeFrom(r.GetCreatedAt()), UpdatedAt: timeFrom(r.GetUpdatedAt()),
			UpdatedBy: r.GetUpdatedBy(),
		},
		Spec: spec,
	}, nil
}

// setCluster fills the known fields of a record; tokens and unknown fields stay.
func setCluster(r *recordv1.Cluster, c api.Cluster) {
	r.Id, r.Org, r.Name, r.Labels, r.Cordoned = string(c.ID), string(c.Org), c.Name, c.Labels, c.Cordoned
	r.Taints = nil
	for _, t := range c.Taints {
		r.Taints = append(r.Taints, &recordv1.Taint{Key: t.Key, Value: t.Value, Effect: string(t.Effect)})
	}
	r.CreatedAt, r.UpdatedAt, r.Identity = timeRecord(c.CreatedAt), timeRecord(c.UpdatedAt), c.Identity
	r.FenceMs = millis(c.Fence)
}

func clusterFrom(r *recordv1.Cluster, revision int64) api.Cluster {
	c := api.Cluster{
		ID: api.ClusterID(r.GetId()), Org: api.OrgID(r.GetOrg()), Name: r.GetName(), Labels: r.GetLabels(), Cordoned: r.GetCordoned(),
		Etag: etag(revision), CreatedAt: timeFrom(r.GetCreatedAt()), UpdatedAt: timeFrom(r.GetUpdatedAt()), Identity: r.GetIdentity(),
		Fence: ofMillis(r.GetFenceMs()),
	}
	for _, t := range r.GetTaints() {
		c.Taints = append(c.Taints, api.Taint{Key: t.GetKey(), Value: t.GetValue(), Effect: api.Effect(t.GetEffect())})
	}
	return c
}

func tokenRecord(t api.JoinToken) *recordv1.JoinToken {
	return &recordv1.JoinToken{Hash: t.Hash[:], Cluster: string(t.Cluster), Org: string(t.Org), ExpiresAt: timeRecord(t.ExpiresAt), Key: t.Key}
}

func tokenFrom(r *recordv1.JoinToken) api.JoinToken {
	t := api.JoinToken{Cluster: api.ClusterID(r.GetCluster()), Org: api.OrgID(r.GetOrg()), ExpiresAt: timeFrom(r.GetExpiresAt()), Key: r.GetKey()}
	copy(t.Hash[:], r.GetHash())
	return t
}

func holderFrom(r *recordv1.LeaseHolder) hub.LeaseHolder {
	return hub.LeaseHolder{Boot: r.GetBoot(), Journal: r.GetJournal(), Fingerprint: r.GetFingerprint()}
}

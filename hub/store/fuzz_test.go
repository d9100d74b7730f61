package store

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/store/recordv1"
)

// passes: what a record says is written to a record that says the same, which is what the comparison of heads and the
// change of one field rely on.
func passes[R proto.Message, N any](t *testing.T, b []byte, empty, again R, from func(R) (N, error), to func(N) (R, error)) {
	t.Helper()
	r, err := decode("key", b, empty)
	if err != nil {
		var e *recordError
		if !errors.As(err, &e) {
			t.Errorf("an error that names no record: %v", err)
		}
		return
	}
	first, err := from(r)
	if err != nil {
		return
	}
	written, err := to(first)
	if err != nil {
		t.Fatalf("what was read cannot be written: %v", err)
	}
	text, err := encode("key", written)
	if err != nil {
		t.Fatalf("what was read cannot be written: %v", err)
	}
	if r, err = decode("key", text, again); err != nil {
		t.Fatalf("what was written cannot be read: %v", err)
	}
	second, err := from(r)
	if err != nil {
		t.Fatalf("what was written cannot be read: %v", err)
	}
	if d := cmp.Diff(first, second, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%T (-first +second):\n%s", first, d)
	}
}

// sure makes a conversion that cannot fail one that could.
func sure[A, B any](f func(A) B) func(A) (B, error) {
	return func(a A) (B, error) { return f(a), nil }
}

// FuzzRecords: bytes of a shard in etcd are an error that names the key, or a noun that is written to the same again.
func FuzzRecords(f *testing.F) {
	epoch := api.Epoch{Incarnation: 1, N: 2}
	seed := func(m proto.Message, err error) {
		b, fails := encode("key", m)
		if errors.Join(err, fails) != nil {
			f.Fatal(err, fails)
		}
		f.Add(b)
	}
	seed(sessionRecord(&api.Session{ID: "s", Org: "o", Labels: map[string]string{"a": "b"}, CreatedAt: time.Unix(9, 9), Epoch: epoch, Checkpoints: []api.CheckpointID{"c"}, SavedIn: epoch,
		Assignment: &api.Assignment{Cluster: "c", Epoch: epoch, StopAfter: api.StopNever}}), nil)
	seed(signalRecord("o", &api.Signal{ID: "g", Payload: []byte("p"), AcceptedAt: time.Unix(9, 9), Origin: []api.Origin{{Session: "o"}}}), nil)
	seed(outboxRecord("key", "o", &hub.OutboxItem{Event: api.Event{Type: "log", Signals: []uint64{1}, Attributes: map[string]string{"a": "b"}}, Decision: &api.Decision{Summary: "x", Candidates: []api.Candidate{{Name: "c"}}}}))
	seed(approvalRecord("o", &api.Approval{ID: "a", Options: []api.ApprovalOption{{ID: "y"}}}), nil)
	seed(headRecord(api.Head{Generation: api.Generation{Incarnation: 1, N: 2}, Batch: 3}), nil)
	seed(&recordv1.Session{Assignment: &recordv1.Assignment{StopAfterMs: 1<<63 - 1}}, nil)
	seed(&recordv1.Session{Assignment: &recordv1.Assignment{StopAfterMs: -1 << 63}}, nil)
	seed(&recordv1.OutboxItem{Decision: []byte("null")}, nil)
	seed(&recordv1.Signal{PayloadHash: make([]byte, 40)}, nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		passes(t, b, new(recordv1.Session), new(recordv1.Session), sure(sessionFrom), sure(func(s api.Session) *recordv1.Session { return sessionRecord(&s) }))
		passes(t, b, new(recordv1.Signal), new(recordv1.Signal), sure(signalFrom), sure(func(s api.Signal) *recordv1.Signal { return signalRecord("o", &s) }))
		passes(t, b, new(recordv1.OutboxItem), new(recordv1.OutboxItem), func(r *recordv1.OutboxItem) (hub.OutboxItem, error) { return outboxFrom("key", r) },
			func(o hub.OutboxItem) (*recordv1.OutboxItem, error) { return outboxRecord("key", "o", &o) })
		passes(t, b, new(recordv1.Approval), new(recordv1.Approval), sure(approvalFrom), sure(func(a api.Approval) *recordv1.Approval { return approvalRecord(a.Org, &a) }))
		passes(t, b, new(recordv1.Head), new(recordv1.Head), sure(headFrom), sure(headRecord))
	})
}

// FuzzCatalogRecords: the same for definitions, clusters and what lets them in. A fence is never in the past.
func FuzzCatalogRecords(f *testing.F) {
	s := &Store{codec: navev1.Codec{}}
	spec, err := navev1.EncodeSpec(&api.AgentSpec{Environment: "e", StopAfter: time.Minute})
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range []proto.Message{
		&recordv1.Definition{Org: "o", Kind: "Agent", Id: "i", Name: "n", Labels: map[string]string{"a": "b"}, Revision: 3, Spec: spec},
		&recordv1.Definition{Kind: "Cat", Spec: spec}, &recordv1.Definition{Kind: "Environment", Spec: []byte{0xff}},
		&recordv1.Cluster{Id: "c", Taints: []*recordv1.Taint{{Key: "k", Effect: "NoSchedule"}}, FenceMs: 60_000}, &recordv1.Cluster{FenceMs: 1<<63 - 1}, &recordv1.Cluster{FenceMs: -1},
		tokenRecord(api.JoinToken{Cluster: "c", Org: "o", ExpiresAt: time.Unix(9, 9), Key: []byte("k")}),
		&recordv1.LeaseHolder{Boot: "b", Journal: "j", Fingerprint: "f"},
	} {
		b, err := encode("key", m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		passes(t, b, new(recordv1.Definition), new(recordv1.Definition), func(r *recordv1.Definition) (api.Definition, error) { return s.definitionFrom("key", r, 7) },
			func(d api.Definition) (*recordv1.Definition, error) {
				spec, err := navev1.EncodeSpec(d.Spec)
				r := new(recordv1.Definition)
				setDefinition(r, d.Meta, d.Spec.Kind(), spec)
				return r, err
			})
		passes(t, b, new(recordv1.Cluster), new(recordv1.Cluster), func(r *recordv1.Cluster) (api.Cluster, error) {
			c := clusterFrom(r, 7)
			if c.Fence < 0 || (c.Fence > 0) != (r.GetFenceMs() > 0) {
				t.Errorf("a fence of %d ms is %v", r.GetFenceMs(), c.Fence)
			}
			return c, nil
		}, sure(func(c api.Cluster) *recordv1.Cluster {
			r := new(recordv1.Cluster)
			setCluster(r, c)
			return r
		}))
		passes(t, b, new(recordv1.JoinToken), new(recordv1.JoinToken), sure(tokenFrom), sure(tokenRecord))
		passes(t, b, new(recordv1.LeaseHolder), new(recordv1.LeaseHolder), sure(holderFrom), sure(func(h hub.LeaseHolder) *recordv1.LeaseHolder {
			return &recordv1.LeaseHolder{Boot: h.Boot, Journal: h.Journal, Fingerprint: h.Fingerprint}
		}))
	})
}

// FuzzKeys: the parts of a key come back from it whatever they hold, and a key of something else is an error.
func FuzzKeys(f *testing.F) {
	for _, s := range []string{"o", "", "a/b", "%2F", "%", "\x00", "\xff", "..", "\u202e"} {
		f.Add(s, s, s)
	}
	f.Fuzz(func(t *testing.T, org, name, raw string) {
		key := keys{prefix: "nave/"}.definition(api.OrgID(org), api.KindAgent, name)
		if got, err := last(key, 1); err != nil || got[0] != name {
			t.Errorf("%q in %q comes back as %q, %v", name, key, got, err)
		}
		if got, err := last(raw, 2); err == nil && len(got) != 2 {
			t.Errorf("%q has the parts %q", raw, got)
		}
	})
}

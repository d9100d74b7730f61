package store_test

import (
	"bytes"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/store"
	"github.com/nave-dev/nave/hub/store/storetest"
)

// unknown is a field that a later version may write.
var unknown = protowire.AppendString(protowire.AppendTag(nil, 1000, protowire.BytesType), "of a later version")

// addUnknown appends the field to the only record below a prefix and returns the record's key.
func addUnknown(t *testing.T, c *clientv3.Client, prefix string) string {
	t.Helper()
	resp, err := c.Get(t.Context(), prefix, clientv3.WithPrefix())
	if err != nil || len(resp.Kvs) != 1 {
		t.Fatalf("records below %s: %v, %v; want one", prefix, resp, err)
	}
	key := string(resp.Kvs[0].Key)
	if _, err := c.Put(t.Context(), key, string(append(resp.Kvs[0].Value, unknown...))); err != nil {
		t.Fatal(err)
	}
	return key
}

func TestKeepsFieldsOfLaterVersions(t *testing.T) {
	c, ctx := server(t), t.Context()
	s := open(t, c, "")
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	d := api.Definition{Meta: api.Meta{Org: "default", ID: "id", Name: "e", Revision: 1}, Spec: &api.EnvironmentSpec{Image: "a"}}
	put := func(hub.DefinitionView) ([]hub.DefinitionWrite, error) { return []hub.DefinitionWrite{{Put: &d}}, nil }
	if _, err := s.Update(ctx, "default", put); err != nil {
		t.Fatal(err)
	}
	token := api.JoinToken{Hash: [32]byte{1}, Cluster: "c", Org: "default", ExpiresAt: at.Add(time.Hour)}
	if _, err := s.CreateCluster(ctx, api.Cluster{ID: "c", Org: "default", Name: "c"}, token); err != nil {
		t.Fatal(err)
	}
	written := []string{addUnknown(t, c, "/nave/defs/"), addUnknown(t, c, "/nave/clusters/"), addUnknown(t, c, "/nave/jointokens/")}

	d.Revision, d.Spec = 2, &api.EnvironmentSpec{Image: "b"}
	if _, err := s.Update(ctx, "default", put); err != nil {
		t.Fatal(err)
	}
	all, err := s.Clusters(ctx)
	if err != nil {
		t.Fatal(err)
	}
	all[0].Cordoned = true
	if _, err := s.UpdateCluster(ctx, all[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := s.BindToken(ctx, token.Hash, []byte("key"), at); err != nil {
		t.Fatal(err)
	}
	for _, key := range append(written, "/nave/revs/default/Environment/id/00000000000000000002") {
		resp, err := c.Get(ctx, key)
		if err != nil || len(resp.Kvs) != 1 || !bytes.Contains(resp.Kvs[0].Value, unknown) {
			t.Errorf("%s lost the field that it does not know: %v, %v", key, resp, err)
		}
	}
}

func TestNamesCannotLeaveTheirPlace(t *testing.T) {
	c := server(t)
	s := open(t, c, "")
	d := api.Definition{Meta: api.Meta{Org: "a/../b", ID: "x/y", Name: "e/Environment", Revision: 1}, Spec: &api.AgentSpec{Environment: "../e"}}
	if _, err := s.Update(t.Context(), d.Org, func(hub.DefinitionView) ([]hub.DefinitionWrite, error) {
		return []hub.DefinitionWrite{{Put: &d}}, nil
	}); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{
		"/nave/format": true, "/nave/incarnation": true, "/nave/defsversion/a%2F..%2Fb": true,
		"/nave/defs/a%2F..%2Fb/Agent/e%2FEnvironment":                    true,
		"/nave/revs/a%2F..%2Fb/Agent/x%2Fy/00000000000000000001":         true,
		"/nave/uses/a%2F..%2Fb/Environment/..%2Fe/Agent/e%2FEnvironment": true,
	}
	resp, err := c.Get(t.Context(), "/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range resp.Kvs {
		if !want[string(kv.Key)] {
			t.Errorf("key %s was written", kv.Key)
		}
		delete(want, string(kv.Key))
	}
	if len(want) > 0 {
		t.Errorf("keys %v were not written", want)
	}
}

// TestLeavesNoLeases refuses and takes over; what is left must be the one lease that is held.
func TestLeavesNoLeases(t *testing.T) {
	c, ctx := server(t), t.Context()
	s := open(t, c, "")
	token := api.JoinToken{Hash: [32]byte{1}, Cluster: "c", Org: "default"}
	if _, err := s.CreateCluster(ctx, api.Cluster{ID: "c", Org: "default", Name: "c"}, token); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		boot, journal, print string
		want                 api.Code
	}{{"b1", "j", "f", ""}, {"b1", "j", "f", ""}, {"b2", "j", "f", ""}, {"b3", "k", "f", api.CodeConflict}, {"b3", "j", "g", api.CodeDenied}} {
		err := s.Take(ctx, "c", hub.LeaseHolder{Boot: tt.boot, Journal: tt.journal, Fingerprint: tt.print}, time.Minute)
		if api.CodeOf(err) != tt.want {
			t.Fatalf("Take by %s = %v, want code %q", tt.boot, err, tt.want)
		}
	}
	leases, err := c.Leases(ctx)
	if err != nil || len(leases.Leases) != 1 {
		t.Fatalf("leases = %v, %v; want one", leases, err)
	}
}

// TestTimesOut asks a server that is gone.
func TestTimesOut(t *testing.T) {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	begin := time.Now()
	_, err = store.Open(t.Context(), store.Config{Client: c, Codec: storetest.JSONCodec{}, Timeout: 300 * time.Millisecond})
	if api.CodeOf(err) != api.CodeUnavailable || time.Since(begin) > 5*time.Second {
		t.Fatalf("Open = %v after %v, want CodeUnavailable soon", err, time.Since(begin))
	}
}

package store_test

import (
	"fmt"
	"log/slog"
	"os"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/store"
	"github.com/nave-dev/nave/hub/store/embedded"
	"github.com/nave-dev/nave/hub/store/storetest"
)

func server(tb testing.TB) *clientv3.Client {
	tb.Helper()
	s, err := embedded.Start(tb.Context(), embedded.Config{Dir: tb.TempDir() + "/etcd", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s.Client()
}

func open(tb testing.TB, c *clientv3.Client, prefix string) *store.Store {
	tb.Helper()
	s, err := store.Open(tb.Context(), store.Config{Client: c, Codec: storetest.JSONCodec{}, Prefix: prefix, MaxOps: embedded.MaxTxnOps, MaxBytes: embedded.MaxRequestBytes})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	c, n := server(t), 0
	storetest.Run(t, func(t *testing.T) storetest.Stores {
		n++
		prefix := fmt.Sprintf("/test%d/", n)
		return storetest.Stores{One: open(t, c, prefix), Other: open(t, c, prefix)}
	})
}

// TestConformanceOverASocket has the server's client in between, as with an etcd in another process.
func TestConformanceOverASocket(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "nave-etcd-") // paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	address := "unix://" + dir + "/s"
	srv, err := embedded.Start(t.Context(), embedded.Config{Dir: dir + "/etcd", Listen: address, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	c := dial(t, store.DialConfig{Endpoints: []string{address}})
	n := 0
	storetest.Run(t, func(t *testing.T) storetest.Stores {
		n++
		prefix := fmt.Sprintf("/test%d/", n)
		return storetest.Stores{One: open(t, c, prefix), Other: open(t, c, prefix)}
	})
}

func TestFormat(t *testing.T) {
	c := server(t)
	open(t, c, "")
	for key, want := range map[string]string{"/nave/format": "1", "/nave/incarnation": "1"} {
		resp, err := c.Get(t.Context(), key)
		if err != nil || len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != want {
			t.Fatalf("%s = %v, %v; want %s", key, resp, err, want)
		}
	}
	for value, code := range map[string]api.Code{"2": api.CodeUnsupported, "x": api.CodeInternal} {
		if _, err := c.Put(t.Context(), "/nave/format", value); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Open(t.Context(), store.Config{Client: c, Codec: storetest.JSONCodec{}}); api.CodeOf(err) != code {
			t.Fatalf("Open of format %s = %v, want code %s", value, err, code)
		}
	}
}

func TestIncarnationIsInTheGeneration(t *testing.T) {
	c := server(t)
	s := open(t, c, "")
	if _, err := s.Claim(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(t.Context(), "/nave/incarnation", "2"); err != nil {
		t.Fatal(err)
	}
	h, err := s.Claim(t.Context(), 3)
	if want := (api.Generation{Incarnation: 2, N: 2}); err != nil || h.Generation != want {
		t.Fatalf("Claim = %v, %v; want generation %v", h, err, want)
	}
}

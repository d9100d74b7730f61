package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/store"
	"github.com/nave-dev/nave/hub/store/storetest"
	"github.com/nave-dev/nave/internal/etcdtest"
	"github.com/nave-dev/nave/internal/run"
)

// members starts a cluster of three processes.
func members(t *testing.T, cfg etcdtest.Config) *etcdtest.Cluster {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Dir, cfg.Program = t.TempDir(), []string{self}
	c, err := etcdtest.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func dial(t *testing.T, cfg store.DialConfig) *clientv3.Client {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	c, err := store.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// separate opens a store with the limits that etcd has by default.
func separate(t *testing.T, c *clientv3.Client, prefix string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Client: c, Codec: storetest.JSONCodec{}, Prefix: prefix, Timeout: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestConformanceOnACluster has the two users of the store on clients of their own.
func TestConformanceOnACluster(t *testing.T) {
	c := members(t, etcdtest.Config{})
	one, other := dial(t, store.DialConfig{Endpoints: c.Endpoints()}), dial(t, store.DialConfig{Endpoints: c.Endpoints()})
	n := 0
	storetest.Run(t, func(t *testing.T) storetest.Stores {
		n++
		prefix := fmt.Sprintf("/test%d/", n)
		return storetest.Stores{One: separate(t, one, prefix), Other: separate(t, other, prefix)}
	})
}

// owner is a shard's owner as the hub is one: after an error it reads the head before it goes on.
type owner struct {
	store   *store.Store
	shard   api.Shard
	head    api.Head
	written uint64 // acknowledged batches, each with the signal of its number
	away    int    // commits that were answered with an error
}

// write commits the next signal until it is known to be there.
func (o *owner) write(ctx context.Context) error {
	x := api.Signal{ID: api.SignalID(fmt.Sprint("signal", o.written+1)), Session: api.NewSessionID(time.Unix(1_800_000_000, 0), o.shard, [10]byte{}), Sequence: o.written + 1}
	b := hub.Batch{Shard: o.shard, From: o.head, Mutations: []hub.Mutation{{Org: api.DefaultOrg, PutSignal: &x}}}
	for {
		began := time.Now()
		err := o.store.Commit(ctx, []hub.Batch{b})
		if took := time.Since(began); took > 5*time.Second {
			return fmt.Errorf("a commit took %v, and its bound is 3s", took)
		}
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		o.away++
		if c := api.CodeOf(err); c != api.CodeUnavailable && c != api.CodeConflict {
			return fmt.Errorf("commit = %w (code %s), want CodeUnavailable, or CodeConflict of one that was applied", err, c)
		}
		head, err := o.store.Head(ctx, o.shard)
		for err != nil && ctx.Err() == nil {
			head, err = o.store.Head(ctx, o.shard)
		}
		switch {
		case err != nil:
			return err
		case head == b.Next():
		case head == b.From:
			continue
		default:
			return fmt.Errorf("head is %v, want %v or %v", head, b.From, b.Next())
		}
		break
	}
	o.head = b.Next()
	o.written++
	return nil
}

// TestLosesAMember kills each member in turn, the leader among them, and brings it back, while four owners write: they go on,
// and in the end everything that was acknowledged is there once.
func TestLosesAMember(t *testing.T) {
	const owners, least = 4, 200
	c := members(t, etcdtest.Config{})
	client := dial(t, store.DialConfig{Endpoints: c.Endpoints()})
	s := separate(t, client, "")
	var (
		all  []*owner
		done atomic.Bool
		sum  atomic.Uint64
	)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Minute, errors.New("not within 3m"))
	defer cancel()
	g := run.NewGroup(ctx)
	for n := range owners {
		h, err := s.Claim(ctx, api.Shard(n))
		if err != nil {
			t.Fatal(err)
		}
		o := &owner{store: s, shard: api.Shard(n), head: h}
		all = append(all, o)
		g.Go("owner", func(ctx context.Context) error {
			for !done.Load() {
				if err := o.write(ctx); err != nil {
					return err
				}
				sum.Add(1)
			}
			return nil
		})
	}
	g.Go("killer", func(ctx context.Context) error {
		defer done.Store(true)
		more := func(n uint64) error { // until so many more are written
			for until := sum.Load() + n; sum.Load() < until; {
				select {
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(5 * time.Millisecond):
				}
			}
			return nil
		}
		for i := range c.Endpoints() {
			err := more(least)
			if err == nil {
				err = c.Kill(i)
			}
			if err == nil {
				err = more(least) // with two of three
			}
			if err == nil {
				err = c.Start(ctx, i)
			}
			if err != nil {
				return fmt.Errorf("member %d: %w", i, err)
			}
		}
		return more(least)
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	away := 0
	for _, o := range all {
		away += o.away
		contents, err := s.Load(ctx, o.shard)
		if err != nil {
			t.Fatal(err)
		}
		if uint64(len(contents.Signals)) != o.written || o.head.Batch != o.written {
			t.Errorf("shard %d has %d signals and head %v, want the %d that were acknowledged", o.shard, len(contents.Signals), o.head, o.written)
		}
		for i, x := range contents.Signals {
			if x.Sequence != uint64(i+1) {
				t.Fatalf("shard %d has signal %d at %d", o.shard, x.Sequence, i)
			}
		}
	}
	t.Logf("%d batches written, %d commits answered with an error meanwhile", sum.Load(), away)
}

// TestWithoutAMajority freezes two members: calls end with CodeUnavailable within their bound; when the members go on, the
// store does too.
func TestWithoutAMajority(t *testing.T) {
	c := members(t, etcdtest.Config{})
	s := separate(t, dial(t, store.DialConfig{Endpoints: c.Endpoints()}), "")
	h, err := s.Claim(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	o := &owner{store: s, shard: 1, head: h}
	if err := o.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := c.Freeze(i); err != nil {
			t.Fatal(err)
		}
	}
	calls := map[string]func(context.Context) error{
		"Commit":  func(ctx context.Context) error { return s.Commit(ctx, []hub.Batch{{Shard: 1, From: o.head}}) },
		"Head":    func(ctx context.Context) error { _, err := s.Head(ctx, 1); return err },
		"Load":    func(ctx context.Context) error { _, err := s.Load(ctx, 1); return err },
		"Claim":   func(ctx context.Context) error { _, err := s.Claim(ctx, 2); return err },
		"Holders": func(ctx context.Context) error { _, err := s.Holders(ctx); return err },
		"Renew":   func(ctx context.Context) error { return s.Renew(ctx, "c", "b") },
		"Take": func(ctx context.Context) error {
			return s.Take(ctx, "c", hub.LeaseHolder{Boot: "b", Journal: "j", Fingerprint: "f"}, 10*time.Second)
		},
		"Update": func(ctx context.Context) error {
			_, err := s.Update(ctx, api.DefaultOrg, func(hub.DefinitionView) ([]hub.DefinitionWrite, error) { return nil, nil })
			return err
		},
		"Dial": func(ctx context.Context) error {
			_, err := store.Dial(ctx, store.DialConfig{Endpoints: c.Endpoints(), Timeout: 3 * time.Second, Log: slog.New(slog.DiscardHandler)})
			return err
		},
	}
	g := run.NewGroup(t.Context())
	for name, call := range calls {
		g.Go(name, func(ctx context.Context) error {
			began := time.Now()
			if err := call(ctx); api.CodeOf(err) != api.CodeUnavailable {
				return fmt.Errorf("= %w, want CodeUnavailable", err)
			}
			if took := time.Since(began); took > 5*time.Second {
				return fmt.Errorf("took %v, and its bound is 3s", took)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	for i := range 2 {
		if err := c.Thaw(i); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o.head, err = s.Head(ctx, 1) // the commit without a mutation may have been applied
	for err != nil && ctx.Err() == nil {
		o.head, err = s.Head(ctx, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := o.write(ctx); err != nil {
		t.Fatal(err)
	}
}

package hub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/archive"
	"github.com/nave-dev/nave/hub/bucket"
	"github.com/nave-dev/nave/hub/store"
	"github.com/nave-dev/nave/hub/store/embedded"
	"github.com/nave-dev/nave/internal/run"
)

// brains is one store and one archive, with hubs over them.
type brains struct {
	t       *testing.T
	store   *store.Store
	archive *archive.Archive
	catalog *hub.Catalog
	shards  *faultyShards
	history *awayArchive
	vault   *vault
}

// vault is a bucket that has every checkpoint but those that are missing.
type vault struct {
	hub.Vault
	mu      sync.Mutex
	missing map[api.CheckpointID]bool // guarded by mu
	away    bool                      // guarded by mu
}

func (v *vault) HasCheckpoint(_ context.Context, _ api.OrgID, _ api.SessionID, id api.CheckpointID) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.away {
		return false, api.Errorf(api.CodeUnavailable, "the bucket is away")
	}
	return !v.missing[id], nil
}

func (v *vault) CollectCheckpoints(context.Context, api.OrgID, api.SessionID, []api.CheckpointID) (int, error) {
	return 0, nil
}

func newBrains(t *testing.T) *brains {
	t.Helper()
	b := &brains{t: t}
	dir := t.TempDir()
	etcd, err := embedded.Start(t.Context(), embedded.Config{Dir: dir + "/etcd", Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(etcd.Close)
	b.store, err = store.Open(t.Context(), store.Config{Client: etcd.Client(), Codec: jsonCodec{}})
	must(t, err)
	b.archive, err = archive.Open(t.Context(), archive.Config{File: filepath.Join(dir, "archive.db")})
	must(t, err)
	t.Cleanup(func() { b.archive.Close() })
	b.catalog, err = hub.NewCatalog(hub.CatalogConfig{Store: b.store, LeaseTTL: 3 * time.Second, NewID: func() api.ObjectID { return api.ObjectID(newULID()) }})
	must(t, err)
	b.shards, b.history, b.vault = &faultyShards{ShardStore: b.store}, &awayArchive{Archive: b.archive}, &vault{missing: map[api.CheckpointID]bool{}}
	for _, d := range []api.Definition{environment("e", ""), agent("a", "e", "")} {
		if spec, ok := d.Spec.(*api.AgentSpec); ok {
			spec.Harness.Protocol, spec.MaxDeliveries = api.ProtocolCommand, 2
		}
		_, _, err := b.catalog.Put(t.Context(), hub.PutRequest{Definition: d})
		must(t, err)
	}
	return b
}

// cluster registers a cluster whose spoke has enrolled with the identity that is its name.
func (b *brains) cluster(name string) api.ClusterID {
	b.t.Helper()
	c := api.Cluster{ID: api.ClusterID(newULID()), Org: api.DefaultOrg, Name: name, CreatedAt: time.Now().UTC(), UpdatedAt: time.Now().UTC()}
	c, err := b.store.CreateCluster(b.t.Context(), c, api.JoinToken{Hash: [32]byte([]byte(fmt.Sprintf("%-32s", name))), Cluster: c.ID, Org: c.Org, ExpiresAt: time.Now().Add(time.Hour)})
	must(b.t, err)
	c.Identity = name
	_, err = b.store.UpdateCluster(b.t.Context(), c)
	must(b.t, err)
	return c.ID
}

// brain is a running hub.
type brain struct {
	*hub.Hub
	w     *brains
	group *run.Group
	ended error         // once done is closed
	done  chan struct{} // closed when Run has returned
}

// start runs a hub until the end of the test or stop, and waits until it serves.
func (b *brains) start(change ...func(*hub.Config)) *brain {
	b.t.Helper()
	objects, err := bucket.OpenDirectory(b.t.TempDir())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = objects.Close() })
	cfg := hub.Config{Shards: b.shards, Archive: b.history, Reader: b.archive, Clusters: b.store, Leases: b.store, Bucket: objects, Vault: b.vault, Resolver: b.catalog,
		LeaseTTL: 3 * time.Second, Beat: 500 * time.Millisecond}
	for _, f := range change {
		f(&cfg)
	}
	h, err := hub.New(cfg)
	must(b.t, err)
	br := &brain{Hub: h, w: b, group: run.NewGroup(context.WithoutCancel(b.t.Context())), done: make(chan struct{})}
	br.group.Go("hub", func(ctx context.Context) error {
		defer close(br.done)
		br.ended = h.Run(ctx)
		return nil
	})
	b.t.Cleanup(func() { br.stop() })
	eventually(b.t, "the hub serves", func() string {
		select {
		case <-br.done:
			b.t.Fatalf("the hub ended: %v", br.ended)
		default:
		}
		return text(h.Ready())
	})
	return br
}

// stop ends the hub and returns what its Run returned.
func (b *brain) stop() error {
	b.group.Stop()
	_ = b.group.Wait()
	return b.ended
}

func (b *brain) signal(key, idem, payload string) (api.Accepted, error) {
	ctx, cancel := context.WithTimeout(b.w.t.Context(), 10*time.Second)
	defer cancel()
	return b.Signal(ctx, hub.SignalRequest{Org: api.DefaultOrg, Agent: "a", Key: key, Payload: []byte(payload), IdempotencyKey: idem, Sender: "test"})
}

func (b *brain) accept(key, idem, payload string) api.Accepted {
	b.w.t.Helper()
	a, err := b.signal(key, idem, payload)
	must(b.w.t, err)
	return a
}

// phase waits until a session is in a phase and has so many unsettled signals.
func (b *brain) phase(id api.SessionID, want api.Phase, pending int) hub.SessionView {
	b.w.t.Helper()
	var v hub.SessionView
	eventually(b.w.t, fmt.Sprintf("session is %s with %d signals", want, pending), func() string {
		var err error
		if v, err = b.Session(b.w.t.Context(), api.DefaultOrg, id); err != nil {
			return err.Error()
		}
		if v.Phase != want || v.Pending != pending {
			return fmt.Sprintf("is %s (%s) with %d", v.Phase, v.Reason, v.Pending)
		}
		return ""
	})
	return v
}

// log is what the archive has of a session.
func (b *brains) log(id api.SessionID) []api.Event {
	b.t.Helper()
	events, err := b.archive.Events(b.t.Context(), api.DefaultOrg, id, 1, 10_000)
	must(b.t, err)
	for i, e := range events {
		if e.Number != uint64(i+1) {
			b.t.Fatalf("P5: event %d at %d", e.Number, i+1)
		}
	}
	return events
}

// count returns how many events of a type the log has.
func (b *brains) count(id api.SessionID, typ api.EventType) (n int) {
	b.t.Helper()
	for _, e := range b.log(id) {
		if e.Type == typ {
			n++
		}
	}
	return n
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// eventually waits until check returns "", which says what is still missing.
func eventually(t *testing.T, what string, check func() string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := check()
		if missing == "" {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s: not within 20 s: %s", what, missing)
		case <-tick.C:
		}
	}
}

// faultyShards is a store whose commits can go wrong: fault is asked before each one.
type faultyShards struct {
	hub.ShardStore
	mu    sync.Mutex
	fault func([]hub.Batch) fault // guarded by mu
}

// fault is how a commit goes wrong.
type fault int

const (
	none    fault = iota
	lost          // applied, but the answer does not arrive
	dropped       // not applied, and no answer
)

func (f *faultyShards) set(fn func([]hub.Batch) fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fn
}

func (f *faultyShards) Commit(ctx context.Context, batches []hub.Batch) error {
	f.mu.Lock()
	fn := f.fault
	f.mu.Unlock()
	which := none
	if fn != nil {
		which = fn(batches)
	}
	var err error
	if which != dropped {
		err = f.ShardStore.Commit(ctx, batches)
	}
	if which != none && err == nil {
		err = errors.New("the answer was lost")
	}
	return err
}

// awayArchive is an archive that can be away for a while.
type awayArchive struct {
	hub.Archive
	mu       sync.Mutex
	away     bool                     // guarded by mu
	appended func([]hub.Append) error // guarded by mu; called after each append that succeeded
}

func (a *awayArchive) set(away bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = away
}

// after lets f decide what an append that succeeded is answered with.
func (a *awayArchive) after(f func([]hub.Append) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.appended = f
}

func (a *awayArchive) gone() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.away {
		return api.Errorf(api.CodeUnavailable, "the archive is away")
	}
	return nil
}

func (a *awayArchive) Append(ctx context.Context, appends []hub.Append) error {
	if err := a.gone(); err != nil {
		return err
	}
	err := a.Archive.Append(ctx, appends)
	a.mu.Lock()
	f := a.appended
	a.mu.Unlock()
	if err == nil && f != nil {
		err = f(appends)
	}
	return err
}

func (a *awayArchive) Keys(ctx context.Context, org api.OrgID, keys []hub.KeyScope) (map[hub.KeyScope]hub.SettledSignal, error) {
	if err := a.gone(); err != nil {
		return nil, err
	}
	return a.Archive.Keys(ctx, org, keys)
}

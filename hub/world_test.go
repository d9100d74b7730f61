package hub_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/store"
	"github.com/nave-dev/nave/hub/store/embedded"
)

// world is catalog and fleet over a real store with a clock that stands still.
type world struct {
	t       *testing.T
	store   *store.Store
	catalog *hub.Catalog
	fleet   *hub.Fleet
	overlay *memoryOverlay

	mu       sync.Mutex
	at       time.Time
	sessions map[api.ClusterID]int
	alarms   []hub.Alarm
	revoked  []string // cluster and why
	assigned []hub.AssignedSession
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, overlay: &memoryOverlay{identities: map[string]string{}}, at: time.Unix(1_700_000_000, 0).UTC(), sessions: map[api.ClusterID]int{}}
	etcd, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir() + "/etcd", Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(etcd.Close)
	w.store, err = store.Open(t.Context(), store.Config{Client: etcd.Client(), Codec: jsonCodec{}})
	must(t, err)
	w.catalog, err = hub.NewCatalog(hub.CatalogConfig{Store: w.store, Now: w.now, NewID: func() api.ObjectID { return api.ObjectID(newULID()) }})
	must(t, err)
	w.fleet, err = hub.NewFleet(hub.FleetConfig{
		Store: w.store, Overlay: w.overlay, Status: w.status, Now: w.now, Service: "nave-hub",
		NewID: func() api.ClusterID { return api.ClusterID(newULID()) }, HubIdentities: func() []string { return []string{"hub-1"} },
		Alarm:    func(a hub.Alarm) { w.alarms = append(w.alarms, a) },
		Revoked:  func(id api.ClusterID, why string) { w.revoked = append(w.revoked, string(id)+": "+why) },
		Assigned: func(context.Context, api.ClusterID) ([]hub.AssignedSession, error) { return w.assigned, nil },
	})
	must(t, err)
	return w
}

// jsonCodec keeps specs readable; how they are kept is the store's business.
type jsonCodec struct{}

func (jsonCodec) EncodeSpec(s api.Spec) ([]byte, error) { return json.Marshal(s) }

func (jsonCodec) DecodeSpec(k api.Kind, b []byte) (api.Spec, error) {
	var s api.Spec
	switch k {
	case api.KindAgent:
		s = &api.AgentSpec{}
	case api.KindEnvironment:
		s = &api.EnvironmentSpec{}
	case api.KindPlacementPolicy:
		s = &api.PlacementPolicySpec{}
	case api.KindGrant:
		s = &api.GrantSpec{}
	default:
		return nil, api.Invalid("kind", "%q is unknown", k)
	}
	return s, json.Unmarshal(b, s)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks code and field of an error.
func refused(t *testing.T, what string, err error, code api.Code, field string) {
	t.Helper()
	if api.CodeOf(err) != code || api.FieldOf(err) != field {
		t.Errorf("%s: %v (%s), want %s in field %q", what, err, api.CodeOf(err), code, field)
	}
}

func newULID() string {
	var e [10]byte
	_, _ = rand.Read(e[:])
	return api.NewULID(time.Now(), e)
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

func (w *world) status(id api.ClusterID) api.ClusterStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	return api.ClusterStatus{Sessions: w.sessions[id]}
}

// memoryOverlay keeps identities by id; change is called before each is made, where set.
type memoryOverlay struct {
	mu         sync.Mutex
	n          int
	identities map[string]string // id to name
	change     func()
}

func (o *memoryOverlay) CreateIdentity(_ context.Context, name string) (string, string, error) {
	if f := o.change; f != nil {
		f()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, n := range o.identities {
		if n == name {
			delete(o.identities, id)
		}
	}
	o.n++
	id := fmt.Sprintf("identity-%d", o.n)
	o.identities[id] = name
	return id, "token-of-" + id, nil
}

func (o *memoryOverlay) DeleteIdentity(_ context.Context, id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.identities, id)
	return nil
}

func (o *memoryOverlay) has(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.identities[id]
	return ok
}

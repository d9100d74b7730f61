package rpc_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/rpc"
	"github.com/nave-dev/nave/hub/store"
	"github.com/nave-dev/nave/hub/store/embedded"
	"github.com/nave-dev/nave/internal/run"
)

// world is a server over a real store on both listeners. Sessions and overlay are small ones in memory.
type world struct {
	t        *testing.T
	store    *store.Store
	catalog  *hub.Catalog
	fleet    *hub.Fleet
	sessions *memorySessions
	history  *memoryHistory
	overlay  *memoryOverlay
	server   *rpc.Server
	logs     *lockedBuffer
	parts    map[string]error // of the hub, as its status has them

	http *httptest.Server
	grpc *grpc.ClientConn
}

func newULID() string {
	var e [10]byte
	_, _ = rand.Read(e[:])
	return api.NewULID(time.Now(), e)
}

type rpcConfig = rpc.Config

func newWorld(t *testing.T, change func(*rpcConfig)) *world {
	t.Helper()
	w := &world{t: t, sessions: &memorySessions{}, history: &memoryHistory{}, overlay: &memoryOverlay{identities: map[string]string{}}, logs: &lockedBuffer{}}
	etcd, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir() + "/etcd", Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(etcd.Close)
	w.store, err = store.Open(t.Context(), store.Config{Client: etcd.Client(), Codec: navev1.Codec{}})
	must(t, err)
	log := slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.catalog, err = hub.NewCatalog(hub.CatalogConfig{Store: w.store, NewID: func() api.ObjectID { return api.ObjectID(newULID()) }})
	must(t, err)
	w.fleet, err = hub.NewFleet(hub.FleetConfig{
		Store: w.store, Overlay: w.overlay, Status: w.sessions.status, Service: "nave-hub", Log: log,
		NewID: func() api.ClusterID { return api.ClusterID(newULID()) }, HubIdentities: func() []string { return []string{"hub-1"} },
	})
	must(t, err)
	auth, err := hub.NewAuthenticator(w.store, nil)
	must(t, err)
	cfg := rpc.Config{Catalog: w.catalog, Fleet: w.fleet, Sessions: w.sessions, Intents: w.sessions, Approvals: w.sessions, History: w.history, Payloads: w.history, Rejoin: &memoryRejoin{w: w}, Auth: auth, Facts: w.facts, Version: "v0.0.0-test", Log: log}
	if change != nil {
		change(&cfg)
	}
	w.server, err = rpc.New(cfg)
	must(t, err)
	w.listen()
	return w
}

func (w *world) listen() {
	w.http = httptest.NewUnstartedServer(w.server.Handler())
	w.http.EnableHTTP2 = true
	w.http.StartTLS()
	w.t.Cleanup(w.http.Close)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(w.t, err)
	g := w.server.GRPC()
	tasks := run.NewGroup(context.Background())
	tasks.Go("grpc", func(context.Context) error { return g.Serve(l) })
	w.t.Cleanup(func() {
		g.Stop()
		if err := tasks.Wait(); err != nil {
			w.t.Error(err)
		}
	})
	w.grpc, err = grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(w.t, err)
	w.t.Cleanup(func() { _ = w.grpc.Close() })
}

// facts are those of one live cluster.
func (w *world) facts(context.Context, api.OrgID) hub.StatusFacts {
	return hub.StatusFacts{Parts: w.parts, Clusters: []hub.ClusterFact{{Name: "here", Health: api.HealthLive}}, Sessions: hub.SessionFacts{Phases: map[api.Phase]int{api.PhaseDormant: 2}, Pending: 3},
		Approvals: &hub.ApprovalFacts{}, Limit: 10}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// token makes a credential of the default organization and returns its token.
func (w *world) token(role hub.Role, expires time.Time) string {
	w.t.Helper()
	token, hash, err := hub.NewToken(rand.Reader)
	must(w.t, err)
	must(w.t, w.store.PutCredential(w.t.Context(), hash, hub.Credential{Org: api.DefaultOrg, Subject: "test-" + string(role) + newULID(), Role: role, ExpiresAt: expires}))
	return token
}

// answer is what came back: an empty Code is success.
type answer struct {
	Status  int
	Code    api.Code
	Field   string
	Op      string
	Message string
	Body    map[string]any
}

func (a answer) String() string {
	if a.Code == "" {
		return fmt.Sprintf("ok %v", a.Body)
	}
	return fmt.Sprintf("%s %q: %s", a.Code, a.Field, a.Message)
}

// post calls a unary method with JSON, as curl does. The header is the whole Authorization header.
func (w *world) post(method, authorization, body string) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.http.URL+method, strings.NewReader(body))
	must(w.t, err)
	req.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := w.http.Client().Do(req)
	must(w.t, err)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	must(w.t, err)
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		w.t.Fatalf("%s answered %d %q", method, res.StatusCode, text)
	}
	if res.StatusCode == http.StatusOK {
		return answer{Status: 200, Body: out}
	}
	return errorOf(w.t, res.StatusCode, out)
}

// errorOf reads an error in connect's JSON.
func errorOf(t *testing.T, status int, body map[string]any) answer {
	t.Helper()
	a := answer{Status: status, Body: body, Code: "no detail: " + api.Code(fmt.Sprint(body["code"]))}
	a.Message, _ = body["message"].(string)
	details, _ := body["details"].([]any)
	for _, d := range details {
		m := d.(map[string]any)
		if m["type"] != "google.rpc.ErrorInfo" {
			continue
		}
		debug, ok := m["debug"].(map[string]any)
		if !ok {
			t.Fatalf("the detail cannot be read: %v", m)
		}
		a.Code = api.Code(debug["reason"].(string))
		if md, ok := debug["metadata"].(map[string]any); ok {
			a.Field, _ = md["field"].(string)
			a.Op, _ = md["op"].(string)
		}
	}
	return a
}

// lockedBuffer keeps a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// memoryOverlay keeps identities by id.
type memoryOverlay struct {
	mu         sync.Mutex
	n          int
	identities map[string]string // id to name
}

func (o *memoryOverlay) CreateIdentity(_ context.Context, name string) (string, string, error) {
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

// memorySessions keeps sessions, with the contract of rpc.Sessions.
type memorySessions struct {
	mu        sync.Mutex
	views     []hub.SessionView
	signals   []hub.SignalRequest
	changes   []hub.IntentRequest
	replays   []string // who replayed
	cancels   []hub.CancelRequest
	deltas    []api.Delta
	approvals []hub.ApprovalView
	events    []api.Event
	assigned  map[api.ClusterID]int
	fail      func(ctx context.Context) error // called first by every method, where set
}

func (m *memorySessions) status(id api.ClusterID) api.ClusterStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	return api.ClusterStatus{Sessions: m.assigned[id]}
}

func (m *memorySessions) begin(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail(ctx)
	}
	return nil
}

func (m *memorySessions) Signal(ctx context.Context, req hub.SignalRequest) (api.Accepted, error) {
	if err := m.begin(ctx); err != nil {
		return api.Accepted{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !req.DryRun {
		m.signals = append(m.signals, req)
	}
	return api.Accepted{Signal: api.SignalID(newULID()), Session: api.SessionID(newULID()), Sequence: uint64(len(m.signals))}, nil
}

func (m *memorySessions) SignalMany(ctx context.Context, reqs []hub.SignalRequest) (out []hub.SignalResult) {
	for _, r := range reqs {
		a, err := m.Signal(ctx, r)
		out = append(out, hub.SignalResult{Accepted: a, Err: err})
	}
	return out
}

func (m *memorySessions) Session(ctx context.Context, _ api.OrgID, id api.SessionID) (hub.SessionView, error) {
	if err := m.begin(ctx); err != nil {
		return hub.SessionView{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.views {
		if v.ID == id {
			return v, nil
		}
	}
	return hub.SessionView{}, api.Errorf(api.CodeNotFound, "there is no session %s", id)
}

func (m *memorySessions) Sessions(ctx context.Context, org api.OrgID, f hub.SessionFilter, size int, token string) ([]hub.SessionView, string, error) {
	if err := m.begin(ctx); err != nil {
		return nil, "", err
	}
	if _, err := hub.NewPager(size, token, "sessions", string(org)); err != nil {
		return nil, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []hub.SessionView
	for _, v := range m.views {
		if (f.Phase == "" || v.Phase == f.Phase) && (f.Agent == "" || v.Agent == f.Agent) && api.MatchAll(f.Selector, v.Labels) {
			out = append(out, v)
		}
	}
	return out, "", nil
}

func (m *memorySessions) Events(ctx context.Context, org api.OrgID, id api.SessionID, from uint64, follow bool, limit uint32, send func([]api.Event) error) error {
	if _, err := m.Session(ctx, org, id); err != nil {
		return err
	}
	m.mu.Lock()
	events := m.events[min(int(from)-1, len(m.events)):]
	m.mu.Unlock()
	if limit > 0 && int(limit) <= len(events) {
		return send(events[:limit])
	}
	if err := send(events); err != nil || !follow {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (m *memorySessions) Explain(ctx context.Context, org api.OrgID, id api.SessionID, present bool) (hub.Explanation, error) {
	v, err := m.Session(ctx, org, id)
	x := hub.Explanation{Session: v, Decisions: []api.Decision{{Session: id, Summary: "nothing fits"}}}
	if present {
		x.Present = &api.Decision{Session: id, Summary: "nothing would fit"}
	}
	return x, err
}

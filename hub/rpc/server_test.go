package rpc_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc/metadata"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/api/navev1/navev1connect"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

func TestJSONRefusesUnknownFields(t *testing.T) {
	w := newWorld(t, nil)
	a := w.post("/nave.v1.Environments/Put", "Bearer "+w.token(hub.RoleAdmin, time.Time{}), `{"environment": {"meta": {"name": "a"}, "spce": {}}}`)
	if a.Status != http.StatusBadRequest || !strings.Contains(a.Message, "spce") {
		t.Errorf("answered %d %v", a.Status, a)
	}
}

func TestMessagesAreBounded(t *testing.T) {
	w := newWorld(t, nil)
	token := w.token(hub.RoleAdmin, time.Time{})
	a := w.post("/nave.v1.Sessions/Signal", "Bearer "+token, `{"agent": "a", "key": "`+strings.Repeat("x", 2<<20)+`"}`)
	if a.Status != http.StatusTooManyRequests || !strings.Contains(a.Message, "2097152") {
		t.Errorf("over HTTP: %d %v", a.Status, a)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	err := w.invoke(ctx, everyMethod()["Sessions/Signal"], &navev1.SignalRequest{Agent: "a", Key: strings.Repeat("x", 2<<20)})
	if err == nil || !strings.Contains(err.Error(), "ResourceExhausted") || !strings.Contains(err.Error(), "2097152") {
		t.Errorf("over gRPC: %v", err)
	}
}

func TestRatesAreBounded(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	w := newWorld(t, func(c *rpcConfig) {
		c.Limits.Rate, c.Limits.Burst, c.Limits.PublicRate, c.Limits.PublicBurst = 7, 3, 5, 2
		c.Now = func() time.Time { return at }
	})
	one, other := w.token(hub.RoleViewer, time.Time{}), w.token(hub.RoleViewer, time.Time{})
	info := func(token string) answer { return w.post("/nave.v1.System/Info", "Bearer "+token, "{}") }
	for range 3 {
		if a := info(one); a.Code != "" {
			t.Fatal(a)
		}
	}
	if a := info(one); a.Code != api.CodeLimit || !strings.Contains(a.Message, "7 requests per second") {
		t.Errorf("the fourth answered %v", a)
	}
	if a := info(other); a.Code != "" {
		t.Errorf("another credential shares the rate: %v", a)
	}
	at = at.Add(time.Second / 7)
	if a := info(one); a.Code != "" {
		t.Errorf("after a while: %v", a)
	}
	var last answer
	for range 3 {
		last = w.post("/nave.v1.Enrollment/Enroll", "", "{}")
	}
	if last.Code != api.CodeLimit || !strings.Contains(last.Message, "5 requests per second of one address") {
		t.Errorf("the third enrollment answered %v", last)
	}
}

// follow opens a stream of events and returns the first one and the stream.
func (w *world) follow(token string) (*connect.ServerStreamForClient[navev1.Event], error) {
	c := navev1connect.NewSessionsClient(w.http.Client(), w.http.URL)
	ctx, call := connect.NewClientContext(w.t.Context())
	call.RequestHeader().Set("Authorization", "Bearer "+token)
	s, err := c.Events(ctx, &navev1.EventsRequest{SessionId: someULID, From: 2, Follow: true})
	if err != nil {
		return nil, err
	}
	if !s.Receive() {
		return nil, s.Err()
	}
	return s, nil
}

func TestStreamsAreBoundedAndEndWithTheServer(t *testing.T) {
	w := newWorld(t, func(c *rpcConfig) { c.Limits.Streams = 2 })
	token := w.token(hub.RoleViewer, time.Time{})
	w.sessions.views = []hub.SessionView{{Session: api.Session{ID: someULID, Org: api.DefaultOrg}}}
	w.sessions.events = []api.Event{
		{Session: someULID, Number: 1, Type: api.EventAccepted},
		{Session: someULID, Number: 2, Type: api.EventMessage, Text: "not \xff UTF-8", Cluster: "01JDBZ0000000000000000000B", Source: api.Source{Epoch: api.Epoch{Incarnation: 1, N: 2}, Attempt: 3}},
	}
	one, err := w.follow(token)
	must(t, err)
	defer func() { _ = one.Close() }()
	if e := one.Msg(); e.GetNumber() != 2 || e.GetSource() != "1.2/3" || e.GetText() != "not \uFFFD UTF-8" || e.GetCluster() != "01JDBZ0000000000000000000B" {
		t.Errorf("the event is %v", e)
	}
	two, err := w.follow(token)
	must(t, err)
	if _, err := w.follow(token); connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), "2 open streams") {
		t.Errorf("the third stream: %v", err)
	}
	// Closing one makes room; the server notices a moment later.
	must(t, two.Close())
	deadline := time.Now().Add(10 * time.Second)
	for two, err = w.follow(token); err != nil && time.Now().Before(deadline); {
		two, err = w.follow(token)
	}
	must(t, err)
	defer func() { _ = two.Close() }()

	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+w.token(hub.RoleViewer, time.Time{})), 10*time.Second)
	defer cancel()
	overGRPC, err := navev1.NewSessionsClient(w.grpc).Events(ctx, &navev1.EventsRequest{SessionId: someULID, Follow: true})
	must(t, err)
	_, err = overGRPC.Recv()
	must(t, err)

	w.server.Drain()
	if one.Receive() || connect.CodeOf(one.Err()) != connect.CodeUnavailable {
		t.Errorf("the stream over HTTP ended with %v", one.Err())
	}
	for err == nil {
		_, err = overGRPC.Recv()
	}
	if grpcCode(t, err) != api.CodeUnavailable {
		t.Errorf("the stream over gRPC ended with %v", err)
	}
	if _, a := w.stream("/nave.v1.Sessions/Events", "Bearer "+token, `{"session_id": "`+someULID+`", "follow": true}`); a.Code != api.CodeUnavailable {
		t.Errorf("a new stream answered %v", a)
	}
}

func (w *world) get(path string) (int, string) {
	w.t.Helper()
	res, err := w.http.Client().Get(w.http.URL + path)
	must(w.t, err)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	must(w.t, err)
	return res.StatusCode, string(text)
}

func TestHealthReadinessAndMetrics(t *testing.T) {
	parts := map[string]error{"store": nil, "overlay": errors.New("secret detail")}
	w := newWorld(t, func(c *rpcConfig) { c.Ready = func() map[string]error { return parts } })
	if code, text := w.get("/healthz"); code != 200 || text != "ok\n" {
		t.Errorf("healthz: %d %q", code, text)
	}
	if code, text := w.get("/readyz"); code != 503 || text != "not ready: overlay\n" {
		t.Errorf("readyz: %d %q", code, text)
	}
	delete(parts, "overlay")
	if code, text := w.get("/readyz"); code != 200 || text != "ok\n" {
		t.Errorf("readyz: %d %q", code, text)
	}
	w.post("/nave.v1.System/Info", "", "{}")
	w.post("/nave.v1.System/Info", "Bearer "+w.token(hub.RoleViewer, time.Time{}), "{}")
	_, text := w.get("/metrics")
	for _, want := range []string{
		`nave_api_requests_total{code="unauthenticated",method="/nave.v1.System/Info"} 1`,
		`nave_api_requests_total{code="ok",method="/nave.v1.System/Info"} 1`,
		`nave_api_request_seconds_count{method="/nave.v1.System/Info"} 1`,
		`nave_api_streams 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	w.server.Drain()
	if code, _ := w.get("/readyz"); code != 503 {
		t.Errorf("readyz of a draining server: %d", code)
	}
}

func TestBothListenersDoTheSame(t *testing.T) {
	w := newWorld(t, nil)
	token := w.token(hub.RoleAdmin, time.Time{})
	w.furnish(token)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	over := navev1.NewEnvironmentsClient(w.grpc)
	got, err := over.Get(ctx, &navev1.GetRequest{Name: "present"})
	must(t, err)
	put, err := over.Put(ctx, &navev1.PutEnvironmentRequest{Environment: got})
	must(t, err)
	if put.GetOutcome() != navev1.Outcome_OUTCOME_UNCHANGED || put.GetEnvironment().GetMeta().GetRevision() != 1 {
		t.Errorf("writing what was read: %v", put)
	}
	got.Spec.WarmPool++
	put, err = over.Put(ctx, &navev1.PutEnvironmentRequest{Environment: got})
	must(t, err)
	if put.GetOutcome() != navev1.Outcome_OUTCOME_UPDATED {
		t.Errorf("writing a change: %v", put)
	}
	a := w.post("/nave.v1.Environments/ListRevisions", "Bearer "+token, `{"name": "present", "page_size": 1}`)
	if items := a.Body["environments"].([]any); len(items) != 1 || a.Body["nextPageToken"] == nil {
		t.Errorf("the first page of revisions: %v", a)
	}
	stale := w.post("/nave.v1.Environments/Delete", "Bearer "+token, `{"name": "present", "etag": "`+got.GetMeta().GetEtag()+`"}`)
	if stale.Code != api.CodeConflict || stale.Field != "etag" {
		t.Errorf("deleting with the old etag: %v", stale)
	}
	inUse := w.post("/nave.v1.Environments/Delete", "Bearer "+token, `{"name": "present"}`)
	if inUse.Code != api.CodeInUse || !strings.Contains(inUse.Message, `Agent "present", Agent "unused"`) {
		t.Errorf("deleting what is in use: %v", inUse)
	}
}

func TestAnotherOrganizationDoesNotExist(t *testing.T) {
	w := newWorld(t, nil)
	w.furnish(w.token(hub.RoleAdmin, time.Time{}))
	token, hash, err := hub.NewToken(strings.NewReader(strings.Repeat("y", 32)))
	must(t, err)
	must(t, w.store.PutCredential(t.Context(), hash, hub.Credential{Org: "elsewhere", Subject: "x", Role: hub.RoleAdmin}))
	for name := range everyMethod() {
		if name == "System/Info" || name == "Enrollment/Enroll" {
			continue
		}
		good := row(goodRequests, name, nil)
		if good == nil {
			t.Errorf("there is no good request for %s", name)
			continue
		}
		body := *good
		named := strings.Replace(strings.Replace(body, "{", `{"organization": "default", `, 1), ", }", "}", 1)
		for _, inner := range []string{`"meta": {`, `"signals": [{`} {
			if strings.Contains(body, inner) {
				named = strings.Replace(body, inner, inner+`"organization": "default", `, 1)
			}
		}
		if a := w.call(everyMethod()[name], token, named); a.Code != api.CodeNotFound || a.Field != "organization" {
			t.Errorf("%s answered %v", name, a)
		}
	}
}

func TestManyCallersAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	token := w.token(hub.RoleAdmin, time.Time{})
	w.furnish(token)
	tasks := run.NewGroup(t.Context())
	for range 8 {
		tasks.Go("caller", func(ctx context.Context) error {
			for range 25 {
				md := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
				e, err := navev1.NewEnvironmentsClient(w.grpc).Get(md, &navev1.GetRequest{Name: "present"})
				if err != nil {
					return err
				}
				e.Spec.WarmPool = (e.Spec.WarmPool + 1) % 1000
				if _, err := navev1.NewEnvironmentsClient(w.grpc).Put(md, &navev1.PutEnvironmentRequest{Environment: e}); err != nil && grpcCode(t, err) != api.CodeConflict {
					return err
				}
			}
			return nil
		})
	}
	must(t, tasks.Wait())
	d, err := w.catalog.Definition(t.Context(), api.DefaultOrg, api.KindEnvironment, "present", 0)
	must(t, err)
	// Every accepted write was guarded by the etag that it read: each revision counts one up.
	if got := d.Spec.(*api.EnvironmentSpec).WarmPool; uint64(got) != d.Revision {
		t.Errorf("warm pool is %d at revision %d: a write was lost", got, d.Revision)
	}
}

package client_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/api/navev1/navev1connect"
	"github.com/nave-dev/nave/hub/client"
)

// flaky is a hub that is unavailable for the first calls of each kind.
type flaky struct {
	navev1connect.UnimplementedAgentsHandler
	navev1connect.UnimplementedSessionsHandler
	navev1connect.UnimplementedClustersHandler
	mu       sync.Mutex
	failures int
	calls    int
	orgs     []string
}

func (f *flaky) answer(org string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	f.orgs = append(f.orgs, org)
	if f.calls <= f.failures {
		return connect.NewError(connect.CodeUnavailable, http.ErrServerClosed)
	}
	return nil
}

func (f *flaky) Put(_ context.Context, r *navev1.PutAgentRequest) (*navev1.PutAgentResponse, error) {
	return &navev1.PutAgentResponse{}, f.answer(r.GetAgent().GetMeta().GetOrganization())
}

func (f *flaky) Signal(_ context.Context, r *navev1.SignalRequest) (*navev1.SignalResponse, error) {
	return &navev1.SignalResponse{}, f.answer(r.GetOrganization())
}

func (f *flaky) Update(_ context.Context, r *navev1.UpdateClusterRequest) (*navev1.UpdateClusterResponse, error) {
	return &navev1.UpdateClusterResponse{}, f.answer(r.GetCluster().GetMeta().GetOrganization())
}

type flakyAgents struct{ *flaky }

func (f flakyAgents) Delete(_ context.Context, r *navev1.DeleteRequest) (*navev1.DeleteResponse, error) {
	return &navev1.DeleteResponse{}, f.answer(r.GetOrganization())
}
func (f flakyAgents) Get(_ context.Context, r *navev1.GetRequest) (*navev1.Agent, error) {
	return &navev1.Agent{}, f.answer(r.GetOrganization())
}
func (f flakyAgents) List(context.Context, *navev1.ListRequest) (*navev1.ListAgentsResponse, error) {
	return &navev1.ListAgentsResponse{}, f.answer("")
}
func (f flakyAgents) ListRevisions(context.Context, *navev1.ListRevisionsRequest) (*navev1.ListAgentsResponse, error) {
	return &navev1.ListAgentsResponse{}, f.answer("")
}

type flakySessions struct {
	navev1connect.UnimplementedSessionsHandler
	f *flaky
}

func (s flakySessions) Signal(ctx context.Context, r *navev1.SignalRequest) (*navev1.SignalResponse, error) {
	return s.f.Signal(ctx, r)
}

func (s flakySessions) SignalMany(_ context.Context, r *navev1.SignalManyRequest) (*navev1.SignalManyResponse, error) {
	return &navev1.SignalManyResponse{}, s.f.answer(r.GetSignals()[0].GetOrganization())
}

func (s flakySessions) Cancel(_ context.Context, r *navev1.CancelRequest) (*navev1.CancelResponse, error) {
	return &navev1.CancelResponse{}, s.f.answer(r.GetOrganization())
}

type flakyApprovals struct {
	navev1connect.UnimplementedApprovalsHandler
	f *flaky
}

func (s flakyApprovals) Answer(_ context.Context, r *navev1.AnswerRequest) (*navev1.Approval, error) {
	return &navev1.Approval{}, s.f.answer(r.GetOrganization())
}

type flakySystem struct {
	navev1connect.UnimplementedSystemHandler
	f *flaky
}

func (s flakySystem) Status(_ context.Context, r *navev1.StatusRequest) (*navev1.StatusResponse, error) {
	return &navev1.StatusResponse{}, s.f.answer(r.GetOrganization())
}

type flakyClusters struct {
	navev1connect.UnimplementedClustersHandler
	f *flaky
}

func (s flakyClusters) Update(ctx context.Context, r *navev1.UpdateClusterRequest) (*navev1.UpdateClusterResponse, error) {
	return s.f.Update(ctx, r)
}

func TestCallsAreRepeatedOnlyWhenThatIsSafe(t *testing.T) {
	agent := func(etag string) *navev1.Agent { return &navev1.Agent{Meta: &navev1.Meta{Name: "a", Etag: etag}} }
	for _, tc := range []struct {
		name string
		call func(context.Context, *client.Client) error
		safe bool
	}{
		{"get", func(ctx context.Context, c *client.Client) error {
			_, err := c.Agents.Get(ctx, &navev1.GetRequest{Name: "a"})
			return err
		}, true},
		{"signal with key", func(ctx context.Context, c *client.Client) error {
			_, err := c.Sessions.Signal(ctx, &navev1.SignalRequest{IdempotencyKey: "k"})
			return err
		}, true},
		{"signal without key", func(ctx context.Context, c *client.Client) error {
			_, err := c.Sessions.Signal(ctx, &navev1.SignalRequest{})
			return err
		}, false},
		{"rehearsed signal", func(ctx context.Context, c *client.Client) error {
			_, err := c.Sessions.Signal(ctx, &navev1.SignalRequest{DryRun: true})
			return err
		}, true},
		{"signals with keys or rehearsed", func(ctx context.Context, c *client.Client) error {
			_, err := c.Sessions.SignalMany(ctx, &navev1.SignalManyRequest{Signals: []*navev1.SignalRequest{{IdempotencyKey: "k"}, {DryRun: true}}})
			return err
		}, true},
		{"signals of which one has no key", func(ctx context.Context, c *client.Client) error {
			_, err := c.Sessions.SignalMany(ctx, &navev1.SignalManyRequest{Signals: []*navev1.SignalRequest{{IdempotencyKey: "k"}, {}}})
			return err
		}, false},
		{"cancel", func(ctx context.Context, c *client.Client) error {
			_, err := c.Sessions.Cancel(ctx, &navev1.CancelRequest{SessionId: "s"})
			return err
		}, true},
		{"answer", func(ctx context.Context, c *client.Client) error {
			_, err := c.Approvals.Answer(ctx, &navev1.AnswerRequest{Id: "a"})
			return err
		}, true},
		{"status", func(ctx context.Context, c *client.Client) error {
			_, err := c.System.Status(ctx, &navev1.StatusRequest{})
			return err
		}, true},
		{"put", func(ctx context.Context, c *client.Client) error {
			_, err := c.Agents.Put(ctx, &navev1.PutAgentRequest{Agent: agent("")})
			return err
		}, true},
		{"guarded put", func(ctx context.Context, c *client.Client) error {
			_, err := c.Agents.Put(ctx, &navev1.PutAgentRequest{Agent: agent("7")})
			return err
		}, false},
		{"guarded put with request id", func(ctx context.Context, c *client.Client) error {
			_, err := c.Agents.Put(ctx, &navev1.PutAgentRequest{Agent: agent("7"), RequestId: client.NewKey()})
			return err
		}, true},
		{"create", func(ctx context.Context, c *client.Client) error {
			_, err := c.Agents.Put(ctx, &navev1.PutAgentRequest{Agent: agent(""), CreateOnly: true})
			return err
		}, false},
		{"guarded update", func(ctx context.Context, c *client.Client) error {
			_, err := c.Clusters.Update(ctx, &navev1.UpdateClusterRequest{Cluster: &navev1.Cluster{Meta: &navev1.Meta{Etag: "7"}}})
			return err
		}, false},
		{"delete", func(ctx context.Context, c *client.Client) error {
			_, err := c.Agents.Delete(ctx, &navev1.DeleteRequest{Name: "a"})
			return err
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &flaky{failures: 2}
			mux := http.NewServeMux()
			mux.Handle(navev1connect.NewAgentsHandler(flakyAgents{f}))
			mux.Handle(navev1connect.NewSessionsHandler(flakySessions{f: f}))
			mux.Handle(navev1connect.NewClustersHandler(flakyClusters{f: f}))
			mux.Handle(navev1connect.NewApprovalsHandler(flakyApprovals{f: f}))
			mux.Handle(navev1connect.NewSystemHandler(flakySystem{f: f}))
			err := tc.call(t.Context(), start(t, mux, nil))
			if tc.safe && (err != nil || f.calls != 3) {
				t.Errorf("%d calls, %v: want success at the third", f.calls, err)
			}
			if !tc.safe && (api.CodeOf(err) != api.CodeUnavailable || f.calls != 1) {
				t.Errorf("%d calls, %v: want one call and its error", f.calls, err)
			}
		})
	}
}

func TestRepetitionIsBounded(t *testing.T) {
	f := &flaky{failures: 1000}
	mux := http.NewServeMux()
	mux.Handle(navev1connect.NewAgentsHandler(flakyAgents{f}))
	_, err := start(t, mux, nil).Agents.Get(t.Context(), &navev1.GetRequest{Name: "a"})
	if api.CodeOf(err) != api.CodeUnavailable || f.calls != 6 {
		t.Errorf("%d calls, %v: want six and CodeUnavailable", f.calls, err)
	}
	f.calls = 0
	_, err = start(t, mux, func(c *client.Config) { c.Attempts = 1 }).Agents.Get(t.Context(), &navev1.GetRequest{Name: "a"})
	if api.CodeOf(err) != api.CodeUnavailable || f.calls != 1 {
		t.Errorf("%d calls, %v: want the one that was allowed", f.calls, err)
	}
}

// TestTheTimeOfACall: a call whose time ends while it is repeated says why it was repeated.
func TestTheTimeOfACall(t *testing.T) {
	f := &flaky{failures: 1000}
	mux := http.NewServeMux()
	slow := make(chan struct{})
	t.Cleanup(func() { close(slow) })
	agents, handler := navev1connect.NewAgentsHandler(flakyAgents{f})
	mux.HandleFunc(agents, func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		second := f.calls > 0
		f.mu.Unlock()
		if second {
			select {
			case <-slow:
			case <-r.Context().Done():
			}
			return
		}
		handler.ServeHTTP(w, r)
	})
	_, err := start(t, mux, func(c *client.Config) { c.Timeout = 500 * time.Millisecond }).Agents.Get(t.Context(), &navev1.GetRequest{Name: "a"})
	if api.CodeOf(err) != api.CodeUnavailable || !strings.Contains(err.Error(), http.ErrServerClosed.Error()) {
		t.Errorf("got %v", err)
	}
}

func TestOrganizationIsFilledIn(t *testing.T) {
	f := &flaky{}
	mux := http.NewServeMux()
	mux.Handle(navev1connect.NewAgentsHandler(flakyAgents{f}))
	c := start(t, mux, func(cfg *client.Config) { cfg.Organization = "acme" })
	_, err1 := c.Agents.Get(t.Context(), &navev1.GetRequest{Name: "a"})
	_, err2 := c.Agents.Get(t.Context(), &navev1.GetRequest{Name: "a", Organization: "other"})
	_, err3 := c.Agents.Put(t.Context(), &navev1.PutAgentRequest{Agent: &navev1.Agent{Meta: &navev1.Meta{Name: "a"}}})
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	if diff := cmp.Diff([]string{"acme", "other", "acme"}, f.orgs); diff != "" {
		t.Error(diff)
	}
}

func TestTokenTravels(t *testing.T) {
	var seen string
	mux := http.NewServeMux()
	path, h := navev1connect.NewSystemHandler(system{info: func(context.Context) (*navev1.InfoResponse, error) { return &navev1.InfoResponse{}, nil }})
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Get("Authorization")
		h.ServeHTTP(w, r)
	})
	c := start(t, mux, nil)
	if _, err := c.System.Info(t.Context(), &navev1.InfoRequest{}); err != nil {
		t.Fatal(err)
	}
	if seen != "Bearer secret-token" {
		t.Errorf("hub saw %q", seen)
	}
	if c.Authority() == nil {
		t.Error("the presented authority was not noted")
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	reached := false
	a := newAuthority(t, "thief")
	thief := a.serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }), leafOptions{}, a.cert)
	c := start(t, http.RedirectHandler(thief, http.StatusTemporaryRedirect), nil)
	if _, err := c.System.Info(t.Context(), &navev1.InfoRequest{}); err == nil {
		t.Error("a redirect was taken for an answer")
	}
	if reached {
		t.Error("the redirect was followed")
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, tc := range []struct {
		field string
		cfg   client.Config
	}{
		{"address", client.Config{}},
		{"address", client.Config{Address: "http://hub:1"}},
		{"address", client.Config{Address: "https://user:pw@hub:1"}},
		{"address", client.Config{Address: "https://hub:1/path"}},
		{"ca", client.Config{Address: "https://hub:1", CA: []byte("nonsense")}},
		{"token", client.Config{Address: "https://hub:1", Token: "a\r\nb"}},
		{"organization", client.Config{Address: "https://hub:1", Organization: "No Name"}},
		{"timeout", client.Config{Address: "https://hub:1", Timeout: -1}},
	} {
		if _, err := client.New(tc.cfg); api.FieldOf(err) != tc.field || api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("%+v: got %v, want field %q", tc.cfg, err, tc.field)
		}
	}
}

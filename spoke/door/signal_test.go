package door_test

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/door"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// sent is what a session sent.
type sent struct {
	Session api.SessionID
	Source  api.Source
	Signal  api.AgentSignal
}

// messenger takes signals.
type messenger struct {
	mu    sync.Mutex
	sent  []sent
	fail  error
	began chan struct{} // gets a token for each call, when it is not nil
	hold  chan struct{} // each call takes a token, when began is not nil

	under, most atomic.Int32
}

func (m *messenger) Signal(ctx context.Context, session api.SessionID, source api.Source, s api.AgentSignal) (api.Accepted, error) {
	n := m.under.Add(1)
	defer m.under.Add(-1)
	for old := m.most.Load(); n > old && !m.most.CompareAndSwap(old, n); old = m.most.Load() {
	}
	if m.began != nil {
		m.began <- struct{}{}
		select {
		case <-m.hold:
		case <-ctx.Done():
			return api.Accepted{}, ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent = append(m.sent, sent{session, source, s})
	return api.Accepted{Signal: "sig", Session: "other", Sequence: 7, Duplicate: true}, m.fail
}

func request() *harnessv1.SignalRequest {
	return &harnessv1.SignalRequest{Workload: id.String(), Agent: "reviewer", Key: "pr 7", Payload: []byte("look"), IdempotencyKey: "k"}
}

func TestSignalIsSentAsTheSessionOfItsHarness(t *testing.T) {
	m := &messenger{}
	d, c := open(t, &handler{}, func(c *door.Config) { c.Messenger = m })
	call := func(change func(*harnessv1.SignalRequest)) (*harnessv1.SignalResponse, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		r := request()
		if change != nil {
			change(r)
		}
		return c.Signal(ctx, r)
	}
	if _, err := call(nil); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "not attached") {
		t.Errorf("before it is attached: %v", err)
	}
	s := attach(t, c, hello())
	s.welcome()
	got, err := call(nil)
	if err != nil || got.SignalId != "sig" || got.SessionId != "other" || got.Sequence != 7 || !got.Duplicate {
		t.Errorf("answered %v, %v", got, err)
	}
	other := id
	other.Session = "01J00000000000000000000009"
	for _, tt := range []struct {
		what   string
		change func(*harnessv1.SignalRequest)
		code   codes.Code
	}{
		{"another's workload", func(r *harnessv1.SignalRequest) { r.Workload = other.String() }, codes.PermissionDenied},
		{"no workload", func(r *harnessv1.SignalRequest) { r.Workload = "" }, codes.InvalidArgument},
		{"no agent", func(r *harnessv1.SignalRequest) { r.Agent = "" }, codes.InvalidArgument},
		{"a bad key", func(r *harnessv1.SignalRequest) { r.Key = "a\nb" }, codes.InvalidArgument},
		{"a key of the hub", func(r *harnessv1.SignalRequest) { r.IdempotencyKey = "nave.approval/x" }, codes.InvalidArgument},
		{"a large payload", func(r *harnessv1.SignalRequest) { r.Payload = make([]byte, api.MaxPayload+1) }, codes.ResourceExhausted},
	} {
		if _, err := call(tt.change); status.Code(err) != tt.code {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
	want := []sent{{id.Session, id.Source(), api.AgentSignal{Agent: "reviewer", Key: "pr 7", Payload: []byte("look"), IdempotencyKey: "k"}}}
	if diff := cmp.Diff(want, m.sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	for code, want := range map[api.Code]codes.Code{api.CodeDenied: codes.PermissionDenied, api.CodeLimit: codes.ResourceExhausted, api.CodeNotFound: codes.NotFound,
		api.CodeExists: codes.AlreadyExists, api.CodeConflict: codes.Aborted, api.CodeUnavailable: codes.Unavailable, api.CodeInternal: codes.Internal} {
		m.fail = api.Errorf(code, "because of the moon")
		if _, err := call(nil); status.Code(err) != want || !strings.Contains(err.Error(), "because of the moon") {
			t.Errorf("%s: %v", code, err)
		}
	}
	d.Forget(id)
	if _, err := call(nil); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "not attached") {
		t.Errorf("cut off: %v", err)
	}
	_, c = open(t, &handler{}, nil)
	attach(t, c, hello()).welcome()
	if _, err := call(nil); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "no way") {
		t.Errorf("without a messenger: %v", err)
	}
}

// TestSignalsAreSentAFewAtATime: sixteen, and the others wait for their turn.
func TestSignalsAreSentAFewAtATime(t *testing.T) {
	const all, atOnce = 40, 16
	m := &messenger{began: make(chan struct{}, all), hold: make(chan struct{}, all)}
	socket := ""
	d, c := open(t, &handler{}, func(c *door.Config) { c.Messenger, socket = m, c.Socket })
	attach(t, c, hello()).welcome()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	g := run.NewGroup(ctx)
	for range all {
		g.Go("signal", func(ctx context.Context) error {
			cc, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				return err
			}
			defer cc.Close()
			_, err = harnessv1.NewHarnessClient(cc).Signal(ctx, request())
			return err
		})
	}
	for range atOnce {
		<-m.began
	}
	for d.SignalsWaiting() < all-atOnce {
		if ctx.Err() != nil {
			t.Fatalf("%d are under way, %d wait", m.under.Load(), d.SignalsWaiting())
		}
		runtime.Gosched()
	}
	for range all {
		m.hold <- struct{}{}
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if n := m.most.Load(); n != atOnce || len(m.sent) != all {
		t.Errorf("%d at a time, %d sent", n, len(m.sent))
	}
}

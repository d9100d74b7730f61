package local_test

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/harness/local"
)

// note is what was emitted.
type note struct {
	Text       string
	Attributes map[string]string
}

// backend keeps what it was asked.
type backend struct {
	mu      sync.Mutex
	signals []local.SignalRequest // guarded by mu
	notes   []note                // guarded by mu

	answer local.SignalAnswer
	err    error
	state  local.State
	hold   chan struct{} // when not nil a signal waits for it, or for its context
	inside chan struct{} // when not nil it gets a token for each signal that began
}

func (b *backend) Signal(ctx context.Context, r local.SignalRequest) (local.SignalAnswer, error) {
	b.mu.Lock()
	b.signals = append(b.signals, r)
	b.mu.Unlock()
	if b.inside != nil {
		b.inside <- struct{}{}
	}
	if b.hold != nil {
		select {
		case <-b.hold:
		case <-ctx.Done():
			return local.SignalAnswer{}, ctx.Err()
		}
	}
	return b.answer, b.err
}

func (b *backend) Emit(_ context.Context, text string, attributes map[string]string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notes = append(b.notes, note{text, attributes})
	return b.err
}

func (b *backend) State(context.Context) local.State { return b.state }

func (b *backend) got() ([]local.SignalRequest, []note) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.signals, b.notes
}

// serve runs a server until the test ends, or until the function that it returns is called.
func serve(t *testing.T, b *backend) (path string, stop func()) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "api.sock")
	s, err := local.New(local.Config{Path: path, Backend: b, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	g := run.NewGroup(t.Context())
	g.Go("server", s.Run)
	end := sync.OnceFunc(func() {
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	select {
	case <-s.Ready():
	case <-time.After(10 * time.Second):
		t.Fatal("the server does not listen")
	}
	return path, end
}

func TestCallsReachTheBackendAsTheyWereMade(t *testing.T) {
	b := &backend{answer: local.SignalAnswer{SignalID: "S", SessionID: "T", Sequence: 7, Duplicate: true},
		state: local.State{Session: "T", Key: "k", Agent: "a", Organization: "o", Cluster: "c", Workload: "w", Attempt: 2, Signals: []uint64{4, 5}, StateLost: true}}
	path, _ := serve(t, b)
	c := local.Dial(path)
	big := make([]byte, local.MaxPayload)
	want := []local.SignalRequest{
		{Agent: "reviewer", Key: "pr 7/ü", Payload: []byte("look at \x01\"this\"\n"), IdempotencyKey: "k1"},
		{Agent: "reviewer", Key: "k", Payload: []byte("\xff\x00\xfe")},
		{Agent: "reviewer", Key: "k", Payload: big},
		{Agent: "reviewer", Key: "k", Payload: []byte{}},
	}
	for _, r := range want {
		got, err := c.Signal(t.Context(), r)
		if err != nil || got != b.answer {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if err := c.Emit(t.Context(), "half done", map[string]string{"part": "1/2"}); err != nil {
		t.Fatal(err)
	}
	signals, notes := b.got()
	if diff := cmp.Diff(want, signals, cmp.Comparer(bytes.Equal)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]note{{"half done", map[string]string{"part": "1/2"}}}, notes); diff != "" {
		t.Error(diff)
	}
	st, err := c.State(t.Context())
	if diff := cmp.Diff(b.state, st); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestErrorsKeepTheirCodeFieldAndText(t *testing.T) {
	for _, code := range api.Codes() {
		b := &backend{err: &api.Error{Code: code, Field: "agent", Err: context.Canceled}}
		path, stop := serve(t, b)
		_, err := local.Dial(path).Signal(t.Context(), local.SignalRequest{Agent: "a", Key: "k"})
		if api.CodeOf(err) != code || api.FieldOf(err) != "agent" || err.Error() != "agent: context canceled" {
			t.Errorf("%s: %v", code, err)
		}
		stop()
	}
	_, err := local.Dial(filepath.Join(t.TempDir(), "none")).State(t.Context())
	if api.CodeOf(err) != api.CodeUnavailable {
		t.Error(err)
	}
}

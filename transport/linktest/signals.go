package linktest

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport/linkv1"
)

// signal is one that a session sends.
func signal(payload []byte) signalled {
	return signalled{Session: "s", Source: api.Source{Epoch: api.Epoch{Incarnation: 1, N: 2}, Attempt: 3},
		Signal: api.AgentSignal{Agent: "reviewer", Key: "pr 7", Payload: payload, IdempotencyKey: "k"}}
}

func (s *spoke) signal(ctx context.Context, m signalled) (api.Accepted, error) {
	return s.link.Signal(ctx, m.Session, m.Source, m.Signal)
}

// testSignal: what a session sends arrives as it is, and the answer too.
func testSignal(t *testing.T, n Network) {
	asked := make(chan signalled, 1)
	answer := api.Accepted{Signal: "sig", Session: "other", Sequence: 7, Duplicate: true}
	var refusal error
	s, _ := linked(t, n, &hub{signal: func(_ context.Context, m signalled) (api.Accepted, error) {
		asked <- m
		return answer, refusal
	}})
	for _, payload := range [][]byte{[]byte("look at this"), make([]byte, api.MaxPayload)} {
		want := signal(payload)
		got, err := s.signal(t.Context(), want)
		must(t, "signal", err)
		if d := cmp.Diff(want, next(t, "the signal", asked), cmp.Comparer(bytes.Equal)); d != "" {
			t.Errorf("the hub got (-want +got):\n%s", d)
		}
		if d := cmp.Diff(answer, got); d != "" {
			t.Errorf("the spoke got (-want +got):\n%s", d)
		}
	}
	for _, code := range api.Codes() {
		refusal = api.Errorf(code, "because of the moon")
		got, err := s.signal(t.Context(), signal(nil))
		next(t, "the signal", asked)
		if api.CodeOf(err) != code || !strings.Contains(err.Error(), "because of the moon") || got != (api.Accepted{}) {
			t.Errorf("%s came as %v, %v", code, got, err)
		}
	}
	if _, err := s.signal(t.Context(), signal(make([]byte, api.MaxPayload+1))); api.CodeOf(err) != api.CodeLimit {
		t.Errorf("a payload that is too large: %v", err)
	}
	if _, err := s.signal(t.Context(), signalled{}); api.CodeOf(err) != api.CodeInvalid {
		t.Errorf("of no session: %v", err)
	}
	if _, err := newSpoke(t, n).signal(t.Context(), signal(nil)); api.CodeOf(err) != api.CodeUnavailable {
		t.Errorf("without a link: %v", err)
	}
	c, _ := raw(t, n) // says no hello
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if _, err := c.Signal(ctx, &linkv1.SignalRequest{}); err == nil {
		t.Error("a message without a session was taken")
	}
	if len(asked) > 0 {
		t.Errorf("the hub was asked for %v", <-asked)
	}
}

// testSignalCutOff: a call ends with its caller and with its link, at both ends, and the next one goes over the next link.
func testSignalCutOff(t *testing.T, n Network) {
	began, over := make(chan struct{}, 9), make(chan error, 9)
	h := &hub{signal: func(ctx context.Context, m signalled) (api.Accepted, error) {
		if m.Signal.Key == "now" {
			return api.Accepted{Sequence: 1}, nil
		}
		began <- struct{}{}
		<-ctx.Done()
		over <- context.Cause(ctx)
		return api.Accepted{}, context.Cause(ctx)
	}}
	s, a := linked(t, n, h)
	cutOff(t, a, began, over, func(ctx context.Context) error {
		_, err := s.signal(ctx, signal(nil))
		return err
	})
	next(t, "the end", s.ends)
	h.link()
	next(t, "welcome", s.welcome)
	m := signal(nil)
	m.Signal.Key = "now"
	if got, err := s.signal(t.Context(), m); err != nil || got.Sequence != 1 {
		t.Errorf("over the next link: %+v, %v", got, err)
	}
}

// testSignalsAtOnce: more signals than the link takes are refused, and not kept waiting.
func testSignalsAtOnce(t *testing.T, n Network) {
	const atATime = 16
	began, goOn := make(chan struct{}, 2*atATime), make(chan struct{})
	s, _ := linked(t, n, &hub{signal: func(ctx context.Context, _ signalled) (api.Accepted, error) {
		began <- struct{}{}
		select {
		case <-goOn:
			return api.Accepted{}, nil
		case <-ctx.Done():
			return api.Accepted{}, context.Cause(ctx)
		}
	}})
	g := run.NewGroup(t.Context())
	for range atATime {
		g.Go("signal", func(ctx context.Context) error {
			_, err := s.signal(ctx, signal(nil))
			return err
		})
	}
	for range atATime {
		next(t, "a signal", began)
	}
	if _, err := s.signal(t.Context(), signal(nil)); api.CodeOf(err) != api.CodeLimit {
		t.Errorf("one more: %v", err)
	}
	close(goOn)
	must(t, "all signals", g.Wait())
	if _, err := s.signal(t.Context(), signal(nil)); err != nil {
		t.Errorf("after them: %v", err)
	}
}

// testDeltas: they arrive as they are, and never take the room of other messages.
func testDeltas(t *testing.T, n Network) {
	got := make(chan api.SpokeMessage, 1)
	s, _ := linked(t, n, &hub{take: func(ctx context.Context, m api.SpokeMessage) error {
		if len(m.Deltas) > 0 {
			got <- m
			return nil
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}})
	want := api.SpokeMessage{Deltas: []api.Delta{
		{Session: "s", Source: api.Source{Epoch: api.Epoch{Incarnation: 1, N: 2}, Attempt: 3}, Stream: "m1", Type: api.EventMessage, Offset: 9, Text: "hel"},
		{Session: "s", Source: api.Source{Epoch: api.Epoch{Incarnation: 1, N: 2}, Attempt: 3}, Stream: "m1", Type: api.EventMessage, Offset: 12, Text: strings.Repeat("l", api.MaxDeltaBytes)},
	}}
	must(t, "deltas", s.link.Send(want))
	if d := cmp.Diff(want, next(t, "deltas", got)); d != "" {
		t.Errorf("the hub got (-want +got):\n%s", d)
	}
	events := api.SpokeMessage{Events: []api.EventBatch{{Session: "s", Events: []api.Event{{SourceNumber: 1, Type: "log", Text: strings.Repeat("x", 32<<10)}}}}}
	var refused error
	for deadline := time.Now().Add(within); refused == nil && time.Now().Before(deadline); {
		must(t, "events", s.link.Send(events))
		refused = s.link.Send(want)
	}
	if api.CodeOf(refused) != api.CodeLimit {
		t.Fatalf("deltas join a queue that grows: %v", refused)
	}
	for i := range 700 {
		if err := s.link.Send(events); err != nil {
			t.Fatalf("message %d after deltas were refused: %v", i, err)
		}
	}
}

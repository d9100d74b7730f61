package client_test

import (
	"context"
	"net/http"
	"slices"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/api/navev1/navev1connect"
	"github.com/nave-dev/nave/hub/client"
)

func logClient(t *testing.T, h navev1connect.SessionsHandler) *client.Client {
	mux := http.NewServeMux()
	mux.Handle(navev1connect.NewSessionsHandler(h))
	return start(t, mux, nil)
}

func TestEndIsFound(t *testing.T) {
	for _, total := range []uint64{0, 1, 2, 63, 64, 65, 255, 256, 257, 1000, 100_000} {
		l := &eventLog{total: total}
		got, err := logClient(t, l).End(t.Context(), "S")
		if err != nil || got != total {
			t.Errorf("got %d, %v: want %d", got, err, total)
		}
		if l.opened > 30 {
			t.Errorf("%d calls for %d events", l.opened, total)
		}
	}
}

func TestBackReadsEachEventOnce(t *testing.T) {
	for _, tc := range []struct{ from, stop uint64 }{{0, 0}, {1, 0}, {256, 0}, {257, 0}, {600, 0}, {600, 300}, {600, 600}} {
		var got []uint64
		err := logClient(t, &eventLog{total: 600}).Back(t.Context(), "S", tc.from, func(events []*navev1.Event) bool {
			for _, e := range slices.Backward(events) {
				if got = append(got, e.GetNumber()); e.GetNumber() == tc.stop {
					return false
				}
			}
			return true
		})
		want := numbers(max(tc.stop, 1), tc.from)
		slices.Reverse(want)
		if err != nil || !cmp.Equal(want, got) {
			t.Errorf("from %d to %d: %v %s", tc.from, tc.stop, err, cmp.Diff(want, got))
		}
	}
	if err := logClient(t, navev1connect.UnimplementedSessionsHandler{}).Back(t.Context(), "S", 1, nil); api.CodeOf(err) != api.CodeUnsupported {
		t.Errorf("got %v", err)
	}
}

// deltaLog sends a delta in front of each of three events, and cuts the first stream after the second event.
type deltaLog struct {
	navev1connect.UnimplementedSessionsHandler
	opened int
}

func (l *deltaLog) Events(_ context.Context, r *navev1.EventsRequest, s *connect.ServerStream[navev1.Event]) error {
	l.opened++
	for n := r.GetFrom(); n <= 3; n++ {
		if r.GetDeltas() {
			if err := s.Send(&navev1.Event{Delta: &navev1.Delta{Stream: "m", Offset: n}}); err != nil {
				return err
			}
		}
		if l.opened == 1 && n == 3 {
			return connect.NewError(connect.CodeUnavailable, http.ErrServerClosed)
		}
		if err := s.Send(&navev1.Event{Number: n}); err != nil {
			return err
		}
	}
	return nil
}

func TestDeltasStandBetweenTheEventsAndAreNotCounted(t *testing.T) {
	for _, tc := range []struct {
		req  *navev1.EventsRequest
		want []int // a delta is below zero
	}{
		{&navev1.EventsRequest{Deltas: true}, []int{-1, 1, -2, 2, -3, -3, 3}},
		{&navev1.EventsRequest{Deltas: true, Limit: 2}, []int{-1, 1, -2, 2}},
		{&navev1.EventsRequest{}, []int{1, 2, 3}},
	} {
		var got []int
		err := logClient(t, &deltaLog{}).Follow(t.Context(), tc.req, func(e *navev1.Event) error {
			if d := e.GetDelta(); d != nil {
				got = append(got, -int(d.GetOffset()))
			} else {
				got = append(got, int(e.GetNumber()))
			}
			return nil
		})
		if err != nil || !cmp.Equal(tc.want, got) {
			t.Errorf("%v: %v, got %v, want %v", tc.req, err, got, tc.want)
		}
	}
	stopped := 0
	err := logClient(t, &deltaLog{}).Follow(t.Context(), &navev1.EventsRequest{Deltas: true}, func(*navev1.Event) error {
		stopped++
		return client.ErrStop
	})
	if err != nil || stopped != 1 {
		t.Errorf("%d deltas, %v: a delta did not stop it", stopped, err)
	}
}

package client_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/api/navev1/navev1connect"
	"github.com/nave-dev/nave/hub/client"
)

// log serves one session's events and breaks streams as the test says.
type eventLog struct {
	navev1connect.UnimplementedSessionsHandler
	total  uint64
	cuts   []uint64 // stream i ends as unavailable after this many events
	shift  uint64   // added to every number from the second stream on: a planted gap
	opened int
}

func (l *eventLog) Events(_ context.Context, r *navev1.EventsRequest, s *connect.ServerStream[navev1.Event]) error {
	l.opened++
	sent := uint64(0)
	for n := r.GetFrom(); n <= l.total && (r.GetLimit() == 0 || sent < uint64(r.GetLimit())); n++ {
		if l.opened <= len(l.cuts) && sent == l.cuts[l.opened-1] {
			return connect.NewError(connect.CodeUnavailable, errors.New("cut"))
		}
		e := &navev1.Event{SessionId: r.GetSessionId(), Number: n}
		if l.opened > 1 {
			e.Number += l.shift
		}
		if err := s.Send(e); err != nil {
			return err
		}
		sent++
	}
	if l.opened <= len(l.cuts) {
		return connect.NewError(connect.CodeUnavailable, errors.New("cut"))
	}
	return nil
}

func follow(t *testing.T, l *eventLog, req *navev1.EventsRequest, upTo uint64) ([]uint64, error) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(navev1connect.NewSessionsHandler(l))
	var got []uint64
	err := start(t, mux, nil).Follow(t.Context(), req, func(e *navev1.Event) error {
		got = append(got, e.GetNumber())
		if e.GetNumber() == upTo {
			return client.ErrStop
		}
		return nil
	})
	return got, err
}

func numbers(from, to uint64) []uint64 {
	var out []uint64
	for n := from; n <= to; n++ {
		out = append(out, n)
	}
	return out
}

func TestFollowIsDenseAcrossCuts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := &eventLog{total: rapid.Uint64Range(0, 20).Draw(rt, "total"), cuts: rapid.SliceOfN(rapid.Uint64Range(0, 5), 0, 2).Draw(rt, "cuts")}
		from := rapid.Uint64Range(0, 3).Draw(rt, "from")
		limit := rapid.Uint32Range(0, 25).Draw(rt, "limit")
		want := numbers(max(from, 1), l.total)
		if limit > 0 && len(want) > int(limit) {
			want = want[:limit]
		}
		got, err := follow(t, l, &navev1.EventsRequest{SessionId: "S", From: from, Limit: limit}, 0)
		if err != nil || !cmp.Equal(want, got) {
			rt.Fatalf("%v %s", err, cmp.Diff(want, got))
		}
	})
}

func TestFollowStaysAndStops(t *testing.T) {
	l := &eventLog{total: 6, cuts: []uint64{2, 0, 2}}
	got, err := follow(t, l, &navev1.EventsRequest{SessionId: "S", Follow: true}, 6)
	if err != nil || !cmp.Equal(numbers(1, 6), got) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestFollowRefusesAGap(t *testing.T) {
	for _, shift := range []uint64{1, ^uint64(0)} { // one too high, one too low
		l := &eventLog{total: 9, cuts: []uint64{3}, shift: shift}
		got, err := follow(t, l, &navev1.EventsRequest{SessionId: "S"}, 0)
		if api.CodeOf(err) != api.CodeInternal || !cmp.Equal(numbers(1, 3), got) {
			t.Errorf("got %v, %v: want three events and CodeInternal", got, err)
		}
	}
}

func TestFollowGivesUp(t *testing.T) {
	l := &eventLog{total: 3, cuts: make([]uint64, 100)}
	_, err := follow(t, l, &navev1.EventsRequest{SessionId: "S", Follow: true}, 0)
	if api.CodeOf(err) != api.CodeUnavailable || l.opened != 10 {
		t.Errorf("%d streams, %v", l.opened, err)
	}
}

func TestFollowPassesErrors(t *testing.T) {
	boom := errors.New("boom")
	mux := http.NewServeMux()
	mux.Handle(navev1connect.NewSessionsHandler(&eventLog{total: 3}))
	if err := start(t, mux, nil).Follow(t.Context(), &navev1.EventsRequest{}, func(*navev1.Event) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if err := start(t, http.NotFoundHandler(), nil).Follow(t.Context(), &navev1.EventsRequest{}, func(*navev1.Event) error { return nil }); err == nil {
		t.Error("an unknown method was no error")
	}
}

func TestCollect(t *testing.T) {
	pages := map[string][]int{"": {1, 2}, "a": {3}, "b": {}}
	next := map[string]string{"": "a", "a": "b"}
	got, err := client.Collect(t.Context(), func(_ context.Context, token string) ([]int, string, error) { return pages[token], next[token], nil })
	if err != nil || !cmp.Equal([]int{1, 2, 3}, got) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := client.Collect(t.Context(), func(context.Context, string) ([]int, string, error) { return nil, "same", nil }); api.CodeOf(err) != api.CodeInternal {
		t.Errorf("a page that repeats itself: %v", err)
	}
}

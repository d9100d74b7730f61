package linktest

import (
	"context"
	"slices"
	"testing"

	"github.com/nave-dev/nave/api"
)

// testEnded: the hub's answer comes as it is; one that names what nobody asked about is refused, an error is an error.
func testEnded(t *testing.T, n Network) {
	asked := make(chan []api.SessionID, 1)
	var answer []api.SessionID
	var refusal error
	s, _ := linked(t, n, &hub{ended: func(_ context.Context, ids []api.SessionID) ([]api.SessionID, error) {
		asked <- ids
		return answer, refusal
	}})
	ids := []api.SessionID{"a", "b", "c"}
	for _, answer = range [][]api.SessionID{nil, {"b"}, ids} {
		got, err := s.link.Ended(t.Context(), ids)
		must(t, "ended", err)
		if in := next(t, "the question", asked); !slices.Equal(in, ids) || !slices.Equal(got, answer) {
			t.Errorf("asked %v, which came as %v; answered %v, which came as %v", ids, in, answer, got)
		}
	}
	answer = []api.SessionID{"d"}
	if got, err := s.link.Ended(t.Context(), ids); api.CodeOf(err) != api.CodeInvalid || len(got) > 0 {
		t.Errorf("an answer that names another session: %v, %v", got, err)
	}
	next(t, "the question", asked)
	answer, refusal = ids, api.Errorf(api.CodeUnavailable, "the archive does not answer")
	if got, err := s.link.Ended(t.Context(), ids); api.CodeOf(err) != api.CodeUnavailable || len(got) > 0 {
		t.Errorf("an error: %v, %v", got, err)
	}
	next(t, "the question", asked)
	if _, err := s.link.Ended(t.Context(), make([]api.SessionID, api.MaxEnded+1)); api.CodeOf(err) != api.CodeInvalid || len(asked) > 0 {
		t.Errorf("too many sessions: %v", err)
	}
}

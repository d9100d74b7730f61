package linktest

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
)

// testFates: the hub's answer comes as it is; one that names what nobody asked about, or a session twice, is refused, an error is
// an error. A hub of before knows no sessions that moved: it says nothing of them.
func testFates(t *testing.T, n Network) {
	asked := make(chan []api.SessionID, 1)
	var answer api.Fates
	var refusal error
	s, _ := linked(t, n, &hub{fates: func(_ context.Context, ids []api.SessionID) (api.Fates, error) {
		asked <- ids
		return answer, refusal
	}})
	ids := []api.SessionID{"a", "b", "c"}
	for _, answer = range []api.Fates{{}, {Ended: []api.SessionID{"b"}}, {Moved: []api.SessionID{"b"}}, {Ended: ids[1:], Moved: ids[:1]}, {Ended: ids}, {Moved: ids}} {
		got, err := s.link.Fates(t.Context(), ids)
		must(t, "fates", err)
		if in := next(t, "the question", asked); !slices.Equal(in, ids) || !cmp.Equal(got, answer) {
			t.Errorf("asked %v, which came as %v; answered %v, which came as %v", ids, in, answer, got)
		}
	}
	for what, bad := range map[string]api.Fates{
		"another session ended": {Ended: []api.SessionID{"d"}},
		"another session moved": {Ended: ids[:1], Moved: []api.SessionID{"d"}},
		"both of one session":   {Ended: ids[:2], Moved: ids[1:]},
	} {
		answer = bad
		if got, err := s.link.Fates(t.Context(), ids); api.CodeOf(err) != api.CodeInvalid || !cmp.Equal(got, api.Fates{}) {
			t.Errorf("%s: %v, %v", what, got, err)
		}
		next(t, "the question", asked)
	}
	answer, refusal = api.Fates{Ended: ids}, api.Errorf(api.CodeUnavailable, "the archive does not answer")
	if got, err := s.link.Fates(t.Context(), ids); api.CodeOf(err) != api.CodeUnavailable || !cmp.Equal(got, api.Fates{}) {
		t.Errorf("an error: %v, %v", got, err)
	}
	next(t, "the question", asked)
	if _, err := s.link.Fates(t.Context(), make([]api.SessionID, api.MaxFates+1)); api.CodeOf(err) != api.CodeInvalid || len(asked) > 0 {
		t.Errorf("too many sessions: %v", err)
	}
}

package api_test

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/nave-dev/nave/api"
)

// TestPhaseTransitions walks all pairs: the table in the comment and the table as data are the same.
func TestPhaseTransitions(t *testing.T) {
	source, err := os.ReadFile("session.go")
	if err != nil {
		t.Fatal(err)
	}
	written := map[[2]api.Phase]bool{}
	for _, m := range regexp.MustCompile(`(?m)^//\t([A-Z][a-z]+) +([A-Z][a-z]+) +\S`).FindAllStringSubmatch(string(source), -1) {
		written[[2]api.Phase{api.Phase(m[1]), api.Phase(m[2])}] = true
	}
	if len(written) < 16 {
		t.Fatalf("the comment's table has %d rows, at least 16 are known", len(written))
	}
	if len(api.PhaseTransitions) != len(api.Phases()) {
		t.Errorf("%d phases have rows, there are %d", len(api.PhaseTransitions), len(api.Phases()))
	}
	rows := 0
	for _, from := range api.Phases() {
		for _, to := range api.Phases() {
			legal := slices.Contains(api.PhaseTransitions[from], to)
			if legal != written[[2]api.Phase{from, to}] {
				t.Errorf("%s to %s: data says %t, the comment %t", from, to, legal, !legal)
			}
			if legal {
				rows++
			}
			if legal && from == to {
				t.Errorf("%s to itself is no change", from)
			}
			if !reachable(from, to) {
				t.Errorf("%s is never reached from %s", to, from)
			}
		}
	}
	if rows != len(written) {
		t.Errorf("the comment has %d rows, the data %d", len(written), rows)
	}
	// A workload is confirmed gone before the session sleeps; one that was not placed has none.
	for from, tos := range api.PhaseTransitions {
		if slices.Contains(tos, api.PhaseDormant) && from != api.PhaseStopping && from != api.PhasePlacing {
			t.Errorf("%s goes to sleep without stopping", from)
		}
	}
}

func reachable(from, to api.Phase) bool {
	seen := map[api.Phase]bool{from: true}
	for next := []api.Phase{from}; len(next) > 0; next = next[1:] {
		for _, p := range api.PhaseTransitions[next[0]] {
			if !seen[p] {
				seen[p] = true
				next = append(next, p)
			}
		}
	}
	return seen[to]
}

func TestCodesAndReasonsAreDistinct(t *testing.T) {
	codes, reasons := api.Codes(), api.Reasons()
	slices.Sort(codes)
	slices.Sort(reasons)
	if len(slices.Compact(codes)) != 12 || len(slices.Compact(reasons)) != 8 {
		t.Errorf("codes %v, reasons %v", codes, reasons)
	}
}

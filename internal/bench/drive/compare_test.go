package drive

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nave-dev/nave/internal/bench/measure"
)

func of(name string, figures ...measure.Figure) result {
	return result{scenario: measure.Scenario{Name: name}, figures: figures}
}

func TestRatiosAreCompared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ratios.json")
	cost := func(v float64) measure.Figure { return measure.Figure{Name: "cost", Value: v, Floor: 2, Gate: true} }
	rate := measure.Figure{Name: "rate", Value: 50, Floor: 100, More: true, Gate: true}
	if err := keepRatios(path, []result{of("a", cost(4), rate, measure.Figure{Name: "tail", Value: 9, Floor: 1}), of("b", cost(2))}); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		results []result
		want    string // in the error; empty: none
	}{
		{"the same", []result{of("a", cost(4), rate), of("b", cost(2))}, ""},
		{"one scenario alone", []result{of("b", cost(2))}, ""},
		{"as bad as may be", []result{of("b", cost(3))}, ""},
		{"worse", []result{of("b", cost(3.1))}, "b: cost: worse: 1.55 times"},
		{"a tail is not compared", []result{of("a", cost(4), rate, measure.Figure{Name: "tail", Value: 99, Floor: 1})}, ""},
		{"not measured", []result{of("a", cost(4))}, "a: rate: not measured"},
		{"measured as nothing", []result{of("b", cost(0))}, "b: cost: not measured"},
		{"not committed", []result{of("b", cost(2), rate)}, "b: rate: not committed"},
		{"nothing", []result{of("c")}, "nothing was compared"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := compareRatios(io.Discard, path, tt.results)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	if err := keepRatios(path, []result{of("b", cost(8))}); err != nil {
		t.Fatal(err)
	}
	kept, err := readRatios(path)
	if err != nil || len(kept) != 3 || kept["a: cost"] != 2 || kept["b: cost"] != 4 {
		t.Errorf("kept %v, %v", kept, err)
	}
}

func TestPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	page := "# Title\n\n<!-- figures of a: written by `make bench` -->\nold\n<!-- end of figures -->\n\nwords\n"
	if err := os.WriteFile(path, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	f := measure.Figure{Name: "cost", Unit: "ms", Value: 3, Floor: 2, Target: 1}
	r := of("a", f)
	r.late = measure.Samples{time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond}
	if err := writePage(path, "bench", measure.Machine{}, []result{r}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := string(b)
	if strings.Contains(got, "old") || !strings.HasSuffix(got, "\n<!-- end of figures -->\n\nwords\n") ||
		!strings.Contains(got, "| cost | 3.00 ms | 2.00 ms | 1.50 | 1.00 ms | not reached |\n") || !strings.Contains(got, "`make bench RUN=a`") ||
		!strings.Contains(got, "; lateness of the generator, p50 and p99: 2.00 ms, 3.00 ms.\n") {
		t.Errorf("page:\n%s", got)
	}
	if err := writePage(path, "bench", measure.Machine{}, []result{of("b", f)}); err == nil || !strings.Contains(err.Error(), "no place for the figures of b") {
		t.Errorf("error %v", err)
	}
}

func TestOptions(t *testing.T) {
	bench := Config{Name: "bench", Scenarios: []measure.Scenario{{Name: "sync"}}}
	for _, args := range [][]string{{"x"}, {"--keep"}, {"--quick", "--page", "p"}, {"--only", "x", "--page", "p"}, {"--only", "x", "--ratios", "p"}, {"--nothing"}} {
		if _, err := bench.parse(args); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
	if _, err := bench.chosen("sync,none"); err == nil || !strings.Contains(err.Error(), `no scenario "none"; there are sync`) {
		t.Errorf("error %v", err)
	}
}

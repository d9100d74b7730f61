package drive

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/nave-dev/nave/internal/bench/measure"
)

// bound is how many times its committed ratio a figure may cost.
const bound = 1.5

// ratios of the figures that are compared, by scenario and figure.
func ratios(results []result) map[string]float64 {
	out := make(map[string]float64)
	for _, r := range results {
		for _, f := range r.figures {
			if f.Gate {
				out[r.scenario.Name+": "+f.Name] = f.Ratio()
			}
		}
	}
	return out
}

// keepRatios writes the ratios of a run. Those of scenarios that did not run stay.
func keepRatios(path string, results []result) error {
	kept, err := readRatios(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	if kept == nil {
		kept = make(map[string]float64)
	}
	maps.DeleteFunc(kept, func(name string, _ float64) bool { return ran(results, name) })
	for name, ratio := range ratios(results) {
		kept[name] = float64(int(ratio*100+0.5)) / 100
	}
	b, err := json.MarshalIndent(kept, "", "  ") // sorted by name
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

func readRatios(path string) (map[string]float64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var kept map[string]float64
	if err := json.Unmarshal(b, &kept); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return kept, nil
}

// ran reports whether a figure's scenario is among the results.
func ran(results []result, name string) bool {
	return slices.ContainsFunc(results, func(r result) bool { return strings.HasPrefix(name, r.scenario.Name+": ") })
}

// compareRatios prints the ratios beside the committed ones and fails when one is past the bound, when a committed one was not
// measured, or when one was measured that is not committed.
func compareRatios(w io.Writer, path string, results []result) error {
	kept, err := readRatios(path)
	if err != nil {
		return err
	}
	maps.DeleteFunc(kept, func(name string, _ float64) bool { return !ran(results, name) })
	now := ratios(results)
	names := slices.Sorted(maps.Keys(merged(kept, now)))
	var wrong []string
	for _, name := range names {
		was, is := kept[name], now[name]
		word := "good"
		switch {
		case was == 0:
			word = "not committed: run with --keep"
		case is == 0:
			word = "not measured"
		case is > was*bound:
			word = fmt.Sprintf("worse: %s times the committed one, at most %s are allowed", measure.Number(is/was), measure.Number(bound))
		}
		if word != "good" {
			wrong = append(wrong, name+": "+word)
		}
		fmt.Fprintf(w, "  %-60s  committed %8s  now %8s  %s\n", name, measure.Number(was), measure.Number(is), word)
	}
	if len(names) == 0 {
		wrong = append(wrong, "nothing was compared")
	}
	if len(wrong) > 0 {
		return fmt.Errorf("ratios:\n  %s", strings.Join(wrong, "\n  "))
	}
	return nil
}

func merged(a, b map[string]float64) map[string]float64 {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

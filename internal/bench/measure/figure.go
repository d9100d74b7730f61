package measure

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Figure is one result.
type Figure struct {
	Name   string  `json:"name"`             // of what, under which load: "unary at 1,000/s, p50". Unique in its scenario.
	Unit   string  `json:"unit"`             // ms, /s, KiB, MiB, s, B/s
	Value  float64 `json:"value"`            // in Unit
	Floor  float64 `json:"floor,omitempty"`  // in Unit, measured in the same run; 0: there is none
	Target float64 `json:"target,omitempty"` // in Unit, what is to be reached; 0: nothing was promised
	More   bool    `json:"more,omitempty"`   // more is better
	Gate   bool    `json:"gate,omitempty"`   // its ratio is compared with the committed one
}

// Ratio is how many times the floor's cost it costs: value to floor, or floor to value where more is better. 0: there is no
// floor.
func (f Figure) Ratio() float64 {
	switch {
	case f.Floor == 0 || f.Value == 0:
		return 0
	case f.More:
		return f.Floor / f.Value
	}
	return f.Value / f.Floor
}

// Reached reports whether the target holds. One that has none holds.
func (f Figure) Reached() bool {
	return f.Target == 0 || f.More && f.Value >= f.Target || !f.More && f.Value <= f.Target
}

// Scenario measures one path.
type Scenario struct {
	Name  string // one word
	About string // a sentence: the path, and what its floor does
	Run   func(ctx context.Context, b *Bench) error
}

// Bench is what a scenario is given, and where it puts its figures. It belongs to the goroutine of Run.
type Bench struct {
	Bin    string       // folder of the programs that `make build` made, absolute
	Dir    string       // empty folder of this scenario alone, absolute and short; removed afterwards
	Self   string       // path of the program that runs, for floors in processes of their own
	Seed   uint64       // for whatever is chosen
	Only   []string     // parts of the scenario that are measured; empty: all
	Quick  bool         // a short form, whose ratios are compared in CI: seconds instead of minutes, fewer sizes
	Log    *slog.Logger // progress, for people
	Folder string       // where profiles are kept; empty: none are wanted

	Figures []Figure
	Late    Samples // of all open loops: from when a call was due until it was made
}

// OpenLoop is [OpenLoop], and keeps how late its calls were.
func (b *Bench) OpenLoop(ctx context.Context, rate float64, during time.Duration, call func(ctx context.Context, n int) error) (Result, error) {
	r, err := OpenLoop(ctx, rate, during, call)
	b.Late = append(b.Late, r.Late...)
	return r, err
}

// Report adds a figure and shows it.
func (b *Bench) Report(f Figure) {
	b.Figures = append(b.Figures, f)
	attrs := []any{"value", Number(f.Value) + " " + f.Unit}
	if r := f.Ratio(); r != 0 {
		attrs = append(attrs, "floor", Number(f.Floor)+" "+f.Unit, "ratio", Number(r))
	}
	if f.Target != 0 {
		attrs = append(attrs, "target", Number(f.Target)+" "+f.Unit, "reached", f.Reached())
	}
	b.Log.Info(f.Name, attrs...)
}

// Latency reports the percentiles of a run beside those of its floor. Targets of 0 are none. The median alone is compared
// between runs: tails of short runs are noise.
func (b *Bench) Latency(name string, run, floor Samples, p50, p99 time.Duration, gate bool) {
	b.Report(Figure{Name: name + ", p50", Unit: "ms", Value: Ms(run.At(0.50)), Floor: Ms(floor.At(0.50)), Target: Ms(p50), Gate: gate})
	b.Report(Figure{Name: name + ", p99", Unit: "ms", Value: Ms(run.At(0.99)), Floor: Ms(floor.At(0.99)), Target: Ms(p99)})
}

// Skips reports whether a part of the scenario is left out, for those who look at others alone.
func (b *Bench) Skips(part string) bool { return len(b.Only) > 0 && !slices.Contains(b.Only, part) }

// Long is a duration in the full form, or its short form.
func (b *Bench) Long(full, quick time.Duration) time.Duration {
	if b.Quick {
		return quick
	}
	return full
}

// Many is a number in the full form, or in the short form.
func (b *Bench) Many(full, quick int) int {
	if b.Quick {
		return quick
	}
	return full
}

// Subdir makes a folder of the scenario.
func (b *Bench) Subdir(name string) (string, error) {
	dir := filepath.Join(b.Dir, name)
	return dir, os.MkdirAll(dir, 0o700)
}

// Ms is a duration in milliseconds.
func Ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Number renders a figure with three digits that count.
func Number(v float64) string {
	switch {
	case v >= 1000 || v <= -1000:
		s := fmt.Sprintf("%.0f", v)
		for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1 || v == 0:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// Samples are latencies.
type Samples []time.Duration

// At is the sample below which the share q (0 to 1) of all samples lies. Without samples it is 0.
func (s Samples) At(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	if !slices.IsSorted(s) {
		slices.Sort(s)
	}
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

// Median is the middle one of some numbers; of an even count the mean of the two in the middle.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Clone(v)
	slices.Sort(v)
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// Slope is the growth of y per unit of x, by least squares.
func Slope(x, y []float64) float64 {
	var mx, my, xy, xx float64
	for i := range x {
		mx, my = mx+x[i]/float64(len(x)), my+y[i]/float64(len(x))
	}
	for i := range x {
		xy, xx = xy+(x[i]-mx)*(y[i]-my), xx+(x[i]-mx)*(x[i]-mx)
	}
	if xx == 0 {
		return 0
	}
	return xy / xx
}

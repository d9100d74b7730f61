package drive

import (
	"fmt"
	"strings"
	"time"

	"github.com/nave-dev/nave/internal/bench/measure"
)

// machine renders what a run was made on.
func machine(m measure.Machine) string {
	return fmt.Sprintf("%s, %d cores, %s, Linux %s, %s; %s, revision %s, seed %d; load at the start %s\nsync to the disk (2 KiB, p50 and p99): %s; every store syncs\n",
		m.Processor, m.Cores, m.Memory, m.Kernel, m.Go, m.Date, m.Revision, m.Seed, m.Load, m.Sync)
}

// columns of every table.
var columns = []string{"figure", "value", "floor", "ratio", "target", ""}

func row(f measure.Figure) []string {
	out := []string{f.Name, measure.Number(f.Value) + " " + f.Unit, "", "", "", ""}
	if r := f.Ratio(); r != 0 {
		out[2], out[3] = measure.Number(f.Floor)+" "+f.Unit, measure.Number(r)
	}
	if f.Target != 0 {
		out[4], out[5] = measure.Number(f.Target)+" "+f.Unit, "reached"
		if !f.Reached() {
			out[5] = "not reached"
		}
	}
	return out
}

// table renders the figures of a scenario for a terminal.
func table(r result) string {
	rows := [][]string{columns}
	for _, f := range r.figures {
		rows = append(rows, row(f))
	}
	width := make([]int, len(columns))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		line := fmt.Sprintf("  %-*s", width[0], row[0])
		for i, cell := range row[1:] {
			line += fmt.Sprintf("  %*s", width[i+1], cell)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	if l := lateness(r); l != "" {
		b.WriteString("  " + l + "\n")
	}
	fmt.Fprintf(&b, "  (%s, in %s)\n", r.scenario.Name, r.took.Round(time.Second))
	return b.String()
}

// lateness renders how late the generators of a scenario were. Latencies have it in them. Without a generator it is empty.
func lateness(r result) string {
	if len(r.late) == 0 {
		return ""
	}
	return fmt.Sprintf("lateness of the generator, p50 and p99: %s ms, %s ms", measure.Number(measure.Ms(r.late.At(0.5))), measure.Number(measure.Ms(r.late.At(0.99))))
}

// markdown renders them for a page.
func markdown(r result) string {
	var b strings.Builder
	b.WriteString("| figure | value | floor | ratio | target | |\n|---|---|---|---|---|---|\n")
	for _, f := range r.figures {
		b.WriteString("| " + strings.Join(row(f), " | ") + " |\n")
	}
	return b.String()
}

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// unit is how a figure is printed.
type unit string

const (
	count     unit = "count"
	bytesUnit unit = "bytes"
)

// Bounds: what may be there after a load beyond what was there before, at once and per cycle. A leak of one in ten cycles is
// past every one of them at 1,000 cycles. The slack of the heap has in it what an embedded etcd keeps by design: the last 5,000
// entries of its log, some 4 MiB of them here, and the index of what is not compacted yet.
const (
	none              = 0
	few               = 8
	goroutineSlack    = 20
	threadSlack       = 20
	heapSlack         = 6 << 20
	heapPerCycle      = 1 << 10
	anonymousSlack    = 48 << 20 // the collector gives memory back when it likes
	anonymousPerCycle = 8 << 10
	history           = -1 // grows by design: shown, not judged
)

// figure is one thing that was counted.
type figure struct {
	name   string
	value  int64
	unit   unit
	slack  int64   // history: not judged
	cycles float64 // beyond that, for each cycle
}

// table is one look at everything.
type table struct {
	figures []figure
	stacks  map[string]stacks // by program
}

func newTable() *table { return &table{stacks: map[string]stacks{}} }

func (t *table) add(name string, value int64, u unit, slack int64, perCycle float64) {
	t.figures = append(t.figures, figure{name, value, u, slack, perCycle})
}

func (t *table) value(name string) (int64, bool) {
	i := slices.IndexFunc(t.figures, func(f figure) bool { return f.name == name })
	if i < 0 {
		return 0, false
	}
	return t.figures[i].value, true
}

// line is a figure before and after.
type line struct {
	figure
	before, bound int64
}

func (l line) judged() bool { return l.slack != history }
func (l line) good() bool   { return !l.judged() || l.value <= l.bound }

// compare puts what was there before beside each figure. What was not there counts as none.
func (t *table) compare(before *table, cycles int) []line {
	var out []line
	for _, f := range t.figures {
		was, _ := before.value(f.name)
		out = append(out, line{f, was, was + f.slack + int64(f.cycles*float64(cycles))})
	}
	return out
}

// grown lists the figures that are past their bounds.
func grown(lines []line) []line {
	return slices.DeleteFunc(slices.Clone(lines), line.good)
}

// show prints the lines as a table.
func show(w io.Writer, lines []line, cycles int) {
	fmt.Fprintf(w, "%-46s %12s %12s %12s %12s  %s\n", "figure", "before", "after", "per cycle", "bound", "verdict")
	for _, l := range lines {
		bound, verdict := l.unit.text(l.bound), "holds"
		switch {
		case !l.judged():
			bound, verdict = "-", "history"
		case !l.good():
			verdict = "GROWS"
		}
		fmt.Fprintf(w, "%-46s %12s %12s %12s %12s  %s\n", l.name, l.unit.text(l.before), l.unit.text(l.value), l.unit.rate(l.value-l.before, cycles), bound, verdict)
	}
}

func (u unit) text(n int64) string {
	if u == bytesUnit {
		return fmt.Sprintf("%.2f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprint(n)
}

func (u unit) rate(n int64, cycles int) string {
	per := float64(n) / float64(max(1, cycles))
	if u == bytesUnit {
		return fmt.Sprintf("%+.0f B", per)
	}
	return strings.TrimSuffix(fmt.Sprintf("%+.3f", per), ".000")
}

package main

import (
	"fmt"
	"io"
	"math"
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
	countSlope        = 0.1     // in each cycle, between any two looks of a run
	heapSlope         = 1 << 10 // the same, in bytes
	hubHeapSlope      = 2 << 10 // of the hub, which was seen to gain one and a half KiB in each of 240 cycles
	history           = -1      // grows by design: shown, not judged
)

// figure is one thing that was counted.
type figure struct {
	name   string
	value  int64
	unit   unit
	slack  int64   // history: not judged
	cycles float64 // beyond that, for each cycle
	slope  float64 // the most that may be added in each cycle between all looks; 0: not judged
}

// table is one look at everything.
type table struct {
	figures []figure
	stacks  map[string]stacks // by program
}

func newTable() *table { return &table{stacks: map[string]stacks{}} }

func (t *table) add(name string, value int64, u unit, slack int64, perCycle float64) *figure {
	t.figures = append(t.figures, figure{name: name, value: value, unit: u, slack: slack, cycles: perCycle})
	return &t.figures[len(t.figures)-1]
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
	least         float64 // what was added in a cycle between those two looks where it was the least
}

func (l line) judged() bool { return l.slack != history }
func (l line) good() bool   { return !l.judged() || l.value <= l.bound && !l.steady() }

// steady tells that the figure rose from each look to the next, as a leak does: what fills up, or comes and goes, does not.
func (l line) steady() bool { return l.slope > 0 && l.least > l.slope }

// compare puts what was there before beside each figure. What was not there counts as none.
func (t *table) compare(before *table, cycles int) []line {
	var out []line
	for _, f := range t.figures {
		was, _ := before.value(f.name)
		out = append(out, line{figure: f, before: was, bound: was + f.slack + int64(f.cycles*float64(cycles))})
	}
	return out
}

// slopes says of each line how much was added at least in a cycle from one look to the next; the last look is after. Each look is
// as many cycles behind the one before.
func (t *table) slopes(lines []line, looks []*table, cycles int) {
	each := float64(cycles) / float64(len(looks))
	for i := range lines {
		l := &lines[i]
		l.least = math.Inf(1)
		for k, from := range looks {
			to := t
			if k+1 < len(looks) {
				to = looks[k+1]
			}
			was, _ := from.value(l.name)
			is, _ := to.value(l.name)
			l.least = min(l.least, float64(is-was)/each)
		}
	}
}

// grown lists the figures that are past their bounds.
func grown(lines []line) []line {
	return slices.DeleteFunc(slices.Clone(lines), line.good)
}

// show prints the lines as a table.
func show(w io.Writer, lines []line, cycles int) {
	fmt.Fprintf(w, "%-46s %12s %12s %12s %12s %12s %12s  %s\n", "figure", "before", "after", "per cycle", "bound", "steadily", "bound", "verdict")
	for _, l := range lines {
		bound, verdict, steadily, slope := l.unit.text(l.bound), "holds", "-", "-"
		if l.slope > 0 {
			steadily, slope = l.unit.perCycle(l.least), l.unit.perCycle(l.slope)
		}
		switch {
		case !l.judged():
			bound, verdict = "-", "history"
		case !l.good():
			verdict = "GROWS"
		}
		fmt.Fprintf(w, "%-46s %12s %12s %12s %12s %12s %12s  %s\n", l.name, l.unit.text(l.before), l.unit.text(l.value),
			l.unit.perCycle(float64(l.value-l.before)/float64(max(1, cycles))), bound, steadily, slope, verdict)
	}
}

func (u unit) text(n int64) string {
	if u == bytesUnit {
		return fmt.Sprintf("%.2f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprint(n)
}

func (u unit) perCycle(per float64) string {
	if u == bytesUnit {
		return fmt.Sprintf("%+.0f B", per)
	}
	return strings.TrimSuffix(fmt.Sprintf("%+.3f", per), ".000")
}

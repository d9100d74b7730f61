package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nave-dev/nave/api"
)

// table prints aligned columns. text/tabwriter is not used because it counts colours as width.
type table struct {
	header []string // nil: was printed already
	rows   [][]string
	names  []string                         // of the columns
	width  []int                            // of the columns, of all that was printed
	paint  func(column, text string) string // nil: without colours
}

func (t *table) row(cells ...string) {
	cells = slices.Clone(cells) // the caller's stay as they are
	for i, c := range cells {
		if cells[i] = clean(c, false); c == "" {
			cells[i] = "-"
		}
	}
	t.rows = append(t.rows, cells)
}

func (t *table) print(w io.Writer) {
	for _, cells := range append([][]string{t.header}, t.rows...) {
		for i, c := range cells {
			t.width[i] = max(t.width[i], utf8.RuneCountInString(c))
		}
	}
	line := func(cells []string, paint func(column, text string) string) {
		var b strings.Builder
		for i, c := range cells {
			pad := t.width[i] - utf8.RuneCountInString(c)
			if paint != nil {
				c = paint(t.names[i], c)
			}
			b.WriteString(c)
			if i < len(cells)-1 {
				b.WriteString(strings.Repeat(" ", pad+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	if t.header != nil {
		line(t.header, nil)
	}
	for _, cells := range t.rows {
		line(cells, t.paint)
	}
}

func (a *app) table(header ...string) *table {
	t := &table{header: header, names: header, width: make([]int, len(header))}
	if a.colours {
		t.paint = paint
	}
	return t
}

const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	dim    = "\x1b[2m"
	bold   = "\x1b[1m"
	plain  = "\x1b[0m"
)

// tint colours a text that is clean already, where colours are wanted.
func (a *app) tint(colour, s string) string {
	if !a.colours || colour == "" || s == "" {
		return s
	}
	return colour + s + plain
}

// colourOf shows states that want an eye.
var colourOf = map[string]string{
	string(api.HealthLive): green, string(api.HealthSuspect): yellow, string(api.HealthLost): red, string(api.HealthPending): yellow,
	string(api.PhaseRunning): green, string(api.PhasePlacing): yellow, string(api.PhaseStarting): yellow,
	string(api.ApprovalOpen): yellow, string(api.ApprovalApproved): green, string(api.ApprovalDenied): red,
}

func paint(column, text string) string {
	if column == "HEALTH" || column == "PHASE" || column == "STATE" {
		if c := colourOf[text]; c != "" {
			return c + text + plain
		}
	}
	return text
}

// labels renders labels in a stable order.
func labels(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, ",")
}

// age renders how long ago something was.
func (a *app) age(at interface {
	AsTime() time.Time
	IsValid() bool
}) string {
	if at == nil || !at.IsValid() {
		return ""
	}
	return span(a.now().Sub(at.AsTime()))
}

// span renders a time that went by, or that is left, in one unit.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

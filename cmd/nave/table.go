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
	header []string
	rows   [][]string
	paint  func(column, text string) string // nil: without colours
}

func (t *table) row(cells ...string) {
	for i, c := range cells {
		if cells[i] = clean(c, false); c == "" {
			cells[i] = "-"
		}
	}
	t.rows = append(t.rows, cells)
}

func (t *table) print(w io.Writer) {
	width := make([]int, len(t.header))
	for _, cells := range append([][]string{t.header}, t.rows...) {
		for i, c := range cells {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	line := func(cells []string, paint func(column, text string) string) {
		var b strings.Builder
		for i, c := range cells {
			pad := width[i] - utf8.RuneCountInString(c)
			if paint != nil {
				c = paint(t.header[i], c)
			}
			b.WriteString(c)
			if i < len(cells)-1 {
				b.WriteString(strings.Repeat(" ", pad+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	line(t.header, nil)
	for _, cells := range t.rows {
		line(cells, t.paint)
	}
}

func (a *app) table(header ...string) *table {
	t := &table{header: header}
	if a.colours {
		t.paint = paint
	}
	return t
}

const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

// colourOf shows states that want an eye.
var colourOf = map[string]string{
	string(api.HealthLive): green, string(api.HealthSuspect): yellow, string(api.HealthLost): red, string(api.HealthPending): yellow,
	string(api.PhaseRunning): green, string(api.PhasePlacing): yellow, string(api.PhaseStarting): yellow,
}

func paint(column, text string) string {
	if column == "HEALTH" || column == "PHASE" {
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
	d := a.now().Sub(at.AsTime())
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

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/hub/client"
)

// listing is a list as a command shows it: the same items for people, for programs, and for a watch.
type listing struct {
	none   string // said when there is nothing
	header []string
	moving []string // columns that change as time goes by: for a watch they are no change
	items  []item
	page   proto.Message // all of it, for programs
}

type item struct {
	key     string // unique in the list
	name    string // what -o name prints
	cells   []string
	message proto.Message
}

// same tells whether a watch has nothing to say about an item.
func (l *listing) same(a, b item) bool {
	for i, h := range l.header {
		if a.cells[i] != b.cells[i] && !slices.Contains(l.moving, h) {
			return false
		}
	}
	return true
}

// print shows the list once.
func (a *app) print(l *listing) error {
	switch {
	case a.output == formatJSON:
		return a.printJSON(l.page)
	case len(l.items) == 0:
		a.note("%s", l.none)
		return nil
	case a.output == formatName:
		for _, it := range l.items {
			fmt.Fprintln(a.out, clean(it.name, false))
		}
		return nil
	}
	t := a.table(l.header...)
	for _, it := range l.items {
		t.row(it.cells...)
	}
	t.print(a.out)
	return nil
}

// show prints a list once, or again and again when it is watched.
func (a *app) show(ctx context.Context, watch bool, fetch func(context.Context, *client.Client) (*listing, error)) error {
	return a.with(func(c *client.Client) error {
		once := func(ctx context.Context) error {
			l, err := fetch(ctx, c)
			if err != nil {
				return err
			}
			return a.print(l)
		}
		switch {
		case !watch:
			return once(ctx)
		case a.terminal && a.output == formatTable:
			return a.redraw(ctx, once)
		}
		w := &appender{app: a}
		return a.again(ctx, func(ctx context.Context) error {
			l, err := fetch(ctx, c)
			if err != nil {
				return err
			}
			return w.print(l)
		})
	})
}

// appender prints of a list that is fetched again and again what changed: a row, or an object a line, for each item that is
// new or different, and for one that is gone its key.
type appender struct {
	*app
	table *table
	last  map[string]item
	order []string
}

func (w *appender) print(l *listing) error {
	first := w.last == nil
	if first {
		w.last, w.table = map[string]item{}, w.app.table(l.header...)
	}
	now := map[string]item{}
	var rows []item
	for _, it := range l.items {
		now[it.key] = it
		if old, known := w.last[it.key]; !known || !l.same(old, it) {
			rows = append(rows, it)
		}
	}
	var gone []string
	for _, key := range w.order {
		if _, still := now[key]; !still {
			gone = append(gone, key)
		}
	}
	w.last, w.order = now, w.order[:0]
	for _, it := range l.items {
		w.order = append(w.order, it.key)
	}
	for _, it := range rows {
		if err := w.change(it); err != nil {
			return err
		}
	}
	for _, key := range gone {
		if w.output == formatJSON {
			fmt.Fprintf(w.out, "{\"gone\":%s}\n", jsonText(key))
		} else if w.output == formatTable {
			w.table.row(append([]string{key, "gone"}, make([]string, max(0, len(l.header)-2))...)...)
		}
	}
	if w.output == formatTable && (len(w.table.rows) > 0 || first && len(l.items) > 0) {
		w.table.print(w.out)
		w.table.header, w.table.rows = nil, nil
	}
	if first && len(l.items) == 0 {
		w.note("%s", l.none)
	}
	return w.out.err
}

func (w *appender) change(it item) error {
	switch w.output {
	case formatJSON:
		return w.printLine(it.message)
	case formatName:
		_, err := fmt.Fprintln(w.out, clean(it.name, false))
		return err
	}
	w.table.row(it.cells...)
	return nil
}

// plural is "1 signal", "2 signals".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if strings.HasSuffix(noun, "y") {
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(noun, "y"))
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

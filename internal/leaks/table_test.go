package main

import (
	"io"
	"slices"
	"strings"
	"testing"
)

func TestVerdict(t *testing.T) {
	const cycles = 1000
	before, after := newTable(), newTable()
	for name, f := range map[string]struct {
		was, now int64
		slack    int64
		perCycle float64
		grows    bool
	}{
		"the same":                      {5, 5, none, 0, false},
		"less":                          {5, 1, none, 0, false},
		"one more where none may be":    {5, 6, none, 0, true},
		"up to its slack":               {5, 13, few, 0, false},
		"past its slack":                {5, 14, few, 0, true},
		"up to its slope":               {5, 5 + few + 2*cycles, few, 2, false},
		"past its slope":                {5, 6 + few + 2*cycles, few, 2, true},
		"one goroutine in ten cycles":   {300, 400, goroutineSlack, 0, true},
		"10 KiB of heap per cycle":      {8 << 20, 18 << 20, heapSlack, heapPerCycle, true},
		"history":                       {5, 5000, history, 0, false},
		"what was not there before":     {0, 1, none, 0, true},
		"a programs: goroutines":        {10, 80, goroutineSlack, 0, true},
		"another programs: goroutines":  {10, 12, goroutineSlack, 0, false},
		"what is allowed and new there": {0, few, few, 0, false},
	} {
		if f.was > 0 {
			before.add(name, f.was, count, f.slack, f.perCycle)
		}
		after.add(name, f.now, count, f.slack, f.perCycle)
		bad := slices.ContainsFunc(grown(after.compare(before, cycles)), func(l line) bool { return l.name == name })
		if bad != f.grows {
			t.Errorf("%s: %d after %d grows: %t, want %t", name, f.now, f.was, bad, f.grows)
		}
	}
	before.stacks["a programs"], after.stacks["a programs"] = stacks{"here": 5, "there": 5}, stacks{"here": 75, "there": 5}
	var out strings.Builder
	err := verdict(&out, after.compare(before, cycles), before, after)
	if err == nil || !strings.Contains(err.Error(), "a programs: goroutines") || strings.Contains(err.Error(), "history") {
		t.Errorf("the verdict is %v", err)
	}
	if !strings.Contains(out.String(), "+70 here") || strings.Contains(out.String(), "there") {
		t.Errorf("the places that grew:\n%s", out.String())
	}
	if err := verdict(io.Discard, before.compare(before, cycles), before, before); err != nil {
		t.Errorf("nothing grew, and the verdict is %v", err)
	}
}

func TestParseStacks(t *testing.T) {
	got := parseStacks([]byte("goroutine profile: total 4\n3 @ 0x1 0x2\n#\t0x1\tnet.(*conn).Read+0x1\t/a.go:1\n#\t0x2\tmain.read+0x2\t/b.go:2\n\n" +
		"1 @ 0x3\n# labels: {\"a\":\"b\"}\n#\t0x3\tmain.main+0x3\t/c.go:3\n"))
	want := stacks{"net.(*conn).Read < main.read": 3, "main.main": 1}
	if got.total() != 4 || len(got) != 2 || len(got.more(want)) > 0 || len(want.more(got)) > 0 {
		t.Errorf("stacks: %v, want %v", got, want)
	}
}

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

// TestSlopes: what rises from each look to the next is a leak, however little it is.
func TestSlopes(t *testing.T) {
	const cycles = 150 // 50 between two looks
	for name, f := range map[string]struct {
		values [4]int64
		slope  float64
		grows  bool
	}{
		"a goroutine a reconnect":      {[4]int64{300, 350, 400, 450}, countSlope, true},
		"one in eight":                 {[4]int64{300, 306, 312, 318}, countSlope, true},
		"one in eight beside noise":    {[4]int64{300, 309, 315, 321}, countSlope, true},
		"noise":                        {[4]int64{300, 315, 307, 318}, countSlope, false},
		"what fills up":                {[4]int64{300, 318, 318, 318}, countSlope, false},
		"what comes late":              {[4]int64{300, 300, 300, 318}, countSlope, false},
		"2 KiB a session":              {[4]int64{8 << 20, 8<<20 + 100<<10, 8<<20 + 200<<10, 8<<20 + 300<<10}, heapSlope, true},
		"half a KiB a session":         {[4]int64{8 << 20, 8<<20 + 25<<10, 8<<20 + 50<<10, 8<<20 + 75<<10}, heapSlope, false},
		"what is not judged by slopes": {[4]int64{0, 2, 4, 6}, 0, false},
	} {
		var looks []*table
		for _, v := range f.values {
			look := newTable()
			look.add(name, v, count, heapSlack, 0).slope = f.slope
			looks = append(looks, look)
		}
		after := looks[len(looks)-1]
		lines := after.compare(looks[0], cycles)
		after.slopes(lines, looks[:len(looks)-1], cycles)
		if bad := len(grown(lines)) > 0; bad != f.grows {
			t.Errorf("%s: %v grows: %t, want %t", name, f.values, bad, f.grows)
		}
	}
}

func TestParseHeap(t *testing.T) {
	const sample = "heap profile: 3: 1008200 [9: 9] @ heap/1024\n" +
		"1: 1000000 [1: 1000000] @ 0x1 0x2\n#\t0x1\tmain.keep+0x1\t/a.go:1\n\n" + // much larger than the rate: as it is
		"2: 8192 [2: 8192] @ 0x3 0x4\n#\t0x3\tgo.etcd.io/raft/v3.(*raftLog).append+0x3\t/b.go:2\n#\t0x4\tmain.main+0x4\t/c.go:3\n\n" +
		"4: 256 [4: 256] @ 0x5\n#\t0x5\tmain.small+0x5\t/d.go:4\n\n# runtime.MemStats\n# HeapAlloc = 4711\n"
	got, err := parseHeap([]byte(sample))
	// Objects of 64 bytes are sampled about once in 8.5 times when one byte in 512 is looked at.
	if want := int64(1000000 + 256*85/10); err != nil || got.all != 4711 || got.ours < want-20 || got.ours > want+20 {
		t.Errorf("heap: %+v, %v, want about %d of ours", got, err, want)
	}
	for _, broken := range []string{"", "# HeapAlloc = 5\n", strings.Replace(sample, "heap/1024", "heap/x", 1), strings.Replace(sample, "1: 1000000", "x", 1)} {
		if got, err := parseHeap([]byte(broken)); err == nil {
			t.Errorf("%q is taken as %+v", broken, got)
		}
	}
}

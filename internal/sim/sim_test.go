package sim

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nave-dev/nave/internal/fault"
	"github.com/nave-dev/nave/internal/history"
)

// play is a whole run of a seed.
func play(seed uint64, traced bool) (*World, history.Tally) {
	w := New(seed)
	w.traced, w.asks = traced, seed%asking == 0
	w.after(0, "", w.nurse)
	w.live(w.between(10*time.Second, 90*time.Second), 1+w.rnd.IntN(16))
	w.mend()
	var t history.Tally
	if len(w.broken) == 0 {
		t = w.judge()
	}
	w.close()
	return w, t
}

// asking is which part of the seeds has agents who ask for permissions, and people who answer and cancel.
const asking = 3

// seeds is how many runs TestSeeds makes. SIM_SEEDS changes it.
const seeds = 3000

// least is what all runs together must at least have seen; below it they prove too little.
var least = map[string]int{
	"signals accepted": 20_000, "signals done again": 1_000, "turns forgotten": 50, "dead letters": 5, "attempts": 10_000,
	"hub started": 3_500, "hub gave up its shard": 100, "append of a former owner refused": 10, "request lost": 1_000, "answer lost": 1_000,
	"died within a step": 300, "suspended within a step": 1_000, "spoke started": 7_000, "spoke frozen": 500, "network cut": 1_000, "lapsed": 100,
	"journal lost": 500, "clock jumped": 500, "workload killed": 300, "workload frozen": 100, "side branch": 10,
	"pause": 50, "resume": 50, "terminate": 50, "state kept": 1_000, "state local": 100, "state bucket": 1_000, "state empty": 1_000,
	"asked": 2_500, "asked again": 100, "answer accepted": 2_000, "other answer refused": 300, "late answer refused": 200, "answer taken": 1_000,
	"answer became a signal": 1_000, "answer of a signal used": 1_000, "answer of nave taken": 5, "turn given up: nobody answered": 1_000,
	"approval.expired": 300, "approval.withdrawn": 300, "cancelled": 500, "turn cancelled": 200, "cancelled signals dropped": 150,
}

// TestSeeds plays many seeds. SIM_SEED=n plays one and tells its story; with SIM_FIRST it stops at the first that fails.
func TestSeeds(t *testing.T) {
	if s := os.Getenv("SIM_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		w, _ := play(seed, true)
		t.Log("\n" + w.story())
		if err := w.err(); err != nil {
			t.Fatal(err)
		}
		return
	}
	n := uint64(seeds)
	if s := os.Getenv("SIM_SEEDS"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	seen, failed := map[string]int{}, 0
	t.Run("all", func(t *testing.T) {
		const parts = 4
		for part := range uint64(parts) {
			t.Run(fmt.Sprint(part), func(t *testing.T) {
				t.Parallel()
				for seed := part + 1; seed <= n; seed += parts {
					w, tally := play(seed, false)
					mu.Lock()
					if err := w.err(); err != nil {
						t.Error(err)
						failed++
					}
					for what, n := range w.deeds {
						seen[what] += n
					}
					seen["signals accepted"] += tally.Signals
					seen["signals done again"] += tally.Redone
					seen["turns forgotten"] += tally.Forgotten
					seen["dead letters"] += tally.Dead
					seen["attempts"] += tally.Attempts
					enough := failed >= 5 || failed > 0 && os.Getenv("SIM_FIRST") != ""
					mu.Unlock()
					if enough {
						t.Fatal("and perhaps more")
					}
				}
			})
		}
	})
	for _, what := range slices.Sorted(maps.Keys(seen)) {
		t.Logf("%7d %s", seen[what], what)
	}
	for _, what := range slices.Sorted(maps.Keys(least)) {
		if n == seeds && !t.Failed() && seen[what] < least[what] {
			t.Errorf("the runs did too little: %s: %d, want at least %d", what, seen[what], least[what])
		}
	}
}

// TestEqualSeedsGiveEqualRuns compares the stories of a seed played twice.
func TestEqualSeedsGiveEqualRuns(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		a, _ := play(seed, true)
		b, _ := play(seed, true)
		if a.story() != b.story() {
			one, other := strings.Split(a.story(), "\n"), strings.Split(b.story(), "\n")
			for i := range one {
				if i >= len(other) || one[i] != other[i] {
					t.Fatalf("seed %d: line %d: %q, then %q", seed, i, one[i], other[min(i, len(other)-1)])
				}
			}
		}
	}
}

// TestPlantedFaultsAreFound builds the simulator with each of the faults of package fault; it must find every one.
func TestPlantedFaultsAreFound(t *testing.T) {
	if fault.On(fault.AnswerBeforeCommit) || os.Getenv("NAVE_FAULT") != "" {
		return // this is such a build
	}
	bin := filepath.Join(t.TempDir(), "sim.test")
	build := exec.Command("go", "test", "-c", "-tags", "navefault", "-o", bin, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	run := func(name, test string, n int) (string, error) {
		cmd := exec.Command(bin, "-test.run", "^"+test+"$")
		cmd.Env = append(os.Environ(), "NAVE_FAULT="+name, fmt.Sprint("SIM_SEEDS=", n), "SIM_FIRST=1")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	const scenario = "TestALateTurnRecordOfAFormerAttempt"
	for _, test := range []string{scenario, "TestSeeds"} {
		if out, err := run("none", test, 200); err != nil {
			t.Fatalf("without a fault: %v\n%s", err, out)
		}
	}
	for _, name := range fault.Names() {
		t.Run(string(name), func(t *testing.T) {
			out, err := run(string(name), scenario, 0)
			if err == nil {
				out, err = run(string(name), "TestSeeds", seeds)
			}
			if err == nil {
				t.Fatalf("%s is not found", name)
			}
			lines := strings.Split(out, "\n")
			i := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, ": P") })
			if i < 0 {
				t.Fatalf("it fails, and names no promise:\n%s", out)
			}
			t.Log(strings.TrimSpace(lines[i]))
		})
	}
}

package sim

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nave-dev/nave/internal/history"
)

// play is a whole run of a seed.
func play(seed uint64, traced bool) (*World, history.Tally) {
	w := New(seed)
	w.traced = traced
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

// TestSeeds plays many seeds. SIM_SEED plays one and tells its story.
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
	n := uint64(200)
	if s := os.Getenv("SIM_SEEDS"); s != "" {
		n, _ = strconv.ParseUint(s, 10, 64)
	}
	var all history.Tally
	failed := 0
	for seed := uint64(1); seed <= n; seed++ {
		w, tally := play(seed, false)
		if err := w.err(); err != nil {
			t.Error(err)
			if failed++; failed == 10 {
				t.Fatal("and perhaps more")
			}
		}
		all.Signals += tally.Signals
		all.Redone += tally.Redone
		all.Forgotten += tally.Forgotten
		all.Attempts += tally.Attempts
		all.Dead += tally.Dead
		all.Events += tally.Events
	}
	t.Logf("%+v", all)
}

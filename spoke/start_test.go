package spoke

import (
	"fmt"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
)

func TestPauses(t *testing.T) {
	for n, want := range []time.Duration{10 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, 15 * time.Minute} {
		lo, hi := time.Hour, time.Duration(0)
		for i := range 1000 {
			d := startPause(api.SessionID(fmt.Sprint("session", i)), uint32(n))
			if d != startPause(api.SessionID(fmt.Sprint("session", i)), uint32(n)) {
				t.Fatal("the same session and count, another pause")
			}
			lo, hi = min(lo, d), max(hi, d)
		}
		if lo < want*8/10 || hi > want*12/10 || lo > want*81/100 || hi < want*119/100 {
			t.Errorf("after %d failed starts %v to %v, want a fifth around %v", n, lo, hi, want)
		}
	}
	for n, want := range []time.Duration{0, 0, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 10 * time.Second} {
		if got := retryPause(&desired{progress: progress{Failures: uint32(max(n-1, 0))}}, end{Restart: true}); got != want {
			t.Errorf("after %d ends after a turn began %v, want %v", n, got, want)
		}
	}
}

func TestWhatAnEndCountsAs(t *testing.T) {
	began, config := progress{Began: true}, progress{Failure: api.StartFailureConfig}
	for _, c := range []struct {
		name    string
		d       desired
		o       observed
		w       Workload
		failure api.StartFailure
		restart bool
	}{
		{"no workload", desired{}, observed{StartErr: "no"}, Workload{}, api.StartFailureRuntime, false},
		{"the harness says", desired{progress: config, Closed: true}, observed{}, Workload{Failure: api.StartFailureImage}, api.StartFailureConfig, false},
		{"the runtime says", desired{}, observed{}, Workload{Failure: api.StartFailureImage}, api.StartFailureImage, false},
		{"told to end", desired{Closed: true}, observed{}, Workload{}, "", true},
		{"crash", desired{}, observed{}, Workload{}, api.StartFailureCrash, false},
		{"after a turn began", desired{progress: began}, observed{}, Workload{Failure: api.StartFailureImage}, "", true},
	} {
		if f, r := count(&c.d, &c.o, c.w); f != c.failure || r != c.restart {
			t.Errorf("%s: %q, restart %t; want %q, %t", c.name, f, r, c.failure, c.restart)
		}
	}
}

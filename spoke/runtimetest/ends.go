package runtimetest

import (
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/boottime"
	"github.com/nave-dev/nave/spoke"
)

// A start that fails says of which kind it is, to the spoke and in the log.
func testBadStart(b *bench) {
	for _, tt := range []struct {
		name   string
		change func(*spoke.WorkloadSpec)
		want   api.StartFailure
		parts  []string
	}{
		{"an init script that fails", func(w *spoke.WorkloadSpec) {
			w.Revision.Environment.InitScripts = []api.InitScript{{Name: "fine", Script: "echo prepared"}, {Name: "broken", Script: "echo no such disk >&2; exit 7"}}
		}, api.StartFailureConfig, []string{"broken", "exit status 7", "no such disk"}},
		{"no such program", func(w *spoke.WorkloadSpec) {
			w.Revision.Agent.Harness.Command = []string{"no-such-program"}
		}, api.StartFailureConfig, []string{"no-such-program"}},
		{"a state that cannot be restored", func(w *spoke.WorkloadSpec) {
			w.State.Saved = api.CheckpointID(strings.Repeat("ab", 32))
		}, api.StartFailureRestore, []string{"restore the state", "abababab"}},
	} {
		w := b.spec("true")
		tt.change(&w)
		b.start(w)
		ended := b.awaitState(w.ID, spoke.WorkloadEnded)
		if ended.Failure != tt.want {
			b.t.Errorf("%s: failure %q, want %q", tt.name, ended.Failure, tt.want)
		}
		for _, part := range tt.parts {
			if !strings.Contains(ended.Exit, part) {
				b.t.Errorf("%s: exit %q does not say %q", tt.name, ended.Exit, part)
			}
		}
		events := b.await(w.ID, "the end with its reason", func(e api.Event) bool { return e.Type == api.EventEnded })
		if last := events[len(events)-1]; last.Text != ended.Exit || last.Attributes[api.AttrFailure] != string(tt.want) {
			b.t.Errorf("%s: the last event is %+v", tt.name, last)
		}
	}
}

// What ends without a word is a crash before its first turn, and no failed start after it or when it was asked to end.
func testCrash(b *bench) {
	for _, tt := range []struct {
		name  string
		turn  bool
		early bool // before the harness says anything
		end   func(spoke.WorkloadID) error
		want  api.StartFailure
	}{
		{"killed before its first turn", false, false, b.KillHarness, api.StartFailureCrash},
		{"killed after a turn", true, false, b.KillHarness, ""},
		{"stopped before its first turn", false, false, func(id spoke.WorkloadID) error { return b.Runtime.Stop(b.t.Context(), id, patience) }, ""},
		{"stopped as it starts", false, true, func(id spoke.WorkloadID) error { return b.Runtime.Stop(b.t.Context(), id, patience) }, ""},
		{"stopped at once", false, false, func(id spoke.WorkloadID) error { return b.Runtime.Stop(b.t.Context(), id, 0) }, ""},
	} {
		w := b.spec("true")
		b.start(w)
		if !tt.early {
			b.await(w.ID, "the harness began", func(e api.Event) bool { return e.Type == api.EventState })
		}
		if tt.turn {
			b.Door.Tell(w.ID, signals(1, 1))
			b.turn(w.ID, 1)
		}
		if err := tt.end(w.ID); err != nil {
			b.t.Fatalf("%s: %v", tt.name, err)
		}
		if ended := b.awaitState(w.ID, spoke.WorkloadEnded); ended.Failure != tt.want || ended.Exit == "" {
			b.t.Errorf("%s: %+v, want failure %q", tt.name, ended, tt.want)
		}
	}
}

// Nothing of the agent acts when its lease is over; the workload itself stays and goes on when there is a new one.
func testLease(b *bench) {
	tok := token()
	w := b.spec("[ -e again ] && exit 0; touch again; " + family(tok))
	b.start(w)
	until := boottime.Now() + 6*time.Second
	b.Door.Lease(w.ID, until)
	b.Door.Tell(w.ID, signals(1, 1))
	b.message(w.ID, "ready")
	b.running(tok, 3)
	b.eventually("the lease is over", func() (bool, error) { return boottime.Now() >= until, nil })
	if n, err := b.Running(tok); err != nil || n != 0 {
		b.t.Fatalf("the lease is over, and %d processes of the agent run (%v)", n, err)
	}
	if got := b.state(b.Runtime, w.ID); got.State != spoke.WorkloadRunning {
		b.t.Fatalf("without a lease the workload is %+v", got)
	}
	b.Door.Lease(w.ID, spoke.LeaseForever)
	b.await(w.ID, "the turn is done under the new lease", func(e api.Event) bool {
		return e.Type == api.EventTurnDone && e.Outcome == api.OutcomeDone
	})
}

package runtimetest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke"
)

// Run tests a runtime. Each test gets a fresh one.
func Run(t *testing.T, make func(t *testing.T) Config) {
	tests := []struct {
		name string
		test func(*bench)
	}{
		{"what does not exist", testNothing},
		{"start, work, end", testLife},
		{"double start", testDoubleStart},
		{"kill of the harness", testKilledHarness},
		{"stop kills what ignores it", testStubborn},
		{"stop lets the harness report", testOrderlyStop},
		{"adoption", testAdoption},
		{"sessions apart, attempts together", testState},
		{"refusals", testRefusals},
		{"capacity", testCapacity},
		{"start that fails", testBadStart},
		{"ends without a word", testCrash},
		{"turn leaves nothing behind", testTurnLeftovers},
		{"agent ends with its lease", testLease},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(newBench(t, make(t))) })
	}
}

func testNothing(b *bench) {
	ws, err := b.Runtime.List(b.t.Context())
	if err != nil || len(ws) != 0 {
		b.t.Fatalf("List = %v, %v; want nothing and no error", ws, err)
	}
	b.stop(b.spec("true").ID, time.Second)
	b.stop(b.spec("true").ID, 0)
}

func testLife(b *bench) {
	w := b.spec(`cat; echo; echo "$NAVE_SESSION $NAVE_AGENT"; echo careful >&2`)
	b.start(w)
	if got := b.state(b.Runtime, w.ID); got.State != spoke.WorkloadRunning {
		b.t.Fatalf("after Start the workload is %+v", got)
	}
	b.Door.Tell(w.ID, signals(1, 2))
	record := b.turn(w.ID, 2)
	if record.Outcome != api.OutcomeDone || len(record.Signals) != 2 {
		b.t.Fatalf("turn record %+v, want both signals done", record)
	}
	b.message(w.ID, string(w.ID.Session)+" tester")
	b.await(w.ID, "the payload of signal 2", func(e api.Event) bool { return strings.Contains(e.Text, `"payload":"payload 2"`) })
	b.await(w.ID, "a log line", func(e api.Event) bool { return e.Type == api.EventLog && e.Text == "careful" })
	events, _ := b.h.of(w.ID)
	for i, e := range events {
		if e.SourceNumber != uint64(i+1) || e.Session != w.ID.Session || e.Source != w.ID.Source() {
			b.t.Fatalf("event %d is %+v: want dense numbers of this workload", i, e)
		}
	}
	if events[0].Type != api.EventStarted || events[1].Type != api.EventState || events[2].Type != api.EventTurn {
		b.t.Fatalf("the first events are %s, %s, %s", events[0].Type, events[1].Type, events[2].Type)
	}

	b.Door.Tell(w.ID, spoke.Orders{Stop: true})
	ended := b.awaitState(w.ID, spoke.WorkloadEnded)
	if ended.Exit == "" {
		b.t.Error("an ended workload says nothing of why")
	}
	if again := b.state(b.Runtime, w.ID); again.State != spoke.WorkloadEnded {
		b.t.Fatalf("an ended workload is %+v before it is stopped", again)
	}
	b.stop(w.ID, time.Second)
	b.awaitState(w.ID, "")
}

func testDoubleStart(b *bench) {
	tok := token()
	w := b.spec("echo ready; exec sleep 3600." + tok)
	g := run.NewGroup(b.t.Context())
	var mu sync.Mutex
	var errs []error
	for range 4 {
		g.Go("start", func(ctx context.Context) error {
			err := b.Runtime.Start(ctx, w)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
			return nil
		})
	}
	if err := errors.Join(append(errs, g.Wait())...); err != nil {
		b.t.Fatalf("Start: %v", err)
	}
	if err := b.Again().Start(b.t.Context(), w); err != nil {
		b.t.Fatalf("Start by another value: %v", err)
	}
	b.Door.Lease(w.ID, spoke.LeaseForever)
	b.Door.Tell(w.ID, signals(1, 1))
	b.message(w.ID, "ready")
	b.running(tok, 1)
	if ws, err := b.Runtime.List(b.t.Context()); err != nil || len(ws) != 1 {
		b.t.Fatalf("List = %+v, %v; want one workload", ws, err)
	}
	events, _ := b.h.of(w.ID)
	if n := count(events, api.EventStarted); n != 1 {
		b.t.Fatalf("%d harnesses began, want one", n)
	}
	// The claim of an ended workload collides too.
	b.stop(w.ID, 0)
	b.awaitState(w.ID, spoke.WorkloadEnded)
	b.start(w)
	if got := b.state(b.Runtime, w.ID); got.State != spoke.WorkloadEnded {
		b.t.Fatalf("a second start revived an ended workload: %+v", got)
	}
}

// family is an agent that ignores SIGTERM and has a grandchild in a session of its own that does so too.
func family(tok string) string {
	return "trap '' TERM; (setsid sleep 3600." + tok + " &); sleep 3600." + tok + " & echo ready; exec sleep 3600." + tok
}

func testKilledHarness(b *bench) {
	tok := token()
	w := b.spec(family(tok))
	b.start(w)
	b.Door.Tell(w.ID, signals(1, 1))
	b.message(w.ID, "ready")
	b.running(tok, 3)
	if err := b.KillHarness(w.ID); err != nil {
		b.t.Fatal(err)
	}
	ended := b.awaitState(w.ID, spoke.WorkloadEnded)
	if n, err := b.Running(tok); err != nil || n != 0 {
		b.t.Fatalf("ended (%s), and %d processes of the agent run (%v)", ended.Exit, n, err)
	}
	b.stop(w.ID, time.Second)
	b.awaitState(w.ID, "")
}

func testStubborn(b *bench) {
	tok := token()
	w := b.spec(family(tok))
	b.start(w)
	b.Door.Tell(w.ID, signals(1, 1))
	b.message(w.ID, "ready")
	b.running(tok, 3)
	begin := time.Now()
	b.stop(w.ID, 500*time.Millisecond)
	if took := time.Since(begin); took > 400*time.Millisecond {
		b.t.Errorf("Stop returned after %v: it does not wait", took)
	}
	b.awaitState(w.ID, spoke.WorkloadEnded)
	if n, err := b.Running(tok); err != nil || n != 0 {
		b.t.Fatalf("ended, and %d processes of the agent run (%v)", n, err)
	}
}

func testOrderlyStop(b *bench) {
	tok := token()
	w := b.spec("echo ready; exec sleep 3600." + tok)
	b.start(w)
	b.Door.Tell(w.ID, signals(1, 1))
	b.message(w.ID, "ready")
	orders := signals(1, 1)
	orders.Stop = true // as a spoke does it: a harness that is only ended leaves the last word to what ended it
	b.Door.Tell(w.ID, orders)
	b.stop(w.ID, patience)
	if record := b.turn(w.ID, 1); record.Outcome != api.OutcomeCut {
		b.t.Fatalf("turn record %+v, want the turn cut", record)
	}
	b.await(w.ID, "the end of the workload", func(e api.Event) bool { return e.Type == api.EventEnded })
	b.awaitState(w.ID, spoke.WorkloadEnded)
	b.running(tok, 0)
}

func testAdoption(b *bench) {
	tok := token()
	w := b.spec("echo ready; exec sleep 3600." + tok)
	b.start(w)
	b.Door.Tell(w.ID, signals(1, 1))
	b.message(w.ID, "ready")
	second := b.Again()
	if got := b.state(second, w.ID); got.State != spoke.WorkloadRunning {
		b.t.Fatalf("another value sees %+v", got)
	}
	if err := second.Start(b.t.Context(), w); err != nil {
		b.t.Fatalf("Start of what runs: %v", err)
	}
	if err := second.Stop(b.t.Context(), w.ID, 0); err != nil {
		b.t.Fatalf("Stop: %v", err)
	}
	b.eventually("the adopted workload ended", func() (bool, error) {
		return b.state(second, w.ID).State == spoke.WorkloadEnded, nil
	})
	b.running(tok, 0)
	b.awaitState(w.ID, spoke.WorkloadEnded)
	if err := second.Stop(b.t.Context(), w.ID, 0); err != nil {
		b.t.Fatalf("Stop of an ended workload: %v", err)
	}
	b.awaitState(w.ID, "")
}

// A session keeps its places and its state over attempts that begin from its last checkpoint; one that begins from none
// begins with nothing.
func testState(b *bench) {
	const script = `echo "home $HOME"; echo "dir $PWD"; cat "$HOME/note" 2>/dev/null; echo kept > "$HOME/note"`
	places := make(map[string]spoke.WorkloadID)
	visit := func(w spoke.WorkloadSpec, from string) (kept bool, latest api.CheckpointID) {
		b.start(w)
		b.Door.Tell(w.ID, signals(1, 1))
		record := b.turn(w.ID, 1)
		latest = api.CheckpointID(record.Attributes[api.AttrCheckpoint])
		if !latest.Valid() {
			b.t.Errorf("turn record %+v names no checkpoint", record)
		}
		events, _ := b.h.of(w.ID)
		for _, e := range events {
			switch {
			case e.Type == api.EventState && (e.Attributes[api.AttrFrom] != from || e.Attributes[api.AttrCheckpoint] != string(w.State.Latest)):
				b.t.Errorf("the attempt begins from %v, want %q", e.Attributes, from)
			case e.Type != api.EventMessage:
			case e.Text == "kept":
				kept = true
			default:
				if other, taken := places[e.Text]; taken && other.Session != w.ID.Session && b.Image == "" { // in images of their own they may be called the same
					b.t.Errorf("sessions %s and %s share %q", other.Session, w.ID.Session, e.Text)
				}
				places[e.Text] = w.ID
			}
		}
		b.stop(w.ID, 0)
		b.awaitState(w.ID, spoke.WorkloadEnded)
		b.stop(w.ID, 0)
		return kept, latest
	}
	first, other := b.spec(script), b.spec(script)
	first.Revision.Environment.Volumes, other.Revision.Environment.Volumes = b.Volumes, b.Volumes
	kept, latest := visit(first, "empty")
	if also, _ := visit(other, "empty"); kept || also {
		b.t.Error("a new session sees a note of another one")
	}
	first.ID.Attempt++
	first.State.Latest = latest
	if kept, _ := visit(first, "kept"); !kept {
		b.t.Error("the second attempt does not see the note of the first")
	}
	first.ID.Attempt++
	first.State.Latest = ""
	if kept, _ := visit(first, "empty"); kept {
		b.t.Error("an attempt that begins from nothing sees the note of the others")
	}
	if len(places) != 4 && b.Image == "" {
		b.t.Errorf("places %v, want a home and a directory for each of two sessions", places)
	}
}

func testRefusals(b *bench) {
	fine := b.spec("true")
	if err := b.Runtime.Refuse(fine.Revision); err != nil {
		b.t.Fatalf("Refuse of a plain revision: %v", err)
	}
	w := b.spec("true")
	w.Revision.Environment.Flavor = "no-such-flavor"
	for _, err := range []error{b.Runtime.Refuse(w.Revision), b.Runtime.Start(b.t.Context(), w)} {
		if api.CodeOf(err) != api.CodeUnsupported || api.FieldOf(err) != "spec.flavor" {
			b.t.Errorf("refusal %v (code %q, field %q), want spec.flavor unsupported", err, api.CodeOf(err), api.FieldOf(err))
		}
	}
	b.awaitState(w.ID, "")
}

func testCapacity(b *bench) {
	used := func() int {
		c, err := b.Runtime.Capacity(b.t.Context())
		if err != nil {
			b.t.Fatalf("Capacity: %v", err)
		}
		for _, f := range c.Flavors {
			if f.Flavor == api.DefaultFlavor && f.Total > 0 {
				return f.Used
			}
		}
		b.t.Fatalf("%+v offers no %s", c, api.DefaultFlavor)
		return 0
	}
	if n := used(); n != 0 {
		b.t.Fatalf("%d workloads use an empty runtime", n)
	}
	w := b.spec("true")
	b.start(w)
	b.eventually("one workload is counted", func() (bool, error) { return used() == 1, nil })
	b.stop(w.ID, 0)
	b.awaitState(w.ID, spoke.WorkloadEnded)
	if n := used(); n != 0 {
		b.t.Fatalf("an ended workload is counted: %d", n)
	}
}

func testTurnLeftovers(b *bench) {
	tok := token()
	w := b.spec("setsid sh -c 'echo > apart; exec sleep 3600." + tok + "' & sleep 3600." + tok + " & while [ ! -e apart ]; do sleep 0.01; done; sleep 0.1; echo done")
	b.start(w)
	b.Door.Tell(w.ID, signals(1, 1))
	if record := b.turn(w.ID, 1); record.Outcome != api.OutcomeDone {
		b.t.Fatalf("turn record %+v", record)
	}
	if n, err := b.Running(tok); err != nil || n != 0 {
		b.t.Fatalf("%d processes outlive their turn (%v)", n, err)
	}
	if got := b.state(b.Runtime, w.ID); got.State != spoke.WorkloadRunning {
		b.t.Fatalf("between turns the workload is %+v", got)
	}
}

func count(events []api.Event, t api.EventType) int {
	n := 0
	for _, e := range events {
		if e.Type == t {
			n++
		}
	}
	return n
}

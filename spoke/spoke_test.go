package spoke_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/journal"
	"github.com/nave-dev/nave/spoke/spoketest"
)

// beat is how often the hub answers a heartbeat.
const beat = 2 * time.Second

var (
	sessionA = api.NewSessionID(time.Unix(1, 0), 7, [10]byte{0, 1})
	sessionB = api.NewSessionID(time.Unix(1, 0), 7, [10]byte{0, 2})
	epoch1   = api.Epoch{Incarnation: 1, N: 1}
	epoch2   = api.Epoch{Incarnation: 1, N: 2}
)

// world is a spoke with a real journal and fakes around it. It is used inside a synctest bubble.
type world struct {
	t       *testing.T
	ctx     context.Context
	dir     string
	runtime *spoketest.Runtime
	door    *spoketest.Door
	link    *spoketest.Link
	batch   uint64
	booted  time.Time
	answers bool // the hub answers heartbeats

	group   *run.Group
	metrics *prometheus.Registry // of this program
	j       *journal.Journal
	held    map[api.SessionID]api.Held
	log     map[api.Source][]api.Event // what the hub heard, each number once
	deltas  []api.Delta
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, ctx: t.Context(), dir: t.TempDir(), runtime: &spoketest.Runtime{Room: 8}, booted: time.Now().Add(-time.Hour)}
	w.up()
	return w
}

// up starts the spoke on the journal that the last one left.
func (w *world) up() {
	w.t.Helper()
	w.door, w.link, w.metrics = &spoketest.Door{}, &spoketest.Link{}, prometheus.NewRegistry()
	var err error
	if w.j, err = journal.Open(journal.Config{Dir: w.dir, SegmentBytes: 64 << 10}); err != nil {
		w.t.Fatal(err)
	}
	s, err := spoke.New(spoke.Config{Runtime: w.runtime, Journal: w.j, Link: w.link, Door: w.door, Log: slog.New(slog.DiscardHandler),
		Boot: "boot", Fingerprint: "here", Version: "test", Clock: w.now, Metrics: w.metrics})
	if err != nil {
		w.t.Fatal(err)
	}
	w.group = run.NewGroup(context.Background())
	w.group.Go("spoke", s.Run)
	w.held, w.log = map[api.SessionID]api.Held{}, map[api.Source][]api.Event{}
	synctest.Wait()
}

// down ends the spoke. What runs goes on.
func (w *world) down() {
	w.t.Helper()
	w.answers = false
	w.group.Stop()
	if err := w.group.Wait(); err != nil {
		w.t.Fatalf("Run: %v", err)
	}
	if err := w.j.Close(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) connect() api.Hello {
	w.t.Helper()
	h, err := w.link.Connect(w.ctx, api.Welcome{Protocol: 1, Cluster: "cluster", Labels: map[string]string{"cloud": "test"}, Beat: time.Second})
	if err != nil {
		w.t.Fatalf("Connect: %v", err)
	}
	w.answers = true
	w.settle(0)
	return h
}

// now is the boot-time clock of the world.
func (w *world) now() time.Duration { return time.Since(w.booted) }

// cut ends the connection.
func (w *world) cut() { w.answers = false; w.link.Cut(w.ctx, errors.New("cut")) }

// want delivers what the hub wants, at the next position.
func (w *world) want(ds ...api.Desired) {
	w.t.Helper()
	w.batch++
	if err := w.link.Deliver(w.ctx, api.HubMessage{Updates: []api.ShardUpdate{{Position: position(w.batch), Sessions: ds}}}); err != nil {
		w.t.Fatalf("Deliver: %v", err)
	}
}

// settle lets time pass and takes what the spoke sent.
func (w *world) settle(d time.Duration) {
	w.t.Helper()
	for {
		if w.answers {
			if err := w.link.Renew(w.ctx, w.now()); err != nil {
				w.t.Fatal(err)
			}
		}
		synctest.Wait()
		if d <= 0 {
			break
		}
		time.Sleep(min(d, beat))
		d -= beat
		synctest.Wait()
	}
	for _, m := range w.link.Sent() {
		w.deltas = append(w.deltas, m.Deltas...)
		for _, h := range m.Held {
			w.held[h.Session] = h
		}
		for _, b := range m.Events {
			for _, e := range b.Events {
				if n := uint64(len(w.log[b.Source])); e.SourceNumber == n+1 {
					w.log[b.Source] = append(w.log[b.Source], e)
				} else if e.SourceNumber > n+1 {
					w.t.Fatalf("event %d of %v after %d: a gap", e.SourceNumber, b.Source, n)
				}
			}
		}
	}
}

func (w *world) ack(id api.SessionID, source api.Source, upTo uint64) {
	w.t.Helper()
	if err := w.link.Deliver(w.ctx, api.HubMessage{Acks: []api.Ack{{Session: id, Source: source, UpTo: upTo}}}); err != nil {
		w.t.Fatalf("Deliver: %v", err)
	}
}

func (w *world) report(id spoke.WorkloadID, events ...api.Event) {
	w.t.Helper()
	if err := w.door.Report(w.ctx, id, events...); err != nil {
		w.t.Fatalf("Report: %v", err)
	}
}

func (w *world) attach(id spoke.WorkloadID) uint64 {
	w.t.Helper()
	n, err := w.door.Attach(w.ctx, id)
	if err != nil {
		w.t.Fatalf("Attach %v: %v", id, err)
	}
	return n
}

func (w *world) state(id api.SessionID) api.HeldState { return w.held[id].State }

func (w *world) running(want ...spoke.WorkloadID) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.runtime.Running()); diff != "" {
		w.t.Fatalf("running workloads (-want +got):\n%s", diff)
	}
}

func position(batch uint64) api.Position {
	return api.Position{Shard: 7, Head: api.Head{Generation: api.Generation{Incarnation: 1, N: 1}, Batch: batch}}
}

func workload(id api.SessionID, e api.Epoch, attempt uint32) spoke.WorkloadID {
	return spoke.WorkloadID{Session: id, Epoch: e, Attempt: attempt}
}

func desired(id api.SessionID, e api.Epoch, signals ...uint64) api.Desired {
	agent := &api.AgentSpec{Environment: "env", IdleTimeout: 10 * time.Second, MaxDeliveries: 3}
	d := api.Desired{Session: id, Org: api.DefaultOrg, Key: "k", Epoch: e, Revision: &api.ResolvedRevision{AgentName: "a", Agent: agent.WithDefaults(),
		Environment: &api.EnvironmentSpec{Env: []api.EnvVar{{Name: "A", Value: "b"}}}}}
	for _, n := range signals {
		d.Signals = append(d.Signals, api.Signal{ID: api.SignalID(rune('a' + n)), Session: id, Sequence: n, Payload: []byte("do it"), AcceptedAt: time.Unix(5, 0).UTC()})
	}
	return d
}

func release(id api.SessionID, e api.Epoch) api.Desired {
	return api.Desired{Session: id, Epoch: e, Release: true}
}

func event(n uint64, t api.EventType, o api.Outcome, signals ...uint64) api.Event {
	return api.Event{SourceNumber: n, Type: t, Outcome: o, Signals: signals, Time: time.Unix(int64(n), 0).UTC()}
}

// checkpoint is the id of a checkpoint, by a digit.
func checkpoint(digit string) string { return strings.Repeat(digit, 64) }

func saved(n uint64, digit string) api.Event {
	e := event(n, api.EventSaved, "")
	e.Attributes = map[string]string{api.AttrCheckpoint: checkpoint(digit)}
	return e
}

func bubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.down()
		f(t, w)
	})
}

func TestSignalRunsSleepsAndIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.connect()
		w.want(desired(sessionA, epoch1, 1))
		id := workload(sessionA, epoch1, 1)
		w.settle(0)
		w.running(id)
		if got := w.state(sessionA); got != api.HeldAdmitted {
			t.Fatalf("before the harness: %q, want Admitted", got)
		}
		w.attach(id)
		w.settle(0)
		if got := w.state(sessionA); got != api.HeldRunning {
			t.Fatalf("with the harness: %q, want Running", got)
		}
		if o, _ := w.door.Orders(id); len(o.Signals) != 1 || o.Signals[0].Sequence != 1 || o.Stop || o.Single {
			t.Fatalf("orders = %+v, want signal 1", o)
		}
		w.report(id, event(1, api.EventStarted, ""), event(2, api.EventTurn, "", 1), event(3, api.EventTurnDone, api.OutcomeDone, 1), saved(4, "a"))
		w.settle(0)
		if o, _ := w.door.Orders(id); len(o.Signals) != 1 {
			t.Fatalf("orders after the turn = %+v, want those of before: the harness knows what it has consumed", o)
		}
		if n := len(w.log[id.Source()]); n != 4 {
			t.Fatalf("the hub heard %d events, want 4", n)
		}
		w.ack(sessionA, id.Source(), 4)
		w.want(desired(sessionA, epoch1))
		w.settle(9 * time.Second)
		if got := w.state(sessionA); got != api.HeldRunning {
			t.Fatalf("before the idle timeout: %q, want Running", got)
		}
		w.settle(2 * time.Second)
		if h := w.held[sessionA]; h.State != api.HeldIdle || h.Seen != 1 {
			t.Fatalf("after the idle timeout: %+v, want Idle with Seen 1", h)
		}
		w.want(release(sessionA, epoch1))
		w.settle(0)
		if o, _ := w.door.Orders(id); !o.Stop {
			t.Fatalf("orders after the release = %+v, want Stop", o)
		}
		w.door.Detach(id)
		w.settle(2 * time.Second)
		w.running()
		if got := w.held[sessionA]; got.State != api.HeldGone || got.Epoch != epoch1 {
			t.Fatalf("after the release: %+v, want Gone", got)
		}
		if got := w.log[id.Source()]; len(got) != 5 || got[4].Type != api.EventEnded {
			t.Fatalf("events = %+v, want workload.ended as the fifth", got)
		}
		w.cut()
		if h := w.connect(); len(h.Held) != 0 {
			t.Fatalf("held after Gone: %+v, want nothing", h.Held)
		}
	})
}

// The harness that is told to stop reports its end itself. The hub may have settled that report, so that the spoke has
// forgotten it, before the workload is seen to be gone, and the spoke may have begun anew.
func TestEndThatTheHarnessReportedIsNotAddedAgain(t *testing.T) {
	for _, c := range []struct {
		name             string
		settled, restart bool
	}{{name: "kept here"}, {name: "settled", settled: true}, {name: "settled, and the spoke restarted", settled: true, restart: true}} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.connect()
				w.want(desired(sessionA, epoch1, 1))
				id := workload(sessionA, epoch1, 1)
				w.settle(0)
				w.attach(id)
				w.report(id, event(1, api.EventStarted, ""), event(2, api.EventTurn, "", 1), event(3, api.EventTurnDone, api.OutcomeDone, 1))
				w.want(release(sessionA, epoch1))
				w.settle(0)
				w.report(id, event(4, api.EventEnded, ""))
				w.settle(0)
				if c.settled {
					w.ack(sessionA, id.Source(), 4)
				}
				if c.restart {
					w.down()
					w.up()
					w.log[id.Source()] = make([]api.Event, 4) // what this hub acknowledged before
					w.connect()
				}
				w.door.Detach(id)
				w.settle(20 * time.Second)
				w.running()
				if got := w.state(sessionA); got != api.HeldGone {
					t.Fatalf("after the release: %q, want Gone", got)
				}
				if got := w.log[id.Source()]; len(got) != 4 {
					t.Fatalf("events = %+v, want the 4 that the harness reported and no more", got)
				}
			})
		})
	}
}

func TestRestartAdoptsWhatRunsAndSendsUnsettledEventsAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.connect()
		w.want(desired(sessionA, epoch1, 1, 2))
		w.settle(0)
		id := workload(sessionA, epoch1, 1)
		w.attach(id)
		w.report(id, event(1, api.EventStarted, ""), event(2, api.EventTurn, "", 1), event(3, api.EventTurnDone, api.OutcomeDone, 1), event(4, api.EventMessage, ""))
		w.settle(0)
		w.ack(sessionA, id.Source(), 2)
		w.down()
		w.up()
		w.settle(time.Second)
		w.running(id)
		if n := w.attach(id); n != 4 {
			t.Fatalf("durable up to %d after the restart, want 4", n)
		}
		w.settle(time.Second)
		if o, _ := w.door.Orders(id); len(o.Signals) != 1 || o.Signals[0].Sequence != 2 {
			t.Fatalf("orders = %+v, want signal 2 alone: 1 is consumed", o)
		}
		w.report(id, event(4, api.EventMessage, ""), event(5, api.EventMessage, "")) // 4 again: its answer was lost
		w.log[id.Source()] = make([]api.Event, 2)                                    // what this hub acknowledged before
		h := w.connect()
		if len(h.Held) != 1 || h.Held[0].Attempt != 1 || h.Held[0].State != api.HeldRunning || h.Held[0].Seen != 2 {
			t.Fatalf("hello holds %+v, want the running attempt 1 with Seen 2", h.Held)
		}
		if len(h.Positions) != 1 || h.Positions[0] != position(1) {
			t.Fatalf("hello positions = %+v, want the one seen", h.Positions)
		}
		if n := len(w.log[id.Source()]); n != 5 {
			t.Fatalf("the hub knows %d events, want 5", n)
		}
		if w.runtime.Most() != 1 {
			t.Fatalf("%d workloads ran at a time, want 1", w.runtime.Most())
		}
	})
}

func TestCrashedHarnessIsEndedAndTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.connect()
		w.want(desired(sessionA, epoch1, 1, 2))
		w.settle(0)
		id := workload(sessionA, epoch1, 1)
		w.attach(id)
		w.report(id, event(1, api.EventStarted, ""), event(2, api.EventTurn, "", 1))
		w.runtime.End(id, "exit status 3")
		w.door.Detach(id)
		w.settle(1500 * time.Millisecond)
		got := w.log[id.Source()]
		if len(got) != 4 || got[2].Type != api.EventTurnDone || got[2].Outcome != api.OutcomeFailed || !cmp.Equal(got[2].Signals, []uint64{1}) || got[3].Type != api.EventEnded {
			t.Fatalf("events = %+v, want a failed turn of signal 1 and workload.ended", got)
		}
		if err := w.door.Report(w.ctx, id, event(5, api.EventMessage, "")); api.CodeOf(err) != api.CodeDenied {
			t.Fatalf("report of an ended attempt = %v, want CodeDenied", err)
		}
		w.settle(2 * time.Second)
		second := workload(sessionA, epoch1, 2)
		w.running(second)
		if o, _ := w.door.Orders(second); !o.Single || len(o.Signals) != 2 || o.Signals[0].Deliveries != 1 {
			t.Fatalf("orders of the second attempt = %+v, want both signals, one at a time, the first failed once", o)
		}
		// Two failures more, and the first signal is not handed over again: the hub will take it out.
		for n := uint32(2); n <= 3; n++ {
			id := workload(sessionA, epoch1, n)
			w.running(id)
			w.attach(id)
			w.report(id, event(1, api.EventTurn, "", 1))
			w.runtime.End(id, "exit status 3")
			w.door.Detach(id)
			w.settle(8 * time.Second)
		}
		if o, _ := w.door.Orders(workload(sessionA, epoch1, 4)); len(o.Signals) != 1 || o.Signals[0].Sequence != 2 {
			t.Fatalf("orders of the fourth attempt = %+v, want signal 2 alone", o)
		}
		if w.runtime.Most() != 1 {
			t.Fatalf("%d workloads ran at a time, want 1", w.runtime.Most())
		}
	})
}

func TestNewEpochStopsTheOlderFirst(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.runtime.Stubborn = true
		w.connect()
		w.want(desired(sessionA, epoch1, 1))
		w.settle(0)
		w.want(desired(sessionA, epoch2, 1))
		w.settle(10 * time.Second)
		w.running(workload(sessionA, epoch1, 1))
		w.settle(25 * time.Second)
		w.running(workload(sessionA, epoch2, 1))
		if w.runtime.Most() != 1 {
			t.Fatalf("%d workloads ran at a time, want 1", w.runtime.Most())
		}
		if err := w.link.Deliver(w.ctx, api.HubMessage{Updates: []api.ShardUpdate{{Position: position(1), Sessions: []api.Desired{release(sessionA, epoch2)}}}}); err != nil {
			t.Fatal(err)
		}
		w.settle(5 * time.Second)
		w.running(workload(sessionA, epoch2, 1)) // the stale owner undid nothing
	})
}

func TestAnEmptyFullUpdateStopsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.connect()
		w.want(desired(sessionA, epoch1, 1))
		w.settle(0)
		if err := w.link.Deliver(w.ctx, api.HubMessage{Updates: []api.ShardUpdate{{Position: position(9), Full: true}}}); err != nil {
			t.Fatal(err)
		}
		w.settle(time.Minute)
		w.running(workload(sessionA, epoch1, 1))
		w.cut()
		if h := w.connect(); len(h.Held) != 1 {
			t.Fatalf("held = %+v, want the session still", h.Held)
		}
	})
}

func TestUnknownListStartsAndStopsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.connect()
		w.want(desired(sessionA, epoch1, 1))
		w.settle(0)
		id := workload(sessionA, epoch1, 1)
		w.runtime.FailLists(errors.New("no answer"))
		w.settle(2 * time.Second)
		w.want(release(sessionA, epoch1), desired(sessionB, epoch1, 1))
		w.settle(time.Minute)
		w.running(id)
		w.runtime.FailLists(nil)
		w.settle(3 * time.Second)
		w.running(workload(sessionB, epoch1, 1))
		if got := w.state(sessionA); got != api.HeldGone {
			t.Fatalf("session A is %q, want Gone", got)
		}
	})
}

func TestRefusals(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.runtime.Room = 1
		w.connect()
		w.settle(2 * time.Second)
		w.want(desired(sessionA, epoch1, 1), desired(sessionB, epoch1, 1))
		w.settle(time.Second)
		if a, b := w.held[sessionA], w.held[sessionB]; a.State != api.HeldAdmitted || b.State != api.HeldRefused || b.Reason == "" {
			t.Fatalf("held = %+v and %+v, want the first admitted and the second refused with a reason", a, b)
		}
		w.down()
		w.runtime.Room = 8 // a refusal stands for its epoch
		w.up()
		w.connect()
		w.want(desired(sessionA, epoch1, 1), desired(sessionB, epoch1, 1))
		w.settle(time.Second)
		w.running(workload(sessionA, epoch1, 1))
		w.want(desired(sessionB, epoch2, 1))
		w.settle(2 * time.Second)
		w.running(workload(sessionA, epoch1, 1), workload(sessionB, epoch2, 1))
	})
}

func TestReleaseOfAnUnknownSessionIsAnsweredGone(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.connect()
		w.want(release(sessionA, epoch2))
		w.settle(2 * time.Second)
		if got := w.held[sessionA]; got.State != api.HeldGone || got.Epoch != epoch2 {
			t.Fatalf("held = %+v, want Gone at the epoch asked about", got)
		}
	})
}

func TestGapsAndForeignEventsAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.connect()
		w.want(desired(sessionA, epoch1, 1))
		w.settle(0)
		id := workload(sessionA, epoch1, 1)
		w.attach(id)
		for field, e := range map[string]api.Event{
			"event.source_number": event(2, api.EventMessage, ""),
			"event.type":          event(1, api.EventSlept, ""),
			"event.outcome":       event(1, api.EventTurnDone, "fine"),
		} {
			if err := w.door.Report(w.ctx, id, e); api.FieldOf(err) != field {
				t.Errorf("Report(%+v) = %v, want an error about %s", e, err, field)
			}
		}
		w.settle(0)
		if n := len(w.log[id.Source()]); n != 0 {
			t.Fatalf("the hub heard %d events of refused reports", n)
		}
		if _, err := w.door.Attach(w.ctx, workload(sessionA, epoch1, 2)); api.CodeOf(err) != api.CodeDenied {
			t.Fatalf("Attach of an attempt that was never begun = %v, want CodeDenied", err)
		}
	})
}

func TestWindowAndFullQueue(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.connect()
		w.want(desired(sessionA, epoch1, 1))
		w.settle(0)
		id := workload(sessionA, epoch1, 1)
		w.attach(id)
		w.link.Fill(true)
		const n = 3000
		var es []api.Event
		for i := range uint64(n) {
			es = append(es, event(i+1, api.EventMessage, ""))
		}
		w.report(id, es...)
		w.settle(time.Second)
		w.link.Fill(false)
		w.settle(time.Second)
		if got := len(w.log[id.Source()]); got != 1024 {
			t.Fatalf("%d events are sent without an acknowledgement, want the window of 1024", got)
		}
		w.ack(sessionA, id.Source(), 1000)
		w.settle(0)
		if got := len(w.log[id.Source()]); got != 2024 {
			t.Fatalf("%d events are sent after an acknowledgement up to 1000, want 2024", got)
		}
		w.ack(sessionA, id.Source(), 2024)
		w.settle(0)
		if got := len(w.log[id.Source()]); got != n {
			t.Fatalf("%d events are sent at last, want %d", got, n)
		}
		if got := w.state(sessionA); got != api.HeldRunning {
			t.Fatalf("state after the full queue = %q, want Running", got)
		}
	})
}

func TestSlowRuntimeDoesNotHoldUpEvents(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.connect()
		w.want(desired(sessionA, epoch1, 1))
		w.settle(0)
		id := workload(sessionA, epoch1, 1)
		w.attach(id)
		w.runtime.Delay = 30 * time.Second
		w.want(desired(sessionB, epoch1, 1))
		w.settle(0)
		begin := time.Now()
		w.report(id, event(1, api.EventStarted, ""))
		if d := time.Since(begin); d != 0 {
			t.Fatalf("a report took %v while the runtime started another workload", d)
		}
		w.settle(40 * time.Second)
		w.running(id, workload(sessionB, epoch1, 1))
	})
}

func TestFailedStartIsTriedAgainUnderTheNextNumber(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.runtime.FailStarts(errors.New("no such program"))
		w.connect()
		w.want(desired(sessionA, epoch1, 1))
		w.settle(500 * time.Millisecond)
		if h := w.held[sessionA]; h.State != api.HeldAdmitted || h.Reason != "no such program" {
			t.Fatalf("held = %+v, want Admitted with the reason", h)
		}
		if h := w.held[sessionA]; h.StartFailures != 1 {
			t.Fatalf("held = %+v, want 1 failed start", h)
		}
		got := w.log[api.Source{Epoch: epoch1, Attempt: 1}]
		if len(got) != 1 || got[0].Attributes[api.AttrFailure] != string(api.StartFailureRuntime) {
			t.Fatalf("events = %+v, want workload.ended with the kind of the failure", got)
		}
		w.runtime.FailStarts(nil)
		w.settle(7 * time.Second)
		w.running()
		w.settle(6 * time.Second)
		w.running(workload(sessionA, epoch1, 2))
	})
}

package spoke_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/journal"
	"github.com/nave-dev/nave/spoke/spoketest"
)

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

	group *run.Group
	j     *journal.Journal
	held  map[api.SessionID]api.Held
	log   map[api.Source][]api.Event // what the hub heard, each number once
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, ctx: t.Context(), dir: t.TempDir(), runtime: &spoketest.Runtime{Room: 8}}
	w.up()
	return w
}

// up starts the spoke on the journal that the last one left.
func (w *world) up() {
	w.t.Helper()
	w.door, w.link = &spoketest.Door{}, &spoketest.Link{}
	var err error
	if w.j, err = journal.Open(journal.Config{Dir: w.dir, SegmentBytes: 64 << 10}); err != nil {
		w.t.Fatal(err)
	}
	s, err := spoke.New(spoke.Config{Runtime: w.runtime, Journal: w.j, Link: w.link, Door: w.door, Log: slog.New(slog.DiscardHandler),
		Boot: "boot", Fingerprint: "here", Version: "test"})
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
	w.settle(0)
	return h
}

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
	time.Sleep(d)
	synctest.Wait()
	for _, m := range w.link.Sent() {
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
		w.report(id, event(1, api.EventStarted, ""), event(2, api.EventTurn, "", 1), event(3, api.EventTurnDone, api.OutcomeDone, 1))
		w.settle(0)
		if o, _ := w.door.Orders(id); len(o.Signals) != 0 {
			t.Fatalf("orders after the turn = %+v, want no signals", o)
		}
		if n := len(w.log[id.Source()]); n != 3 {
			t.Fatalf("the hub heard %d events, want 3", n)
		}
		w.ack(sessionA, id.Source(), 3)
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
		if got := w.log[id.Source()]; len(got) != 4 || got[3].Type != api.EventEnded {
			t.Fatalf("events = %+v, want workload.ended as the fourth", got)
		}
		w.link.Cut(w.ctx, errors.New("cut"))
		if h := w.connect(); len(h.Held) != 0 {
			t.Fatalf("held after Gone: %+v, want nothing", h.Held)
		}
	})
}

package spoke

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
)

const planned api.SessionID = "01HF7YAT0000000000000000S1"

func planRevision() *api.ResolvedRevision {
	return &api.ResolvedRevision{Agent: &api.AgentSpec{IdleTimeout: 10 * time.Second, MaxDeliveries: 3}, Environment: &api.EnvironmentSpec{Flavor: api.DefaultFlavor}}
}

// TestPlanTranscripts shows what plan does in each situation. "session" and "observed" set the situation anew, "plan at=5s"
// prints the actions and, when there is none, when plan may decide otherwise.
func TestPlanTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/plan", func(t *testing.T, path string) {
		var d desired
		var o observed
		datadriven.RunTest(t, path, func(t *testing.T, c *datadriven.TestData) string {
			switch c.Cmd {
			case "session":
				d = parseDesired(t, c)
			case "observed":
				o = parseObserved(t, c)
			case "plan":
				at, err := time.ParseDuration(c.CmdArgs[0].Vals[0])
				if err != nil {
					t.Fatal(err)
				}
				return renderActions(plan(&d, &o, at), due(&d, &o, at))
			default:
				t.Fatalf("unknown command %s", c.Cmd)
			}
			return ""
		})
	})
}

func number(t *testing.T, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func parseDesired(t *testing.T, c *datadriven.TestData) desired {
	d := desired{Session: planned, Org: api.DefaultOrg, Epoch: api.Epoch{Incarnation: 1, N: 1}, Revision: planRevision(), Verdict: admitted, progress: newProgress("")}
	for _, a := range c.CmdArgs {
		switch a.Key {
		case "undecided":
			d.Verdict = undecided
		case "refused":
			d.Verdict, d.Reason = refused, "no"
		case "never":
			d.Revision.Agent.StopAfter = api.StopNever
		case "forgotten":
			d.Revision = nil
		case "released":
			d.Released = true
		case "next":
			d.Next = &wantedRecord{Desired: api.Desired{Session: planned, Epoch: api.Epoch{Incarnation: 1, N: 2}}}
		case "attempt":
			d.Attempt = uint32(number(t, a.Vals[0]))
		case "ended":
			d.Ended = true
		case "inbox":
			for _, v := range a.Vals {
				n := number(t, v)
				d.Inbox = append(d.Inbox, api.Signal{ID: api.SignalID("sig-" + v), Sequence: n})
				d.Seen = max(d.Seen, n)
			}
		case "done":
			for _, v := range a.Vals {
				d.Done[number(t, v)] = true
			}
		case "turn":
			d.TurnOpen, d.Turn = true, []uint64{number(t, a.Vals[0])}
		case "failed":
			d.Failed = true
		default:
			t.Fatalf("unknown argument %s", a.Key)
		}
	}
	return d
}

func parseObserved(t *testing.T, c *datadriven.TestData) observed {
	o := observed{Known: true, List: 2, Evidence: 1, RoomSeen: true, Room: 1, Connected: true, Sent: true, IdleAt: 1, Confirmed: true, Right: right{Given: true}}
	for _, a := range c.CmdArgs {
		switch a.Key {
		case "unknown":
			o.Known = false
		case "old":
			o.List = o.Evidence
		case "full":
			o.Room = 0
		case "refusal":
			o.Refusal = "spec.image: not here"
		case "away":
			o.Connected = false
		case "unsent":
			o.Sent = false
		case "starting":
			o.Starting = true
		case "attached":
			o.Attached, o.Heard = true, true
		case "busy":
			o.Busy = true
		case "retry":
			o.RetryAt = time.Duration(number(t, a.Vals[0])) * time.Second
		case "stray": // lost, of an epoch that the journal does not know
			o.Listed = append(o.Listed, Workload{ID: WorkloadID{planned, api.Epoch{Incarnation: 1}, 1}, State: WorkloadLost})
		case "holds":
			o.Holds = time.Duration(number(t, a.Vals[0])) * time.Second
		case "forever":
			o.Holds = LeaseForever
		case "granted":
			o.Right.Granted = time.Duration(number(t, a.Vals[0])) * time.Second
		case "asked":
			o.AskedAt = time.Duration(number(t, a.Vals[0])) * time.Second
		case "disrupted", "waiting":
			for i := range o.Listed { // comes behind "listed"
				o.Listed[i].Disrupted = a.Key == "disrupted"
				if a.Key == "waiting" {
					o.Listed[i].Waiting = "no such image"
				}
			}
		case "listed":
			for _, v := range a.Vals {
				attempt, state, _ := strings.Cut(v, "-")
				o.Listed = append(o.Listed, Workload{ID: WorkloadID{planned, api.Epoch{Incarnation: 1, N: 1}, uint32(number(t, attempt))}, State: WorkloadState(state), Exit: "exit status 1"})
			}
		default:
			t.Fatalf("unknown argument %s", a.Key)
		}
	}
	return o
}

func renderActions(as []action, due time.Duration) string {
	var b strings.Builder
	for _, a := range as {
		switch a := a.(type) {
		case change:
			fmt.Fprintf(&b, "journal %s", strings.TrimPrefix(fmt.Sprintf("%T", a.Record), "spoke."))
			if v, ok := a.Record.(verdictRecord); ok {
				fmt.Fprintf(&b, " refused %v %s", v.Refused, v.Reason)
			}
			fmt.Fprintln(&b)
		case start:
			fmt.Fprintf(&b, "start attempt %d\n", a.Spec.ID.Attempt)
		case stop:
			fmt.Fprintf(&b, "stop attempt %d, traces %v\n", a.ID.Attempt, a.Traces)
		case end:
			fmt.Fprintf(&b, "end attempt %d %s, failure %q, restart %v: %s\n", a.ID.Attempt, a.Outcome, a.Failure, a.Restart, a.Reason)
		case linger:
			fmt.Fprintf(&b, "let attempt %d say its last words\n", a.ID.Attempt)
		case tell:
			var seqs []uint64
			for _, s := range a.Orders.Signals {
				seqs = append(seqs, s.Sequence)
			}
			fmt.Fprintf(&b, "tell signals %v, single %v, stop %v\n", seqs, a.Orders.Single, a.Orders.Stop)
		case busy:
			fmt.Fprintf(&b, "turn runs %v\n", a.Turn)
		case report:
			fmt.Fprintf(&b, "report %s, seen %d %s\n", a.Held.State, a.Held.Seen, a.Held.Reason)
		case forget:
			fmt.Fprintln(&b, "forget")
		}
	}
	if len(as) == 0 {
		fmt.Fprintf(&b, "nothing, again at %v\n", due)
	}
	return b.String()
}

// planWorld is a session with a runtime in memory. It does what the loop does with plan's actions, in any order that the
// runtime allows.
type planWorld struct {
	t       *rapid.T
	st      *state
	now     time.Duration
	runs    map[WorkloadID]WorkloadState
	ops     []Call
	lists   uint64
	started map[WorkloadID]bool
	acts    map[WorkloadID]time.Duration // until when the agent of a lost workload may act, wherever it is
	epoch   uint64
	seq     uint64
}

func (w *planWorld) session() *session { return w.st.sessions[planned] }

func (w *planWorld) apply(r record) {
	if err := w.st.apply(r); err != nil {
		w.t.Fatalf("plan made a change that contradicts the state: %v", err)
	}
	if s := w.session(); s != nil {
		s.note(w.now)
	}
}

// plan takes plan's actions over until it has none that change the session.
func (w *planWorld) plan() {
	for again, rounds := true, 0; again; rounds++ {
		if rounds > 16 {
			w.t.Fatal("plan does not come to an end")
		}
		s := w.session()
		if s == nil {
			return
		}
		s.Connected, s.Sent, s.RoomSeen, s.Room = true, true, true, 1
		s.Confirmed, s.Right = true, right{Given: true, Granted: w.now}
		as := plan(&s.desired, &s.observed, w.now)
		if d := cmp.Diff(renderActions(as, 0), renderActions(plan(&s.desired, &s.observed, w.now), 0)); d != "" {
			w.t.Fatalf("the same question, another answer:\n%s", d)
		}
		again = false
		for _, a := range as {
			known := s.Known
			s.did(a, w.now)
			switch a := a.(type) {
			case change:
				w.apply(a.Record)
				again = true
			case end:
				if state := w.runs[a.ID]; state == WorkloadRunning {
					w.t.Fatalf("attempt %v is taken for ended and runs", a.ID)
				}
				w.apply(endedRecord{planned, a.ID.Source(), a.Reason, a.Failure, a.Restart})
				again = true
			case start:
				if !known || s.stopping() {
					w.t.Fatalf("start while the list is unknown (%v) or the session is to stop (%v)", !known, s.stopping())
				}
				if w.started[a.Spec.ID] {
					w.t.Fatalf("attempt %v is started a second time", a.Spec.ID)
				}
				for id, state := range w.runs {
					if state == WorkloadRunning || state == WorkloadLost && w.now < w.acts[id] {
						w.t.Fatalf("attempt %v is started while %v may act (%s)", a.Spec.ID, id, state)
					}
				}
				w.started[a.Spec.ID] = true
				w.ops = append(w.ops, Call{Start: &a.Spec})
				again = true
			case stop:
				if !known {
					w.t.Fatal("stop while the list is unknown")
				}
				w.ops = append(w.ops, Call{Stop: a.ID})
			case forget:
				w.remains("forgotten")
				w.apply(a.Record)
			}
		}
	}
}

// done lets the runtime finish an operation.
func (w *planWorld) done(i int, fails bool) {
	o := w.ops[i]
	w.ops = slices.Delete(w.ops, i, i+1)
	s := w.session()
	if o.Start != nil {
		var err error
		if fails {
			err = fmt.Errorf("no")
		} else {
			w.runs[o.Start.ID] = WorkloadRunning
		}
		if s != nil {
			s.started(o.Start.ID, w.lists, err)
		}
		return
	}
	switch w.runs[o.Stop] {
	case WorkloadRunning:
		if !fails { // else it takes its time
			w.runs[o.Stop] = WorkloadEnded
		}
	case WorkloadEnded:
		delete(w.runs, o.Stop)
	}
	if s != nil {
		s.stopped(o.Stop, w.lists)
	}
}

func (w *planWorld) list(known bool) {
	w.lists++
	s := w.session()
	if s == nil {
		return
	}
	var ws []Workload
	for _, id := range slices.SortedFunc(maps.Keys(w.runs), func(a, b WorkloadID) int { return strings.Compare(a.String(), b.String()) }) {
		ws = append(ws, Workload{ID: id, State: w.runs[id], Exit: "ended"})
	}
	s.listed(w.lists, known, ws)
}

func (w *planWorld) want(release bool) {
	w.epoch++
	w.apply(wantedRecord{Desired: api.Desired{Session: planned, Org: api.DefaultOrg, Epoch: api.Epoch{Incarnation: 1, N: w.epoch}, Revision: planRevision(), Release: release}})
	w.signal()
}

func (w *planWorld) signal() {
	s := w.session()
	if s == nil || s.stopping() {
		return
	}
	w.seq++
	w.apply(inboxRecord{Session: planned, Epoch: s.Epoch, Put: []api.Signal{{ID: api.SignalID(fmt.Sprint(w.seq)), Sequence: w.seq}}})
}

// TestPlanKeepsItsInvariants drives one session through epochs, releases, deaths, slow and failing operations and lists that
// are unknown, and checks after every step that at most one workload of it lives and no attempt is used twice; in the end a
// released session is gone.
func TestPlanKeepsItsInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &planWorld{t: t, st: newState(), now: time.Second, runs: map[WorkloadID]WorkloadState{}, started: map[WorkloadID]bool{}, acts: map[WorkloadID]time.Duration{}}
		w.want(false)
		if rapid.Bool().Draw(t, "stray") { // of a life that the journal does not remember
			w.runs[WorkloadID{planned, api.Epoch{Incarnation: 1}, 9}] = WorkloadRunning
		}
		t.Repeat(map[string]func(*rapid.T){
			"plan": func(*rapid.T) {
				w.plan()
				w.plan() // what was reported is behind it
			},
			"advance": func(t *rapid.T) { // far enough for the next attempt, so that short runs have several
				w.now += 10 * time.Minute
				for range rapid.IntRange(1, 4).Draw(t, "rounds") {
					w.list(true)
					w.plan()
					for len(w.ops) > 0 {
						w.done(0, rapid.IntRange(0, 5).Draw(t, "fails") == 0)
					}
				}
			},
			"list": func(t *rapid.T) { w.list(rapid.IntRange(0, 3).Draw(t, "known") > 0) },
			"done": func(t *rapid.T) {
				if len(w.ops) > 0 {
					w.done(rapid.IntRange(0, len(w.ops)-1).Draw(t, "op"), rapid.IntRange(0, 3).Draw(t, "fails") == 0)
				}
			},
			"dies": func(t *rapid.T) {
				for id := range w.runs {
					w.runs[id] = WorkloadEnded
				}
			},
			"machine lost": func(t *rapid.T) { // with the lease that its harness was told last
				for id, state := range w.runs {
					if s := w.session(); state == WorkloadRunning && s != nil && s.live() && s.workload() == id {
						s.AskedAt = w.now
						s.Holds = w.now + time.Duration(rapid.IntRange(1, 50).Draw(t, "lease"))*time.Second
						w.runs[id], w.acts[id] = WorkloadLost, s.Holds
					}
				}
				w.list(true)
				w.now += askWithin + time.Second
				w.plan()
			},
			"machine back": func(*rapid.T) { // its harness is not let in again, and ends
				for id, state := range w.runs {
					if state == WorkloadLost {
						w.runs[id] = WorkloadEnded
					}
				}
			},
			"signal": func(*rapid.T) { w.signal() },
			"later":  func(t *rapid.T) { w.now += time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds")) * time.Second },
			"epoch":  func(*rapid.T) { w.want(false) },
			"release": func(*rapid.T) {
				if s := w.session(); s != nil && !s.stopping() {
					w.apply(releasedRecord{planned, s.Epoch})
				}
			},
			"": func(t *rapid.T) {
				living := 0
				for _, state := range w.runs {
					if state == WorkloadRunning {
						living++
					}
				}
				for _, o := range w.ops {
					if o.Start != nil {
						living++
					}
				}
				if living > 1 {
					t.Fatalf("%d workloads of one session live: %v, under way %d", living, w.runs, len(w.ops))
				}
			},
		})
		w.settle()
	})
}

// settle releases the session and lets everything run to its end.
func (w *planWorld) settle() {
	for round := 0; w.session() != nil; round++ {
		if round > 100 {
			w.t.Fatalf("a released session does not go: workloads %v, under way %v, state %+v", w.runs, w.ops, w.session().desired)
		}
		if s := w.session(); !s.stopping() {
			w.apply(releasedRecord{planned, s.Epoch})
		}
		for len(w.ops) > 0 {
			w.done(0, false)
		}
		w.list(true)
		w.now += time.Minute
		w.plan()
	}
	w.remains("gone")
}

// remains checks that nothing exists but what was lost and acts no more: its traces are removed as those of an orphan.
func (w *planWorld) remains(what string) {
	for id, state := range w.runs {
		if until, lost := w.acts[id]; !lost || state == WorkloadRunning || w.now < until {
			w.t.Fatalf("%s, and %v exists (%s)", what, id, state)
		}
	}
}

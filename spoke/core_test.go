package spoke_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/spoketest"
)

// TestCoreTranscripts tells stories of one session at a spoke that is driven by hand: hub, harness and runtime are the
// transcript. The clock begins at 100s. See coreWorld.step for the commands.
func TestCoreTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/core", func(t *testing.T, path string) {
		w := &coreWorld{t: t, now: 100 * time.Second, journal: &spoketest.Journal{}, runs: map[spoke.WorkloadID]spoke.Workload{}}
		w.start()
		datadriven.RunTest(t, path, func(t *testing.T, c *datadriven.TestData) string {
			w.t, w.out = t, nil
			w.step(c)
			if len(w.out) == 0 {
				return "nothing\n"
			}
			return strings.Join(w.out, "\n") + "\n"
		})
	})
}

// coreWorld is a spoke's core, and what is around it.
type coreWorld struct {
	t       *testing.T
	now     time.Duration
	journal *spoketest.Journal
	core    *spoke.Core
	online  bool // connected
	beats   bool // heartbeats are answered
	asks    bool // the harness asks for its lease
	refuses bool // the runtime makes no workloads
	stands  bool // workloads that are asked to stop take their grace
	stuck   bool // they do not end at all
	batch   uint64
	gen     uint64
	sent    map[api.Source]uint64 // on the present connection
	runs    map[spoke.WorkloadID]spoke.Workload
	kills   map[spoke.WorkloadID]time.Duration
	leases  map[spoke.WorkloadID]time.Duration
	askedAt map[spoke.WorkloadID]time.Duration
	holds   map[spoke.WorkloadID]time.Duration // of the harnesses: they outlive the spoke
	told    map[spoke.WorkloadID]time.Duration // of this door
	number  uint64                             // of the harness's last event
	out     []string
}

// start makes the core of a program that begins.
func (w *coreWorld) start() {
	w.leases, w.askedAt, w.told = map[spoke.WorkloadID]time.Duration{}, map[spoke.WorkloadID]time.Duration{}, map[spoke.WorkloadID]time.Duration{}
	w.online, w.beats, w.sent = false, false, map[api.Source]uint64{}
	if w.kills == nil {
		w.kills, w.holds = map[spoke.WorkloadID]time.Duration{}, map[spoke.WorkloadID]time.Duration{}
	}
	var err error
	w.core, err = spoke.NewCore(spoke.Config{Runtime: &spoketest.Runtime{}, Journal: w.journal, Link: coreLink{w: w}, Door: coreDoor{w: w}, Log: slog.New(slog.DiscardHandler),
		Boot: "boot", Fingerprint: "here", Clock: func() time.Duration { return w.now }, Wall: func() time.Time { return time.Unix(0, 0).Add(w.now) }})
	if err != nil {
		w.t.Fatal(err)
	}
}

// coreLink prints what is sent.
type coreLink struct {
	spoke.Link
	w *coreWorld
}

func (l coreLink) Send(m api.SpokeMessage) error {
	if !l.w.online {
		return api.Errorf(api.CodeUnavailable, "no connection")
	}
	for _, h := range m.Held {
		l.w.print("-> %s", heldText(h))
	}
	for _, b := range m.Events {
		for _, e := range b.Events {
			if last, ok := l.w.sent[b.Source]; ok && e.SourceNumber != last+1 {
				l.w.t.Fatalf("event %d of %v is sent after %d", e.SourceNumber, b.Source, last)
			}
			l.w.sent[b.Source] = e.SourceNumber
			text := fmt.Sprintf("-> event %d/%d %s", b.Source.Attempt, e.SourceNumber, e.Type)
			if e.Outcome != "" {
				text += " " + string(e.Outcome)
			}
			if len(e.Signals) > 0 {
				text += fmt.Sprintf(" %v", e.Signals)
			}
			if f := e.Attributes[api.AttrFailure]; f != "" {
				text += " failure=" + f
			}
			l.w.print("%s", text)
		}
	}
	return nil
}

// coreDoor prints what harnesses are told.
type coreDoor struct {
	spoke.Door
	w *coreWorld
}

func (d coreDoor) Tell(id spoke.WorkloadID, o spoke.Orders) {
	var ns []uint64
	for _, s := range o.Signals {
		ns = append(ns, s.Sequence)
	}
	text := fmt.Sprintf("orders for %s: signals %v%s%s", short(id), ns, flag(o.Single, ", one at a time"), flag(o.Stop, ", stop"))
	if o.Cancelled.UpTo > 0 {
		text += fmt.Sprintf(", cancelled up to %d: %s", o.Cancelled.UpTo, o.Cancelled.Reason)
	}
	for _, a := range o.Answers {
		text += fmt.Sprintf(", %s answered with %s", a.Approval, a.Option)
	}
	d.w.print("%s", text)
}

func (d coreDoor) Lease(id spoke.WorkloadID, until time.Duration) { d.w.leases[id] = until }

func (d coreDoor) Asked(id spoke.WorkloadID) (at, until time.Duration) {
	return d.w.askedAt[id], d.w.told[id]
}

func (d coreDoor) Forget(id spoke.WorkloadID) { delete(d.w.leases, id) }

func flag(on bool, text string) string {
	if on {
		return text
	}
	return ""
}

func short(id spoke.WorkloadID) string {
	return fmt.Sprintf("epoch %d attempt %d", id.Epoch.N, id.Attempt)
}

func heldText(h api.Held) string {
	s := fmt.Sprintf("%s epoch %d attempt %d seen %d", h.State, h.Epoch.N, h.Attempt, h.Seen)
	if h.Number > 0 {
		s += fmt.Sprintf(" number %d", h.Number)
	}
	if h.StartFailures > 0 {
		s += fmt.Sprintf(" start failures %d", h.StartFailures)
	}
	if h.Reason != "" {
		s += ": " + h.Reason
	}
	return s
}

func (w *coreWorld) print(format string, args ...any) {
	w.out = append(w.out, fmt.Sprintf("%-7s ", w.now)+fmt.Sprintf(format, args...))
}

// settle lets the core go on until it wants nothing more at this time.
func (w *coreWorld) settle() {
	for {
		calls, err := w.core.Round()
		if err != nil {
			w.t.Fatal(err)
		}
		for _, c := range calls {
			w.perform(c)
		}
		if len(calls) == 0 && w.core.Next() > w.now {
			return
		}
	}
}

func (w *coreWorld) perform(c spoke.Call) {
	switch {
	case c.List > 0:
		var list []spoke.Workload
		for _, r := range w.runs {
			list = append(list, r)
		}
		slices.SortFunc(list, func(a, b spoke.Workload) int { return strings.Compare(a.ID.String(), b.ID.String()) })
		w.core.Take(spoke.Listed(c, list, nil, api.Capacity{Runtime: "fake", Flavors: []api.FlavorCapacity{{Flavor: api.DefaultFlavor, Total: 8}}}, nil))
		return
	case c.Start != nil:
		state := c.Start.State
		w.print("start %s, state latest %.1q saved %.1q", short(c.Start.ID), state.Latest, state.Saved)
		if w.refuses {
			w.core.Take(spoke.Done(c, fmt.Errorf("no such program")))
			return
		}
		w.runs[c.Start.ID], w.number = spoke.Workload{ID: c.Start.ID, State: spoke.WorkloadRunning}, 0
	default:
		switch r, ok := w.runs[c.Stop]; {
		case ok && r.State == spoke.WorkloadEnded:
			delete(w.runs, c.Stop)
		case ok:
			w.print("stop %s within %v", short(c.Stop), c.Grace)
			if by := w.now + c.Grace; w.kills[c.Stop] == 0 || by < w.kills[c.Stop] {
				w.kills[c.Stop] = by
			}
			if !w.stands {
				w.end(c.Stop, "stopped")
			}
		}
	}
	w.core.Take(spoke.Done(c, nil))
}

func (w *coreWorld) end(id spoke.WorkloadID, exit string) {
	if r := w.runs[id]; r.State == spoke.WorkloadRunning {
		r.State, r.Exit = spoke.WorkloadEnded, exit
		w.runs[id] = r
		w.print("ended: %s", short(id))
		w.asks = false
		w.core.Take(spoke.Detached(id))
	}
}

// pass lets time pass in ticks of half a second.
func (w *coreWorld) pass(d time.Duration) {
	for end := w.now + d; w.now < end; {
		w.now += 500 * time.Millisecond
		for id, by := range w.kills {
			if w.now >= by && !w.stuck {
				delete(w.kills, id)
				w.end(id, "killed")
			}
		}
		if w.now%(2*time.Second) == 0 {
			if w.beats {
				w.core.Take(spoke.Renewed(w.now, nil))
			}
			if w.asks {
				w.ask()
			}
		}
		w.settle()
	}
}

// ask lets the harnesses ask for their leases, as far as their workloads run.
func (w *coreWorld) ask() {
	for id, r := range w.runs {
		if r.State == spoke.WorkloadRunning {
			w.askedAt[id] = w.now
			w.told[id] = max(w.told[id], w.leases[id])
			w.holds[id] = max(w.holds[id], w.leases[id])
		}
	}
}

// running is the workload that runs.
func (w *coreWorld) running() spoke.WorkloadID {
	for id, r := range w.runs {
		if r.State == spoke.WorkloadRunning {
			return id
		}
	}
	w.print("nothing runs")
	return spoke.WorkloadID{Session: sessionA}
}

func (w *coreWorld) duration(c *datadriven.TestData, key string) time.Duration {
	d, err := time.ParseDuration(w.arg(c, key))
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *coreWorld) arg(c *datadriven.TestData, key string) string {
	for _, a := range c.CmdArgs {
		if a.Key == key {
			return strings.Join(a.Vals, ",")
		}
	}
	return ""
}

func (w *coreWorld) has(c *datadriven.TestData, key string) bool {
	return slices.ContainsFunc(c.CmdArgs, func(a datadriven.CmdArg) bool { return a.Key == key })
}

func (w *coreWorld) numbers(c *datadriven.TestData, key string) []uint64 {
	var out []uint64
	for _, v := range strings.FieldsFunc(w.arg(c, key), func(r rune) bool { return r == ',' }) {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}

func (w *coreWorld) one(c *datadriven.TestData, key string, def uint64) uint64 {
	if ns := w.numbers(c, key); len(ns) > 0 {
		return ns[0]
	}
	return def
}

// answered fails the test when an input was answered with an error that was not asked for.
func (w *coreWorld) answered(err error) {
	if err != nil {
		w.print("refused: %v", err)
	}
}

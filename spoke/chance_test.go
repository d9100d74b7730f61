package spoke_test

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/spoketest"
)

// chance is one session at a spoke that is driven by hand, with a hub, harnesses and a machine to which anything may happen.
type chance struct {
	t       *rapid.T
	now     time.Duration
	journal *spoketest.Journal
	core    *spoke.Core // nil: the program does not run
	door    *chanceDoor
	online  bool
	beats   bool
	beat    time.Duration // the next one
	answer  time.Duration // when the last answered heartbeat was sent
	up      []api.SpokeMessage
	hub     *chanceHub
	disk    chanceDisk
	runs    map[spoke.WorkloadID]*chanceRun
	calls   []spoke.Call
	slow    bool          // the runtime takes its time
	calm    time.Duration // since when the spoke runs and the runtime is quick
	lapsed  map[api.Epoch]bool
	last    spoke.WorkloadID
	seen    map[string]int // what happened, so that the test can tell that it did
}

// chanceDoor keeps what the spoke says of one workload or another.
type chanceDoor struct {
	spoke.Door
	c      *chance
	orders map[spoke.WorkloadID]spoke.Orders
	leases map[spoke.WorkloadID]time.Duration
	asked  map[spoke.WorkloadID][2]time.Duration
}

func (d *chanceDoor) Tell(id spoke.WorkloadID, o spoke.Orders)       { d.orders[id] = o }
func (d *chanceDoor) Lease(id spoke.WorkloadID, until time.Duration) { d.leases[id] = until }
func (d *chanceDoor) Asked(id spoke.WorkloadID) (at, until time.Duration) {
	return d.asked[id][0], d.asked[id][1]
}
func (d *chanceDoor) Forget(id spoke.WorkloadID) {
	delete(d.orders, id)
	delete(d.leases, id)
}

// chanceLink takes what is sent.
type chanceLink struct {
	spoke.Link
	c *chance
}

func (l chanceLink) Send(m api.SpokeMessage) error {
	if !l.c.online {
		return api.Errorf(api.CodeUnavailable, "no connection")
	}
	if len(l.c.up) > 8 {
		return api.Errorf(api.CodeLimit, "full")
	}
	for _, h := range m.Held {
		if h.State == api.HeldLapsed {
			l.c.lapsed[h.Epoch] = true
		}
	}
	l.c.up = append(l.c.up, m)
	return nil
}

func newChance(t *rapid.T) *chance {
	c := &chance{t: t, now: time.Hour, journal: &spoketest.Journal{}, runs: map[spoke.WorkloadID]*chanceRun{}, lapsed: map[api.Epoch]bool{}, seen: map[string]int{},
		hub: &chanceHub{t: t, mode: api.CheckpointTurn, taken: map[api.Source]uint64{}}, disk: chanceDisk{local: map[api.CheckpointID][]uint64{}, bucket: map[api.CheckpointID][]uint64{}}}
	if rapid.IntRange(0, 3).Draw(t, "mode") == 0 {
		c.hub.mode = api.CheckpointIdle
	}
	c.hub.never = rapid.IntRange(0, 9).Draw(t, "never") == 0
	c.boot()
	c.connect()
	c.hub.accept()
	return c
}

// boot starts the program; what it did not journal is forgotten.
func (c *chance) boot() {
	c.door = &chanceDoor{c: c, orders: map[spoke.WorkloadID]spoke.Orders{}, leases: map[spoke.WorkloadID]time.Duration{}, asked: map[spoke.WorkloadID][2]time.Duration{}}
	for _, r := range c.runs {
		r.attached, r.busy = false, false
	}
	c.calls, c.calm = nil, c.now
	var err error
	c.core, err = spoke.NewCore(spoke.Config{Runtime: &spoketest.Runtime{}, Journal: c.journal, Link: chanceLink{c: c}, Door: c.door, Log: slog.New(slog.DiscardHandler),
		Boot: "boot", Fingerprint: "here", Clock: func() time.Duration { return c.now }, Wall: func() time.Time { return time.Unix(0, 0).Add(c.now) }})
	if err != nil {
		c.t.Fatal(err)
	}
	c.round()
}

func (c *chance) crash() { c.core, c.online, c.up = nil, false, nil }

func (c *chance) connect() {
	if c.core == nil || c.online {
		return
	}
	at := c.now
	c.core.Take(spoke.Hello(func(h api.Hello, err error) {
		if err != nil {
			c.t.Fatal(err)
		}
		for _, held := range h.Held {
			if held.State == api.HeldLapsed {
				c.lapsed[held.Epoch] = true
			}
		}
		c.hub.hello(h)
	}))
	c.round()
	c.online, c.beats, c.beat = true, true, c.now
	c.answer = max(c.answer, at) // the hub takes the lease before it says welcome
	c.core.Take(spoke.Connected(api.Welcome{Protocol: 1, Cluster: "cluster"}, nil))
	c.round()
}

func (c *chance) cut() {
	if c.online {
		c.online, c.up = false, nil
		c.core.Take(spoke.Disconnected(errors.New("cut")))
		c.round()
	}
}

// round lets the core go on, and the runtime as far as it is quick.
func (c *chance) round() {
	for range 100 {
		calls, err := c.core.Round()
		if err != nil {
			c.t.Fatal(err)
		}
		for _, call := range calls {
			c.asks(call)
		}
		c.calls = append(c.calls, calls...)
		if c.slow || len(c.calls) == 0 && c.core.Next() > c.now {
			return
		}
		for len(c.calls) > 0 {
			c.perform(0)
		}
	}
	c.t.Fatal("the spoke does not come to rest")
}

// perform does one operation of the runtime.
func (c *chance) perform(i int) {
	call := c.calls[i]
	c.calls = slices.Delete(c.calls, i, i+1)
	switch {
	case call.List > 0:
		var list []spoke.Workload
		for id, r := range c.runs {
			w := spoke.Workload{ID: id, State: spoke.WorkloadRunning}
			if r.ended {
				w.State, w.Exit = spoke.WorkloadEnded, r.exit
			}
			list = append(list, w)
		}
		slices.SortFunc(list, func(a, b spoke.Workload) int { return strings.Compare(a.ID.String(), b.ID.String()) })
		c.core.Take(spoke.Listed(call, list, nil, api.Capacity{Flavors: []api.FlavorCapacity{{Flavor: api.DefaultFlavor, Total: 1}}}, nil))
		return
	case call.Start != nil:
		c.begin(*call.Start)
	default:
		if r := c.runs[call.Stop]; r != nil && r.ended {
			delete(c.runs, call.Stop)
		} else if r != nil {
			c.seen["stop"]++
			if by := c.now + call.Grace; r.killAt == 0 || by < r.killAt {
				r.killAt = by
			}
		}
	}
	c.core.Take(spoke.Done(call, nil))
}

// asks checks an operation when the spoke asks for it: a slow runtime may begin it later, but then its harness has no lease.
func (c *chance) asks(call spoke.Call) {
	if call.Start == nil {
		return
	}
	id := call.Start.ID
	if c.lapsed[id.Epoch] {
		c.t.Fatalf("%v begins, and its epoch has lapsed", id)
	}
	if !c.hub.never && c.now >= c.answer+chanceEnd {
		c.t.Fatalf("%v begins at %v, the last heartbeat that was answered was sent at %v", id, c.now, c.answer)
	}
}

func (c *chance) begin(s spoke.WorkloadSpec) {
	c.seen["start"]++
	if s.ID.Epoch == c.last.Epoch && s.ID.Attempt <= c.last.Attempt || s.ID.Epoch.Compare(c.last.Epoch) < 0 {
		c.t.Fatalf("%v begins after %v", s.ID, c.last)
	}
	c.last = s.ID
	for id, r := range c.runs {
		if !r.ended {
			c.t.Fatalf("%v begins, and %v runs", s.ID, id)
		}
	}
	c.runs[s.ID] = &chanceRun{spec: s, consumed: map[uint64]bool{}}
}

// pass lets time pass in ticks of half a second.
func (c *chance) pass(d time.Duration, act bool) {
	for end := c.now + d; c.now < end; {
		c.now += 500 * time.Millisecond
		for id, r := range c.runs {
			c.live(id, r)
		}
		if c.slow || c.core == nil {
			c.calm = c.now
		}
		if c.core == nil {
			continue
		}
		if c.online && c.beats && c.now >= c.beat {
			c.beat, c.answer = c.now+2*time.Second, c.now
			c.core.Take(spoke.Renewed(c.now, nil))
		}
		if act {
			c.act(api.OutcomeDone)
			c.carry(100)
		}
		c.round()
	}
}

// live is what happens to a workload by itself.
func (c *chance) live(id spoke.WorkloadID, r *chanceRun) {
	switch {
	case r.ended:
	case r.killAt > 0 && c.now >= r.killAt:
		c.end(id, r, "killed")
	case r.frozen > 0: // its agent acts on
	case c.now >= r.lease && r.turn != nil && r.lease != spoke.LeaseForever:
		c.seen["cut"]++
		r.work(&c.disk, spoke.Orders{}, c.now, false, api.OutcomeCut)
	}
}

func (c *chance) end(id spoke.WorkloadID, r *chanceRun, exit string) {
	if r.attached && c.core != nil {
		c.core.Take(spoke.Detached(id))
	}
	if r.turn == nil && r.restored && r.frozen == 0 {
		c.disk.marker = r.clean
	}
	r.ended, r.exit, r.turn, r.attached = true, exit, nil, false
}

// act lets the harnesses do a step each.
func (c *chance) act(outcome api.Outcome) {
	if c.core == nil {
		return
	}
	for id, r := range c.runs {
		if r.ended || r.frozen > 0 {
			continue
		}
		if !r.attached {
			c.core.Take(spoke.Attached(id, func(upTo uint64, err error) {
				if err != nil {
					return
				}
				if upTo > r.number {
					c.t.Fatalf("the spoke says that it has %d events of %v, which made %d", upTo, id, r.number)
				}
				r.attached = true
				r.events = slices.DeleteFunc(r.events, func(e api.Event) bool { return e.SourceNumber <= upTo })
			}))
			c.round()
		}
		if r.attached {
			r.asked, r.lease = c.now, c.door.leases[id]
			c.door.asked[id] = [2]time.Duration{c.now, max(c.door.asked[id][1], r.lease)}
		}
		orders, told := c.door.orders[id]
		if orders.Stop && r.turn == nil && len(r.events) == 0 {
			c.end(id, r, "stopped")
			continue
		}
		if told && r.attached || r.turn != nil {
			r.work(&c.disk, orders, c.now, c.online && r.attached && c.answer > c.now-2*time.Second, outcome)
		}
		c.report(id, r)
	}
}

// report hands events over.
func (c *chance) report(id spoke.WorkloadID, r *chanceRun) {
	if !r.attached || len(r.events) == 0 || c.core == nil {
		return
	}
	events := slices.Clone(r.events)
	c.core.Take(spoke.Events(id, events, func(err error) {
		if err != nil {
			c.t.Fatalf("report of %v: %v", id, err)
		}
		last := events[len(events)-1].SourceNumber
		r.events = slices.DeleteFunc(r.events, func(e api.Event) bool { return e.SourceNumber <= last })
	}))
	c.round()
}

// carry moves messages in both directions.
func (c *chance) carry(n int) {
	for range n {
		if !c.online {
			return
		}
		if len(c.up) > 0 {
			c.hub.take(c.up[0])
			c.up = c.up[1:]
		}
		if !c.hub.told {
			c.hub.update(false)
		}
		if len(c.hub.out) == 0 && len(c.up) == 0 {
			return
		}
		if len(c.hub.out) > 0 {
			m := c.hub.out[0]
			c.hub.out = c.hub.out[1:]
			c.core.Take(spoke.Received(m, func(err error) {
				if err != nil {
					c.t.Fatalf("the spoke takes no %+v: %v", m, err)
				}
			}))
			c.round()
		}
	}
}

// check is what holds at every moment.
func (c *chance) check() {
	living := 0
	for id, r := range c.runs {
		if r.ended {
			continue
		}
		living++
		over := c.now - (c.answer + chanceEnd)
		switch {
		case r.turn == nil || c.hub.never:
		case r.frozen == 0 && over >= 0:
			c.t.Fatalf("%v acts at %v, %v after its time", id, c.now, over)
		case r.frozen > 0 && c.calm < r.asked && c.now > r.lease+2500*time.Millisecond, r.frozen > 0 && c.now > max(r.lease, c.calm+chanceEnd)+2500*time.Millisecond:
			c.t.Fatalf("the agent of %v acts at %v, its harness is frozen and its lease ended at %v", id, c.now, r.lease)
		}
	}
	if living > 1 {
		c.t.Fatalf("%d workloads run", living)
	}
	if c.core != nil {
		for _, h := range c.core.Held() {
			if h.State == api.HeldLapsed {
				c.seen["lapse"]++
				c.lapsed[h.Epoch] = true
			} else if c.lapsed[h.Epoch] {
				c.t.Fatalf("epoch %v has lapsed and is %s", h.Epoch, h.State)
			}
		}
	}
}

// settle ends all trouble. In the end every signal is consumed by exactly one turn of what the last checkpoint holds.
func (c *chance) settle() {
	c.slow = false
	if c.core == nil {
		c.boot()
	}
	for id, r := range c.runs {
		if r.frozen > 0 && !r.ended {
			c.end(id, r, "killed")
		}
	}
	c.connect()
	c.beats = true
	for i := 0; c.hub.assigned || c.hub.unsettled(); i++ {
		if i > 3000 {
			c.t.Fatalf("it does not come to an end: hub %+v\nspoke %+v\nruns %v", c.hub, c.core.Held(), c.runs)
		}
		c.pass(time.Second, true)
		c.check()
	}
	var got []uint64
	if n := len(c.hub.checkpoints); n > 0 {
		got = slices.Sorted(slices.Values(c.disk.bucket[c.hub.checkpoints[n-1]]))
	}
	var want []uint64
	for n := uint64(1); n <= c.hub.sequence; n++ {
		want = append(want, n)
	}
	if !slices.Equal(got, want) {
		c.t.Fatalf("the turns of the last checkpoint consumed %v, want each of %v once", got, want)
	}
}

// TestChance lets anything happen to a session: hub outages, lapses, crashes of the spoke, frozen and dying harnesses, a slow
// runtime, jumps of the clock, failed turns, lost checkpoints. At every moment one workload runs at most, nobody acts or begins
// after the right has ended, and a lapsed epoch stays so; events are dense and attempts only grow; in the end no signal is
// lost and none is consumed twice by what is kept.
func TestChance(t *testing.T) {
	seen := map[string]int{}
	for range 10 {
		rapid.Check(t, func(t *rapid.T) { story(t, seen) })
	}
	for _, k := range []string{"start", "stop", "lapse", "cut", "frozen", "lost"} {
		if seen[k] < 10 {
			t.Errorf("%q happened in %d stories: too few to tell anything", k, seen[k])
		}
	}
}

// story is one of them.
func story(t *rapid.T, seen map[string]int) {
	c := newChance(t)
	defer func() {
		for k, n := range c.seen {
			seen[k] += min(n, 1)
		}
	}()
	seconds := func(t *rapid.T, most int) time.Duration {
		return time.Duration(rapid.IntRange(1, most).Draw(t, "seconds")) * time.Second
	}
	t.Repeat(map[string]func(*rapid.T){
		"signal": func(*rapid.T) {
			if c.hub.sequence < 8 {
				c.hub.accept()
			}
		},
		"work": func(t *rapid.T) {
			for range rapid.IntRange(1, 6).Draw(t, "steps") {
				if c.core != nil {
					c.act(api.OutcomeDone)
					c.round()
				}
				c.carry(rapid.IntRange(0, 5).Draw(t, "messages"))
			}
		},
		"fails": func(*rapid.T) { c.act(api.OutcomeFailed) },
		"stops": func(*rapid.T) { c.act(api.OutcomeCancelled) },
		"carry": func(t *rapid.T) { c.carry(rapid.IntRange(1, 20).Draw(t, "messages")) },
		"pass":  func(t *rapid.T) { c.pass(seconds(t, 20), rapid.Bool().Draw(t, "act")) },
		"wait":  func(t *rapid.T) { c.pass(seconds(t, 90), false) },
		"cut":   func(*rapid.T) { c.cut() },
		"full":  func(*rapid.T) { c.journal.Fill() }, // so that it is compacted
		"away": func(t *rapid.T) { // the hub does not answer, the connection stands
			c.beats = rapid.Bool().Draw(t, "beats")
		},
		"connect": func(*rapid.T) { c.connect() },
		"jump":    func(t *rapid.T) { c.jump(seconds(t, 70)) },
		"crash":   func(*rapid.T) { c.crash() },
		"dead": func(t *rapid.T) { // in the middle of a turn, for longer than the lease
			if c.core == nil {
				c.boot()
			}
			c.slow = false
			c.connect()
			if c.hub.sequence < 8 {
				c.hub.accept()
			}
			for i := 0; i < 8 && !c.turning(); i++ {
				c.carry(20)
				c.act(api.OutcomeDone)
				c.pass(500*time.Millisecond, false)
			}
			c.crash()
			c.pass(50*time.Second+seconds(t, 30), false)
		},
		"boot": func(*rapid.T) {
			if c.core == nil {
				c.boot()
			}
		},
		"dies": func(*rapid.T) {
			for id, r := range c.runs {
				if !r.ended {
					c.end(id, r, "crash")
				}
			}
		},
		"freezes": func(*rapid.T) {
			for _, r := range c.runs {
				if !r.ended && r.frozen == 0 {
					c.seen["frozen"]++
					r.frozen = c.now
				}
			}
		},
		"loses": func(*rapid.T) {
			c.disk.local = map[api.CheckpointID][]uint64{}
			if c.disk.marker != "" && c.idle() {
				c.seen["lost"]++
				c.disk.marker, c.disk.state = "", nil
			}
		},
		"slow": func(t *rapid.T) {
			if c.core == nil {
				return
			}
			if c.slow = rapid.Bool().Draw(t, "slow"); len(c.calls) > 0 {
				c.perform(rapid.IntRange(0, len(c.calls)-1).Draw(t, "call"))
			}
			c.round()
		},
		"": func(*rapid.T) { c.check() },
	})
	c.settle()
}

// turning reports that a turn runs.
func (c *chance) turning() bool {
	for _, r := range c.runs {
		if r.turn != nil {
			return true
		}
	}
	return false
}

// idle reports that nothing runs.
func (c *chance) idle() bool {
	for _, r := range c.runs {
		if !r.ended {
			return false
		}
	}
	return true
}

// jump is time in which nobody does anything: the machine slept. Workloads live on.
func (c *chance) jump(d time.Duration) {
	c.now += d
	c.calm = c.now
	for id, r := range c.runs {
		c.live(id, r)
	}
	if c.core != nil {
		c.round()
	}
}

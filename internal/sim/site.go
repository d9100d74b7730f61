package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/spoke"
)

// Times of the network and of the leases, as programs have them by default.
const (
	leaseTTL = 10 * time.Second
	beat     = 2 * time.Second
)

var errDown = api.Errorf(api.CodeUnavailable, "the network is down")

// site is a member cluster: a machine with a clock, a spoke's program that comes and goes, its journal, its runtime.
type site struct {
	w       *World
	cluster api.ClusterID
	offset  time.Duration // of the boot-time clock of this machine
	journal *journal
	door    *door
	runtime *runtime
	disks   map[api.SessionID]*disk

	*actor
	core    *spoke.Core
	boots   int
	inputs  []spoke.Input
	woken   bool
	roundAt time.Duration

	cutUntil time.Duration // the network is down until then
	noVault  bool          // the bucket cannot be reached from here
	link     *link
	dialing  bool
}

// link is one connection. What is sent arrives in order; what is on the way when it is cut may arrive or not.
type link struct {
	owner   *owner
	up      bool // welcomed and not known to be cut at the spoke
	gone    bool // cut: nothing more arrives at the hub
	begun   bool // a full update was sent
	boot    string
	toHub   time.Duration // when the last message arrives
	toSpoke time.Duration
}

func (w *World) newSite(c api.ClusterID) *site {
	s := &site{w: w, cluster: c, offset: w.between(time.Minute, time.Hour), disks: map[api.SessionID]*disk{}, link: &link{gone: true}}
	s.journal = &journal{s: s, id: fmt.Sprintf("journal-%s-1", c)}
	s.runtime = &runtime{s: s, workloads: map[spoke.WorkloadID]*harness{}}
	s.actor = w.newActor("spoke " + string(c))
	s.dead = true
	return s
}

// clock is the boot-time clock of the machine.
func (s *site) clock() time.Duration { return s.w.now + s.offset }

// start starts the spoke's program.
func (s *site) start() {
	if !s.dead {
		return
	}
	s.boots++
	s.actor = s.w.newActor("spoke " + string(s.cluster))
	s.inputs, s.woken, s.dialing, s.link = nil, false, false, &link{gone: true}
	s.door = &door{s: s, orders: map[spoke.WorkloadID]spoke.Orders{}, leases: map[spoke.WorkloadID]time.Duration{}, asked: map[spoke.WorkloadID][2]time.Duration{}}
	s.w.note("spoke %s starts, boot %d", s.cluster, s.boots)
	s.w.did("spoke started")
	s.do(func() {
		core, err := spoke.NewCore(spoke.Config{Runtime: s.runtime, Journal: s.journal, Link: (*spokeLink)(s), Door: s.door, Log: quiet,
			Boot: s.boot(), Fingerprint: "f-" + string(s.cluster), Version: "sim", Clock: s.clock, Wall: s.w.wall})
		if err != nil {
			s.w.violated("P6", "spoke %s does not start: %v", s.cluster, err)
			panic(crash{})
		}
		s.core = core
	})
	s.wake()
	s.w.after(s.w.between(0, 500*time.Millisecond), "", s.dial)
	for _, h := range s.runtime.ordered() {
		h.reattach()
	}
}

func (s *site) boot() string { return fmt.Sprintf("%s-boot-%d", s.cluster, s.boots) }

// end kills the spoke's program. What it started goes on.
func (s *site) end() {
	if s.dead {
		return
	}
	s.kill()
	s.core = nil
	s.cut(errDown)
	for _, h := range s.runtime.ordered() {
		h.detached()
	}
}

// died notices that the program died at a point.
func (s *site) died() bool {
	if s.dead && s.core != nil {
		s.core = nil
		s.cut(errDown)
		for _, h := range s.runtime.ordered() {
			h.detached()
		}
	}
	return s.dead
}

// take hands an input to the program.
func (s *site) take(in spoke.Input) {
	if s.dead {
		return
	}
	s.inputs = append(s.inputs, in)
	s.wake()
}

func (s *site) wake() { s.wakeIn(s.w.between(0, 2*time.Millisecond)) }

// wakeIn lets a round happen within d, unless one does already.
func (s *site) wakeIn(d time.Duration) {
	at := s.w.now + d
	if s.woken && s.roundAt <= at {
		return
	}
	s.woken, s.roundAt = true, at
	boot := s.boots
	s.w.after(d, "", func() {
		if s.boots == boot && s.woken && s.w.now >= s.roundAt {
			s.round()
		}
	})
}

func (s *site) round() {
	s.woken = false
	if s.died() {
		return
	}
	if s.busy || s.frozen > s.w.now {
		s.wakeIn(5 * time.Millisecond)
		return
	}
	inputs := s.inputs
	s.inputs = nil
	var calls []spoke.Call
	boot := s.boots
	s.do(func() {
		s.core.Take(inputs...)
		var err error
		if calls, err = s.core.Round(); err != nil {
			s.w.violated("P6", "spoke %s: %v", s.cluster, err)
			panic(crash{})
		}
		for _, c := range calls {
			s.w.after(s.w.between(0, 30*time.Millisecond), "", func() {
				if s.boots == boot && !s.died() {
					s.runtime.perform(c)
				}
			})
		}
		s.wakeIn(max(time.Millisecond, s.core.Next()-s.clock()))
	})
	s.died()
}

// dial tries to connect to the hub until it works.
func (s *site) dial() {
	if s.died() || s.link.up || s.dialing {
		return
	}
	again := func() { s.w.after(s.w.between(50*time.Millisecond, 2*time.Second), "", s.dial) }
	o := s.w.owner
	if o == nil || o.dead || !o.up || s.w.now < s.cutUntil || s.frozen > s.w.now || s.busy {
		again()
		return
	}
	s.dialing = true
	boot := s.boots
	s.take(spoke.Hello(func(h api.Hello, err error) {
		s.w.after(s.w.between(time.Millisecond, 40*time.Millisecond), "", func() {
			s.dialing = false
			if s.boots != boot || s.died() {
				return
			}
			if err != nil || !s.attach(o, h) {
				again()
			}
		})
	}))
}

// attach is the hub's side of a hello.
func (s *site) attach(o *owner, h api.Hello) bool {
	if o.dead || o != s.w.owner || s.w.now < s.cutUntil || o.frozen > s.w.now {
		return false
	}
	if err := s.w.store.Take(context.Background(), s.cluster, hub.LeaseHolder{Boot: h.Boot, Journal: h.Journal, Fingerprint: h.Fingerprint}, leaseTTL); err != nil {
		s.w.note("spoke %s is refused: %v", s.cluster, err)
		return false
	}
	l := &link{owner: o, boot: h.Boot}
	s.link = l
	s.w.note("spoke %s attaches to hub %d", s.cluster, o.n)
	for _, held := range h.Held {
		s.w.note("%s says in its hello: %+v", s.cluster, held)
		o.post(hub.CoreHeld(s.cluster, held))
	}
	o.post(hub.CoreAttach(s.cluster, h))
	s.arrive(l, func() {
		s.take(spoke.Connected(api.Welcome{Protocol: 1, Cluster: s.cluster, Name: string(s.cluster), Beat: beat}, nil))
		l.up = true
		s.beat(l)
	})
	return true
}

// arrive delivers something to the spoke, in order.
func (s *site) arrive(l *link, f func()) {
	l.toSpoke = max(l.toSpoke, s.w.now+s.w.between(0, 20*time.Millisecond))
	boot := s.boots
	s.w.after(l.toSpoke-s.w.now, "", func() {
		if s.boots == boot && s.link == l && !s.died() && s.w.now >= s.cutUntil {
			f()
		}
	})
}

// toSpoke sends what a hub says. What a shard changes before it has said everything on a link is left out.
func (s *site) toSpoke(o *owner, m api.HubMessage) {
	l := s.link
	if l.gone {
		return
	}
	if l.owner == o {
		for _, u := range m.Updates {
			if !u.Full && !l.begun {
				return
			}
			l.begun = true
		}
	} else if !l.begun || s.w.chance(2) {
		return // of a former owner, whose own link may be there still
	}
	s.arrive(l, func() {
		s.take(spoke.Received(m, func(err error) {
			if err != nil && s.w.owner == o {
				s.w.violated("P5", "spoke %s refuses what hub %d says: %v", s.cluster, o.n, err)
			}
		}))
	})
}

// beat sends a heartbeat; the answer is the right to act.
func (s *site) beat(l *link) {
	if s.link != l || l.gone || s.died() {
		return
	}
	if s.frozen > s.w.now {
		s.w.after(s.frozen-s.w.now, "", func() { s.beat(l) })
		return
	}
	sent, boot := s.clock(), s.boots
	s.w.after(s.w.between(0, 20*time.Millisecond), "", func() {
		o := l.owner
		if l.gone || o.dead || o.frozen > s.w.now || s.w.now < s.cutUntil || s.w.storeDown() {
			return
		}
		if err := s.w.store.Renew(context.Background(), s.cluster, l.boot); err != nil {
			s.cut(err)
			return
		}
		s.w.after(s.w.between(0, 20*time.Millisecond), "", func() {
			if s.boots == boot && s.link == l && s.w.now >= s.cutUntil {
				s.take(spoke.Renewed(sent, nil))
			}
		})
	})
	s.w.after(beat, "", func() { s.beat(l) })
}

// cut ends the present link: the hub's end now, the spoke's end a little later.
func (s *site) cut(err error) {
	l := s.link
	if l.gone {
		return
	}
	l.gone = true
	boot := s.boots
	s.w.after(s.w.between(0, 3*time.Second), "", func() {
		if s.boots != boot || s.link != l || s.died() {
			return
		}
		l.up = false
		s.take(spoke.Disconnected(err))
		s.dial()
	})
}

// spokeLink is the link as the spoke sees it.
type spokeLink site

// Run is for programs; the simulator drives the core itself.
func (sl *spokeLink) Run(context.Context, spoke.LinkHandler) error { panic("driven") }

// Send implements [spoke.Link].
func (sl *spokeLink) Send(m api.SpokeMessage) error {
	s := (*site)(sl)
	l := s.link
	if !l.up {
		return api.Errorf(api.CodeUnavailable, "no link")
	}
	l.toHub = max(l.toHub, s.w.now+s.w.between(0, 20*time.Millisecond))
	s.w.after(l.toHub-s.w.now, "", func() {
		if l.gone || l.owner.dead || s.w.now < s.cutUntil {
			return
		}
		for _, b := range m.Events {
			l.owner.post(hub.CoreBatch(s.cluster, b))
		}
		for _, h := range m.Held {
			if h.State == api.HeldLapsed {
				s.w.did("lapsed")
			}
			s.w.note("%s holds %s epoch %v attempt %d %s seen %d number %d: %s", s.cluster, short(h.Session), h.Epoch, h.Attempt, h.State, h.Seen, h.Number, h.Reason)
			l.owner.post(hub.CoreHeld(s.cluster, h))
		}
	})
	return nil
}

// journal is the spoke's, in memory. Append is durable when it returns, and not before.
type journal struct {
	s       *site
	id      string
	records [][]byte
	size    int64
}

func (j *journal) Append(records [][]byte) error {
	j.s.point("journal")
	for _, r := range records {
		j.records = append(j.records, append([]byte(nil), r...))
		j.size += int64(len(r))
	}
	j.s.point("journaled")
	return nil
}

func (j *journal) Replay(f func([]byte) error) error {
	for _, r := range j.records {
		if err := f(r); err != nil {
			return err
		}
	}
	return nil
}

func (j *journal) Compact(records [][]byte) error {
	j.records, j.size = nil, 0
	for _, r := range records {
		j.records = append(j.records, append([]byte(nil), r...))
		j.size += int64(len(r))
	}
	return nil
}

func (j *journal) Size() int64 { return j.size }
func (j *journal) ID() string  { return j.id }

// door is where the harnesses of the site come. It is of the program and lost with it.
type door struct {
	s      *site
	orders map[spoke.WorkloadID]spoke.Orders
	leases map[spoke.WorkloadID]time.Duration
	asked  map[spoke.WorkloadID][2]time.Duration
}

func (d *door) Tell(id spoke.WorkloadID, o spoke.Orders) {
	d.orders[id] = o
	if h := d.s.runtime.workloads[id]; h != nil {
		h.told()
	}
}

func (d *door) Lease(id spoke.WorkloadID, until time.Duration) { d.leases[id] = until }

func (d *door) Asked(id spoke.WorkloadID) (at, until time.Duration) {
	a := d.asked[id]
	return a[0], a[1]
}

func (d *door) Forget(id spoke.WorkloadID) {
	delete(d.orders, id)
	delete(d.leases, id)
	if h := d.s.runtime.workloads[id]; h != nil {
		h.detached()
	}
}

// Run is for programs.
func (d *door) Run(context.Context, spoke.DoorHandler) error { panic("driven") }

// ask answers a harness's request for its lease.
func (d *door) ask(id spoke.WorkloadID) time.Duration {
	until := d.leases[id]
	d.asked[id] = [2]time.Duration{d.s.clock(), max(until, d.asked[id][1])}
	if until == spoke.LeaseForever {
		return until
	}
	return until - d.s.clock()
}

package hub

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// shardWorld is a shard's surroundings in memory: what is durable, what the archive has, what spokes hold, and what is under way.
// Its check method is the judge of the promises; it knows them in another form than the machine does.
type shardWorld struct {
	m        *machine
	now      time.Time
	sessions map[api.SessionID]api.Session
	signals  map[SignalKey]api.Signal
	outbox   map[OutboxKey]OutboxItem

	log     map[api.SessionID][]api.Event
	settled map[api.SignalID]SettledSignal
	decided map[api.SessionID]int

	placing  []placeRequest
	writing  []Append // handed to the archive, not yet answered
	accepted map[api.SignalID]api.Accepted
	byKey    map[KeyScope]api.Accepted
	spokes   map[api.ClusterID]map[api.SessionID]*heldSession
	boxes    map[api.ClusterID]map[spokeBox][]api.Event // what spokes keep until it is acknowledged
	stale    int
	next     int
}

// spokeBox names an outbox of a spoke. It outlives the session there.
type spokeBox struct {
	session api.SessionID
	source  api.Source
}

// heldSession is one session at a spoke.
type heldSession struct {
	desired  api.Desired
	done     map[uint64]bool
	source   api.Source
	number   uint64
	reported bool   // that it runs
	seen     uint64 // highest sequence that it was told
	released bool
}

const worldAgent api.ObjectID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"

func newShardWorld() *shardWorld {
	w := &shardWorld{now: time.Unix(1_700_000_000, 0).UTC(), sessions: map[api.SessionID]api.Session{}, signals: map[SignalKey]api.Signal{}, outbox: map[OutboxKey]OutboxItem{},
		log: map[api.SessionID][]api.Event{}, settled: map[api.SignalID]SettledSignal{}, decided: map[api.SessionID]int{},
		accepted: map[api.SignalID]api.Accepted{}, byKey: map[KeyScope]api.Accepted{},
		spokes: map[api.ClusterID]map[api.SessionID]*heldSession{"aws": {}, "gcp": {}},
		boxes:  map[api.ClusterID]map[spokeBox][]api.Event{"aws": {}, "gcp": {}}}
	w.m = newMachine(0, api.Head{Generation: api.Generation{Incarnation: 1, N: 1}}, Limits{PendingPerSession: 8, Window: 3, WindowBytes: 1 << 20})
	return w
}

// do gives an event to the machine, makes the outcome durable and performs it. With lost the owner dies after the commit,
// before any effect.
func (w *shardWorld) do(ev event, guardHolds, lost bool) {
	o := w.m.step(w.now, ev)
	if o.guard != nil {
		if guardHolds {
			w.commit(o.mutations)
		}
		if lost {
			return
		}
		w.perform(o.effects)
		a := o.guard.assigned
		a.ok = guardHolds
		w.do(a, true, false)
		return
	}
	w.commit(o.mutations)
	if !lost {
		w.perform(o.effects)
	}
}

func (w *shardWorld) commit(muts []Mutation) {
	for _, m := range muts {
		switch {
		case m.PutSession != nil:
			w.sessions[m.PutSession.ID] = *m.PutSession
		case m.PutSignal != nil:
			w.signals[SignalKey{m.PutSignal.Session, m.PutSignal.Sequence}] = *m.PutSignal
		case m.DeleteSignal != nil:
			delete(w.signals, *m.DeleteSignal)
		case m.PutOutbox != nil:
			w.outbox[OutboxKey{m.PutOutbox.Event.Session, m.PutOutbox.Event.SourceNumber}] = *m.PutOutbox
		case m.DeleteOutbox != nil:
			delete(w.outbox, *m.DeleteOutbox)
		}
	}
	if len(muts) > 0 {
		w.m.head.Batch++
	}
}

func (w *shardWorld) perform(effs []effect) {
	for _, e := range effs {
		switch e := e.(type) {
		case effReply:
			e.to <- e.reply
		case effPlace:
			w.placing = append(w.placing, e.request)
		case effAppend:
			if w.writing != nil {
				panic("two appends in flight")
			}
			w.writing = e.appends
		case effSend:
			for _, d := range e.sessions {
				w.receive(e.cluster, d)
			}
		case effAck:
			box := spokeBox{e.ack.Session, e.ack.Source}
			left := slices.DeleteFunc(slices.Clone(w.boxes[e.cluster][box]), func(ev api.Event) bool { return ev.SourceNumber <= e.ack.UpTo })
			if w.boxes[e.cluster][box] = left; len(left) == 0 {
				delete(w.boxes[e.cluster], box)
			}
		case effGap:
			panic("a gap where none was: " + e.err.Error())
		case effStale:
			w.stale++
		}
	}
}

// receive is the spoke taking what is wanted.
func (w *shardWorld) receive(c api.ClusterID, d api.Desired) {
	h := w.spokes[c][d.Session]
	if h == nil || h.desired.Epoch.Compare(d.Epoch) < 0 {
		h = &heldSession{done: map[uint64]bool{}, source: api.Source{Epoch: d.Epoch, Attempt: 1}}
		w.spokes[c][d.Session] = h
	}
	if d.Epoch == h.desired.Epoch || h.desired.Epoch.IsZero() {
		h.released = h.released || d.Release
		if !d.Release {
			h.desired.Signals = d.Signals
			for _, s := range d.Signals {
				h.seen = max(h.seen, s.Sequence)
			}
		}
	}
	h.desired.Epoch, h.desired.Session = d.Epoch, d.Session
}

// signal sends one at the door.
func (w *shardWorld) signal(key, idem, payload string, lost bool) signalReply {
	w.next++
	var entropy [10]byte
	copy(entropy[2:], fmt.Sprintf("%08d", w.next))
	reply := make(chan signalReply, 1)
	ev := evSignal{org: api.DefaultOrg, agent: worldAgent, agentName: "a", key: key, newID: api.NewSessionID(w.now, 0, entropy), reply: reply,
		signal: api.Signal{ID: api.SignalID(fmt.Sprintf("sig-%d", w.next)), IdempotencyKey: idem, Payload: []byte(payload), PayloadHash: [32]byte{payload[0]}}}
	scope := KeyScope{worldAgent, key, idem}
	if idem != "" {
		for _, row := range w.settled {
			if row.Scope == scope {
				ev.settled = &row
			}
		}
	}
	w.do(ev, true, lost)
	select {
	case r := <-reply:
		if r.err == nil && !r.accepted.Duplicate {
			w.accepted[r.accepted.Signal] = r.accepted
			if idem != "" {
				w.byKey[scope] = r.accepted
			}
		}
		return r
	default: // the owner died before it answered
		return signalReply{err: api.Errorf(api.CodeUnavailable, "no answer")}
	}
}

// archive writes the append in flight, all or none.
func (w *shardWorld) archive() error {
	for _, a := range w.writing {
		if a.Generation != w.m.head.Generation {
			return fmt.Errorf("append of generation %s at %s", a.Generation, w.m.head.Generation)
		}
		for _, ev := range a.Events {
			log := w.log[ev.Session]
			if ev.Number != uint64(len(log)+1) {
				return fmt.Errorf("session %s: event %d after %d", ev.Session, ev.Number, len(log))
			}
			last := uint64(0)
			for _, old := range log {
				if old.Source == ev.Source {
					last = old.SourceNumber
				}
			}
			if ev.SourceNumber != last+1 {
				return fmt.Errorf("session %s source %s: event %d after %d", ev.Session, ev.Source, ev.SourceNumber, last)
			}
			w.log[ev.Session] = append(log, ev)
		}
		for _, row := range a.Settled {
			if first, ok := w.settled[row.Signal.ID]; ok && !reflect.DeepEqual(first, row) {
				return fmt.Errorf("signal %s is settled with another content", row.Signal.ID)
			}
			w.settled[row.Signal.ID] = row
		}
		for _, d := range a.Decisions {
			w.decided[d.Session]++
		}
	}
	return nil
}

// restart makes the next owner from what is durable.
func (w *shardWorld) restart() {
	w.writing, w.placing = nil, nil
	g := w.m.head.Generation
	g.N++
	m := newMachine(0, api.Head{Generation: g, Batch: w.m.head.Batch}, w.m.limits)
	var c ShardContents
	for _, id := range slices.Sorted(maps.Keys(w.sessions)) {
		c.Sessions = append(c.Sessions, w.sessions[id])
	}
	for _, s := range w.signals {
		c.Signals = append(c.Signals, s)
	}
	slices.SortFunc(c.Signals, func(a, b api.Signal) int { return int(a.Sequence) - int(b.Sequence) })
	for _, item := range w.outbox {
		c.Outbox = append(c.Outbox, item)
	}
	slices.SortFunc(c.Outbox, func(a, b OutboxItem) int { return int(a.Event.SourceNumber) - int(b.Event.SourceNumber) })
	positions := map[api.SessionID]LogPosition{}
	for id, log := range w.log {
		p := LogPosition{Number: uint64(len(log)), Sources: map[api.Source]uint64{}}
		for _, ev := range log {
			p.Sources[ev.Source] = ev.SourceNumber
		}
		positions[id] = p
	}
	settled := map[api.SignalID]bool{}
	for id := range w.settled {
		settled[id] = true
	}
	w.m = m
	o := m.load(c, positions, settled)
	for _, s := range m.sessions {
		if s.Assignment != nil {
			s.revision = testRevision()
		}
	}
	w.commit(o.mutations)
	w.perform(o.effects)
	for _, c := range []api.ClusterID{"aws", "gcp"} {
		w.attach(c)
		w.resend(c)
	}
}

// attach is a spoke's new link, on which it says what it has.
func (w *shardWorld) attach(c api.ClusterID) {
	held := map[api.SessionID]api.Held{}
	for id := range w.spokes[c] {
		held[id] = api.Held{}
	}
	w.do(evAttach{cluster: c, held: held}, true, false)
}

// resend is a spoke's new link: everything that is not acknowledged goes up again.
func (w *shardWorld) resend(c api.ClusterID) {
	boxes := slices.SortedFunc(maps.Keys(w.boxes[c]), func(a, b spokeBox) int {
		return cmp.Or(strings.Compare(string(a.session), string(b.session)), a.source.Epoch.Compare(b.source.Epoch), cmp.Compare(a.source.Attempt, b.source.Attempt))
	})
	for _, box := range boxes {
		ev := evEvents{cluster: c, batch: api.EventBatch{Session: box.session, Source: box.source, Events: slices.Clone(w.boxes[c][box])}}
		if box.source.Epoch.Compare(w.sessions[box.session].Epoch) < 0 {
			ev.archived = w.reached(box) // as the loop looks it up
		}
		w.do(ev, true, false)
	}
}

func testRevision() *api.ResolvedRevision {
	return &api.ResolvedRevision{AgentID: worldAgent, AgentName: "a", AgentRevision: 1, EnvironmentRevision: 1,
		Agent: &api.AgentSpec{MaxDeliveries: 2}, Environment: &api.EnvironmentSpec{}}
}

// reached is how far the archive has a source.
func (w *shardWorld) reached(box spokeBox) (n uint64) {
	for _, ev := range w.log[box.session] {
		if ev.Source == box.source {
			n = ev.SourceNumber
		}
	}
	return n
}

// refuse lets a spoke refuse what it has not begun.
func (w *shardWorld) refuse(c api.ClusterID, id api.SessionID) {
	h := w.spokes[c][id]
	if h.reported || h.released || h.number > 0 {
		return
	}
	w.do(evHeld{c, api.Held{Session: id, Epoch: h.desired.Epoch, State: api.HeldRefused, Reason: "no room"}}, true, false)
	if a := w.sessions[id].Assignment; a == nil || a.Epoch != h.desired.Epoch {
		delete(w.spokes[c], id)
	}
}

// turn lets a spoke run one turn over the signals that it has; again: over those too that it has consumed already.
func (w *shardWorld) turn(c api.ClusterID, id api.SessionID, outcome api.Outcome, again bool) {
	h := w.spokes[c][id]
	var seqs []uint64
	for _, s := range h.desired.Signals {
		if again || !h.done[s.Sequence] {
			seqs = append(seqs, s.Sequence)
		}
	}
	if len(seqs) == 0 || h.released {
		return
	}
	h.reported = true
	w.do(evHeld{c, api.Held{Session: id, Epoch: h.desired.Epoch, Attempt: 1, State: api.HeldRunning}}, true, false)
	var events []api.Event
	for _, typ := range []api.EventType{api.EventTurn, api.EventMessage, api.EventTurnDone} {
		h.number++
		ev := api.Event{SourceNumber: h.number, Type: typ, Time: w.now, Signals: seqs, Text: string(typ)}
		if typ == api.EventTurnDone {
			ev.Outcome = outcome
		}
		events = append(events, ev)
	}
	if outcome == api.OutcomeDone {
		for _, n := range seqs {
			h.done[n] = true
		}
	}
	box := spokeBox{id, h.source}
	w.boxes[c][box] = append(w.boxes[c][box], events...)
	w.do(evEvents{cluster: c, batch: api.EventBatch{Session: id, Source: h.source, Events: events}}, true, false)
}

// idle proposes sleep, or reports that nothing is left after a release.
func (w *shardWorld) idle(c api.ClusterID, id api.SessionID) {
	h := w.spokes[c][id]
	seen := h.seen
	for _, s := range h.desired.Signals {
		if !h.done[s.Sequence] && !h.released {
			return
		}
	}
	if seen == 0 {
		seen = w.sessions[id].LastSequence
	}
	h.reported = true
	state := api.HeldIdle
	if h.released {
		state = api.HeldGone
		w.resend(c) // its last events go up before it says that nothing is left
	}
	w.do(evHeld{c, api.Held{Session: id, Epoch: h.desired.Epoch, Attempt: 1, State: state, Seen: seen}}, true, false)
	if state == api.HeldGone {
		delete(w.spokes[c], id)
	}
}

// check judges the promises.
func (w *shardWorld) check() error {
	for id, a := range w.accepted {
		_, pending := w.signals[SignalKey{a.Session, a.Sequence}]
		_, settled := w.settled[id]
		if !pending && !settled {
			return fmt.Errorf("P1: signal %s was accepted and is nowhere", id)
		}
	}
	for id, log := range w.log {
		for i, ev := range log {
			if ev.Number != uint64(i+1) {
				return fmt.Errorf("P5: session %s: number %d at %d", id, ev.Number, i+1)
			}
		}
	}
	for id, row := range w.settled {
		turns := map[api.Outcome]int{}
		for _, ev := range w.log[row.Signal.Session] {
			if ev.Type == api.EventTurnDone && slices.Contains(ev.Signals, row.Signal.Sequence) {
				turns[ev.Outcome]++
			}
		}
		if row.Outcome == "done" && turns[api.OutcomeDone] == 0 || row.Outcome == "dead" && turns[api.OutcomeFailed] < 2 {
			return fmt.Errorf("P3: signal %s is %s after turns %v", id, row.Outcome, turns)
		}
	}
	seen := map[KeyScope]api.SignalID{}
	note := func(k KeyScope, id api.SignalID) error {
		if k.Key == "" {
			return nil
		}
		if other, ok := seen[k]; ok && other != id {
			return fmt.Errorf("P2: key %v is of signals %s and %s", k, other, id)
		}
		seen[k] = id
		return nil
	}
	for _, s := range w.signals {
		if err := note(KeyScope{worldAgent, w.sessions[s.Session].Key, s.IdempotencyKey}, s.ID); err != nil {
			return err
		}
	}
	for _, row := range w.settled {
		if err := note(row.Scope, row.Signal.ID); err != nil {
			return err
		}
	}
	return nil
}

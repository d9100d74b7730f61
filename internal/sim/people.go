package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/history"
)

// entropy makes ids that do not repeat.
func (w *World) entropy() (e [10]byte) {
	w.ids++
	copy(e[2:], fmt.Sprintf("%08d", w.ids))
	return e
}

// signal sends a signal to a key, again and again until it is answered, and then once more.
func (w *World) signal(key string) {
	w.calls++
	idem := fmt.Sprintf("c%d", w.calls)
	w.payload[idem] = byte(w.rnd.IntN(256))
	w.send(key, idem, func() {
		w.after(w.between(0, 5*time.Second), "", func() { w.send(key, idem, func() {}) })
		if w.chance(6) {
			w.after(w.between(0, 30*time.Second), "", func() { w.mismatch(key, idem) })
		}
	})
}

// send is one call, repeated until it is answered.
func (w *World) send(key, idem string, answered func()) {
	again := func() {
		w.after(w.between(50*time.Millisecond, time.Second), "", func() { w.send(key, idem, answered) })
	}
	o := w.owner
	if o == nil || o.dead || !o.up || w.storeDown() {
		again()
		return
	}
	done := false
	o.post(hub.CoreSignal(w.request(key, idem), agentID, api.NewSessionID(w.wall(), shard, w.entropy()), api.SignalID(api.NewULID(w.wall(), w.entropy())),
		func(a api.Accepted, err error) {
			if done {
				return // the caller has given up waiting
			}
			done = true
			if err != nil {
				if c := api.CodeOf(err); c != api.CodeUnavailable && c != api.CodeLimit {
					w.violated("P2", "signal %s is answered with %v", idem, err)
				}
				again()
				return
			}
			w.note("signal %s of %s is accepted as %d of %s (duplicate %v)", idem, key, a.Sequence, a.Session, a.Duplicate)
			w.notes = append(w.notes, history.Accepted{Agent: "a", Key: key, Idem: idem, Signal: a.Signal, Session: a.Session, Sequence: a.Sequence})
			answered()
		}))
	w.after(4*time.Second, "", func() {
		if !done {
			done = true
			again()
		}
	})
}

func (w *World) request(key, idem string) hub.SignalRequest {
	return hub.SignalRequest{Org: org, Agent: "a", Key: key, Payload: []byte{w.payload[idem]}, IdempotencyKey: idem, Sender: "people"}
}

// mismatch sends another payload under a key that was used: it must be refused.
func (w *World) mismatch(key, idem string) {
	o := w.owner
	if o == nil || o.dead || !o.up {
		return
	}
	r := w.request(key, idem)
	r.Payload = append(r.Payload, 'x')
	o.post(hub.CoreSignal(r, agentID, api.NewSessionID(w.wall(), shard, w.entropy()), api.SignalID(api.NewULID(w.wall(), w.entropy())), func(a api.Accepted, err error) {
		if err == nil {
			w.violated("P2", "key %s was accepted again with another payload, as %s", idem, a.Signal)
		}
	}))
}

// intent asks for a change of a session, until it is answered.
func (w *World) intent(s api.SessionID, c hub.Change) {
	o := w.owner
	again := func() { w.after(w.between(100*time.Millisecond, time.Second), "", func() { w.intent(s, c) }) }
	if o == nil || o.dead || !o.up {
		again()
		return
	}
	done := false
	o.post(hub.CoreIntent(hub.IntentRequest{Org: org, Session: s, Change: c, By: "people"}, func(_ hub.IntentAnswer, err error) {
		if done {
			return
		}
		if done = true; api.CodeOf(err) == api.CodeUnavailable {
			again()
			return
		}
		w.note("%s %s: %v", c, s, err)
		if err == nil {
			w.did(string(c))
		}
		if err == nil && c == hub.ChangeTerminate {
			w.ended[s] = true
		}
	}))
	w.after(4*time.Second, "", func() {
		if !done {
			done = true
			again()
		}
	})
}

// any is a session that exists.
func (w *World) any() (api.SessionID, bool) {
	c, _ := w.store.Load(context.Background(), shard)
	if len(c.Sessions) == 0 {
		return "", false
	}
	return c.Sessions[w.rnd.IntN(len(c.Sessions))].ID, true
}

// live lets people and faults happen for a while.
func (w *World) live(d time.Duration, signals int) {
	w.harsh = true
	for range signals {
		w.after(w.between(0, d), "", func() { w.signal(keys[w.rnd.IntN(len(keys))]) })
	}
	for range 1 + w.rnd.IntN(8) {
		w.after(w.between(0, d), "", w.trouble)
	}
	if w.asks {
		for range w.rnd.IntN(5) {
			w.after(w.between(0, d), "", w.cancels)
		}
	}
	w.run(d)
}

// trouble is one thing that goes wrong, or that people do.
func (w *World) trouble() {
	s := w.spokes[w.rnd.IntN(len(w.spokes))]
	switch w.rnd.IntN(16) {
	case 0, 1:
		w.killOwner()
	case 2: // frozen: another one takes over, the first wakes
		w.owner.freeze(w.between(time.Second, 40*time.Second))
		w.after(w.between(0, 3*time.Second), "a second hub", w.startOwner)
	case 3:
		s.end()
	case 4:
		d := w.between(time.Second, 40*time.Second)
		w.note("spoke %s is frozen for %v", s.cluster, d)
		w.did("spoke frozen")
		s.freeze(d)
	case 5, 6:
		d := w.between(time.Second, 60*time.Second)
		w.note("the network of %s is down for %v", s.cluster, d)
		w.did("network cut")
		s.cutUntil = max(s.cutUntil, w.now+d)
		s.cut(errDown)
	case 7, 8:
		if hs := s.runtime.ordered(); len(hs) > 0 {
			hs[w.rnd.IntN(len(hs))].killed("killed")
		}
	case 9:
		if hs := s.runtime.ordered(); len(hs) > 0 {
			h, d := hs[w.rnd.IntN(len(hs))], w.between(time.Second, 30*time.Second)
			w.note("workload %s is frozen for %v", h.id, d)
			w.did("workload frozen")
			h.frozen = w.now + d
		}
	case 10: // the volume of the journal is replaced; the program too, or it would have its memory still
		s.end()
		w.ids++
		s.journal = &journal{s: s, id: fmt.Sprintf("journal-%s-%d", s.cluster, w.ids+1)}
		w.note("the journal of %s is lost", s.cluster)
		w.did("journal lost")
	case 11: // local state is lost
		for _, id := range keysOf(s.disks) {
			if s.idleDisk(id) {
				delete(s.disks, id)
			}
		}
	case 12:
		d := w.between(time.Second, 15*time.Second)
		s.offset += d
		w.note("the clock of %s jumps by %v", s.cluster, d)
		w.did("clock jumped")
	case 15: // a session ends while its cluster is away: what its agent still says comes too late
		d := w.between(25*time.Second, 60*time.Second)
		s.cutUntil = max(s.cutUntil, w.now+d)
		s.cut(errDown)
		if id, ok := w.any(); ok {
			w.intent(id, hub.ChangeTerminate)
		}
	case 13:
		w.down = w.now + w.between(time.Second, 8*time.Second)
	case 14:
		if id, ok := w.any(); ok {
			w.intent(id, []hub.Change{hub.ChangePause, hub.ChangeResume, hub.ChangeTerminate}[w.rnd.IntN(3)])
		}
	}
}

// idleDisk reports that no workload uses a session's disk.
func (s *site) idleDisk(id api.SessionID) bool {
	for _, h := range s.runtime.ordered() {
		if h.id.Session == id && h.state == "Running" {
			return false
		}
	}
	return true
}

// killOwner kills the hub.
func (w *World) killOwner() {
	if w.owner != nil {
		w.owner.kill()
	}
}

// nurse starts again what has died, as a service manager does.
func (w *World) nurse() {
	w.after(w.between(200*time.Millisecond, 3*time.Second), "", w.nurse)
	if w.owner == nil || w.owner.dead {
		w.startOwner()
	}
	for _, s := range w.spokes {
		if s.died() {
			s.start()
		}
	}
}

// mend ends all faults and waits until everything is settled.
func (w *World) mend() {
	w.harsh = false
	for _, s := range w.spokes {
		s.cutUntil = 0
	}
	w.down = 0
	for range 4 {
		w.run(5 * time.Second)
		c, _ := w.store.Load(context.Background(), shard)
		for _, s := range c.Sessions {
			if s.Intent == api.IntentPaused {
				w.intent(s.ID, hub.ChangeResume)
			}
		}
		if w.until(20*time.Minute, func() bool { return w.settled() || w.paused() }) && w.settled() {
			break
		}
	}
	if len(w.broken) == 0 && !w.settled() {
		c, _ := w.store.Load(context.Background(), shard)
		for _, s := range c.Sessions {
			w.note("left: %+v %+v", s, s.Assignment)
		}
		for _, a := range c.Approvals {
			w.note("left: approval %+v", a)
		}
		w.note("left: outbox %+v, %d people wait", c.Outbox, w.calling)
		w.violated("P1", "not settled 20 minutes after the last fault: %d signals pending, %d sessions", len(c.Signals), len(c.Sessions))
	}
}

func (w *World) paused() bool {
	c, _ := w.store.Load(context.Background(), shard)
	for _, s := range c.Sessions {
		if s.Intent == api.IntentPaused {
			return true
		}
	}
	return false
}

// settled reports that nothing is pending and nothing runs.
func (w *World) settled() bool {
	r := w.store.shard(shard)
	if len(r.signals) > 0 || len(r.outbox) > 0 || w.calling > 0 {
		return false
	}
	for _, a := range r.approvals {
		if a.State == api.ApprovalOpen {
			return false
		}
	}
	for _, s := range r.sessions {
		if s.Phase != api.PhaseDormant || s.Intent == api.IntentTerminated {
			return false
		}
	}
	for _, s := range w.spokes {
		for _, h := range s.runtime.workloads {
			if h.state != "Ended" {
				return false
			}
		}
	}
	return true
}

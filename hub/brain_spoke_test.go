package hub_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

// fakeSpoke is the far end of a link. It keeps what the hub wants and tells it what the test says.
type fakeSpoke struct {
	b     *brain
	name  string
	a     *hub.Attachment
	group *run.Group

	silent atomic.Bool // it beats no more
	mu     sync.Mutex
	wanted map[api.SessionID]api.Desired // guarded by mu; as last told, with the epoch's revision
	acked  map[api.Source]uint64         // guarded by mu
	told   []api.Desired                 // guarded by mu; everything in order
	full   int                           // guarded by mu: full updates
	ended  error                         // guarded by mu: why the link ended
	number map[api.Source]uint64         // by the test alone: last number of its events
}

func capacity(small int) api.Capacity {
	return api.Capacity{Runtime: "test", Flavors: []api.FlavorCapacity{{Flavor: api.DefaultFlavor, Total: small}}}
}

func (b *brain) hello(name string, room int) api.Hello {
	return api.Hello{ProtocolMin: 1, ProtocolMax: 1, Version: "test", Boot: "boot-" + name, Journal: "journal-" + name, Fingerprint: name, Capacity: capacity(room)}
}

// attach begins the link of a cluster's spoke, which beats until it is closed.
func (b *brain) attach(name string, room int, held ...api.Held) *fakeSpoke {
	b.w.t.Helper()
	hello := b.hello(name, room)
	hello.Held = held
	a, _, err := b.Attach(b.w.t.Context(), name, hello)
	must(b.w.t, err)
	s := newFakeSpoke(b, name, a)
	s.group.Go("take", s.take)
	s.group.Go("beat", s.beat)
	return s
}

func newFakeSpoke(b *brain, name string, a *hub.Attachment) *fakeSpoke {
	s := &fakeSpoke{b: b, name: name, a: a, group: run.NewGroup(b.w.t.Context()), wanted: map[api.SessionID]api.Desired{}, acked: map[api.Source]uint64{}, number: map[api.Source]uint64{}}
	b.w.t.Cleanup(func() { s.close() })
	return s
}

// beat prolongs the lease until it is told to be silent.
func (s *fakeSpoke) beat(ctx context.Context) error {
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if s.ending() == nil && !s.silent.Load() {
				_ = s.a.Beat(ctx) // a refusal ends the link by itself
			}
		}
	}
}

// close ends the link and the beats; the lease runs out by itself.
func (s *fakeSpoke) close() {
	s.group.Stop()
	s.a.Close(nil)
	_ = s.group.Wait()
}

func (s *fakeSpoke) take(ctx context.Context) error {
	for {
		m, err := s.a.Next(ctx)
		s.mu.Lock()
		if err != nil {
			s.ended = err
			s.mu.Unlock()
			return nil
		}
		for _, u := range m.Updates {
			if u.Full {
				s.full++
			}
			for _, d := range u.Sessions {
				if old := s.wanted[d.Session]; d.Revision == nil && old.Epoch == d.Epoch {
					d.Revision = old.Revision
				}
				s.wanted[d.Session] = d
				s.told = append(s.told, d)
			}
		}
		for _, a := range m.Acks {
			s.acked[a.Source] = max(s.acked[a.Source], a.UpTo)
		}
		s.mu.Unlock()
	}
}

func (s *fakeSpoke) ending() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

func (s *fakeSpoke) want(id api.SessionID) (api.Desired, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.wanted[id]
	return d, ok
}

// gets waits until the hub wants a session here with so many signals, and returns it.
func (s *fakeSpoke) gets(id api.SessionID, signals int) api.Desired {
	s.b.w.t.Helper()
	var d api.Desired
	eventually(s.b.w.t, fmt.Sprintf("%s is told of %d signals", s.name, signals), func() string {
		var ok bool
		if d, ok = s.want(id); !ok || len(d.Signals) != signals || d.Release {
			return fmt.Sprintf("wanted %v with %d signals, release %v", ok, len(d.Signals), d.Release)
		}
		return ""
	})
	return d
}

func (s *fakeSpoke) released(id api.SessionID) {
	s.b.w.t.Helper()
	eventually(s.b.w.t, s.name+" is told to release", func() string {
		if d, _ := s.want(id); !d.Release {
			return fmt.Sprintf("wanted %d signals, release %v", len(d.Signals), d.Release)
		}
		return ""
	})
}

func (s *fakeSpoke) send(m api.SpokeMessage) {
	s.b.w.t.Helper()
	ctx, cancel := context.WithTimeout(s.b.w.t.Context(), 10*time.Second)
	defer cancel()
	must(s.b.w.t, s.a.Receive(ctx, m))
}

// held reports the state of a session in the epoch that the hub wants it in.
func (s *fakeSpoke) held(id api.SessionID, state api.HeldState, reason string) {
	s.b.w.t.Helper()
	s.send(api.SpokeMessage{Held: []api.Held{s.report(id, state, reason)}})
}

func (s *fakeSpoke) report(id api.SessionID, state api.HeldState, reason string) api.Held {
	d, _ := s.want(id)
	h := api.Held{Session: id, Epoch: d.Epoch, Attempt: 1, State: state, Reason: reason}
	h.Number = s.number[api.Source{Epoch: d.Epoch, Attempt: 1}]
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.told {
		for _, sig := range d.Signals {
			if d.Session == id {
				h.Seen = max(h.Seen, sig.Sequence)
			}
		}
	}
	return h
}

// turn makes the events of one turn over the signals; they are sent by the caller.
func (s *fakeSpoke) turn(d api.Desired, outcome api.Outcome, sequences ...uint64) api.EventBatch {
	b := api.EventBatch{Session: d.Session, Source: api.Source{Epoch: d.Epoch, Attempt: 1}}
	for _, typ := range []api.EventType{api.EventTurn, api.EventMessage, api.EventTurnDone} {
		s.number[b.Source]++
		e := api.Event{Session: d.Session, Source: b.Source, SourceNumber: s.number[b.Source], Type: typ, Time: time.Now().UTC(), Text: string(typ), Signals: sequences}
		if typ == api.EventTurnDone {
			e.Outcome = outcome
		}
		b.Events = append(b.Events, e)
	}
	if outcome == api.OutcomeDone {
		b.Events = append(b.Events, s.saved(b.Source))
	}
	return b
}

// saved says that a checkpoint is durable.
func (s *fakeSpoke) saved(src api.Source) api.Event {
	s.number[src]++
	id := fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s %d", src, s.number[src])))
	return api.Event{Source: src, SourceNumber: s.number[src], Type: api.EventSaved, Time: time.Now().UTC(), Attributes: map[string]string{api.AttrCheckpoint: id}}
}

// acks waits until everything that was sent of a source may be forgotten.
func (s *fakeSpoke) acks(src api.Source) {
	s.b.w.t.Helper()
	eventually(s.b.w.t, "acknowledged", func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.acked[src] != s.number[src] {
			return fmt.Sprintf("up to %d of %d", s.acked[src], s.number[src])
		}
		return ""
	})
}

// finish runs one turn over all signals and settles it.
func (s *fakeSpoke) finish(id api.SessionID, signals int) {
	s.b.w.t.Helper()
	d := s.gets(id, signals)
	s.held(id, api.HeldRunning, "")
	batch := s.turn(d, api.OutcomeDone, sequences(d)...)
	s.send(api.SpokeMessage{Events: []api.EventBatch{batch}})
	s.acks(batch.Source)
}

// sleep brings a session that has nothing to do to rest.
func (s *fakeSpoke) sleep(id api.SessionID) {
	s.b.w.t.Helper()
	s.held(id, api.HeldIdle, "")
	s.released(id)
	s.held(id, api.HeldGone, "")
	s.b.phase(id, api.PhaseDormant, 0)
}

func sequences(d api.Desired) (out []uint64) {
	for _, s := range d.Signals {
		out = append(out, s.Sequence)
	}
	return out
}

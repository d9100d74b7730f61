package loopspoke

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/transport"
)

// Bounds of what is on its way.
const (
	messageEvents = 256                   // events of one message
	savers        = 4                     // checkpoints that travel at a time, as the link has it
	again         = 2 * time.Millisecond  // after the link had no room
	saveAgain     = 50 * time.Millisecond // after a save that failed
)

// manifest stands for a checkpoint of a state without files. The hub keeps it and compares its hash, as it does with every one.
var manifest = bytes.Repeat([]byte("an empty state. "), 8)

var checkpoint = func() api.CheckpointID {
	sum := sha256.Sum256(manifest)
	return api.CheckpointID(hex.EncodeToString(sum[:]))
}()

// Spoke is one spoke. Run it once.
type Spoke struct {
	cfg   Config
	link  *transport.Link
	close func() error
	turns atomic.Int64

	mu        sync.Mutex
	sessions  map[api.SessionID]*session
	positions map[api.Shard]api.Position
	dirty     []*session // that have something to send
	toSave    []*session // whose checkpoint is not in the bucket
	stay      bool       // sessions without work stay
	wake      chan struct{}
	saveWake  chan struct{}
}

// session is one assignment. It is guarded by the spoke's lock.
type session struct {
	id     api.SessionID
	source api.Source
	seen   uint64 // highest signal
	number uint64 // of the last event
	acked  uint64
	sent   uint64      // last event that was sent on this link
	events []api.Event // not acknowledged
	state  api.HeldState
	told   bool // state was sent on this link
	queued bool // in dirty
	saved  bool // the checkpoint is in the bucket
	saving bool
	gone   bool // the hub released it
}

func newSpoke(cfg Config, l *transport.Link, closeNode func() error) *Spoke {
	return &Spoke{cfg: cfg, link: l, close: closeNode, sessions: map[api.SessionID]*session{}, positions: map[api.Shard]api.Position{},
		wake: make(chan struct{}, 1), saveWake: make(chan struct{}, savers)}
}

// Stay lets sessions without work stay from now on; before, they are reported as idle at once, and sleep.
func (s *Spoke) Stay() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stay = true
}

// Turns is how many turns it has ended.
func (s *Spoke) Turns() int64 { return s.turns.Load() }

// Held is how many sessions it has.
func (s *Spoke) Held() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Run works until ctx ends.
func (s *Spoke) Run(ctx context.Context) error {
	g := run.NewGroup(ctx)
	g.Go("link", func(ctx context.Context) error { return s.link.Run(ctx, s) })
	g.Go("send", s.send)
	for range savers {
		g.Go("save", s.save)
	}
	return errors.Join(g.Wait(), s.close())
}

// Hello implements [transport.Handler].
func (s *Spoke) Hello(context.Context) (api.Hello, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := api.Hello{ProtocolMin: api.LinkProtocolMin, ProtocolMax: api.LinkProtocolMax, Version: "bench", Boot: "loop", Journal: "loop", Fingerprint: "loop",
		Capacity: api.Capacity{Runtime: "process", Flavors: []api.FlavorCapacity{{Flavor: s.cfg.Flavor, Total: 1 << 24}}}}
	for _, x := range s.sessions {
		h.Held = append(h.Held, x.held())
	}
	for _, p := range s.positions {
		h.Positions = append(h.Positions, p)
	}
	return h, nil
}

// Connected implements [transport.Handler]: what was not acknowledged is sent again.
func (s *Spoke) Connected(context.Context, api.Welcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.sessions {
		x.sent, x.told = x.acked, false
		s.touch(x)
	}
	return nil
}

// Receive implements [transport.Handler].
func (s *Spoke) Receive(_ context.Context, m api.HubMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range m.Updates {
		s.positions[u.Position.Shard] = u.Position
		for _, d := range u.Sessions {
			s.wanted(d)
		}
	}
	for _, a := range m.Acks {
		if x := s.sessions[a.Session]; x != nil && x.source == a.Source && a.UpTo > x.acked {
			x.events, x.acked = x.events[a.UpTo-x.acked:], a.UpTo
			if x.sent = max(x.sent, x.acked); x.gone && x.told && len(x.events) == 0 {
				delete(s.sessions, x.id)
			}
		}
	}
	return nil
}

// Renewed implements [transport.Handler].
func (s *Spoke) Renewed(context.Context, time.Duration) error { return nil }

// Disconnected implements [transport.Handler].
func (s *Spoke) Disconnected(_ context.Context, err error) {
	s.cfg.Log.Debug("link ended", "error", err)
}

// wanted takes the hub's word on a session.
func (s *Spoke) wanted(d api.Desired) {
	x := s.sessions[d.Session]
	if x == nil || x.source.Epoch != d.Epoch {
		x = &session{id: d.Session, source: api.Source{Epoch: d.Epoch, Attempt: 1}, saved: d.Checkpoint == checkpoint, state: api.HeldRunning}
		s.sessions[d.Session] = x
		s.touch(x)
		if !d.Release {
			x.put(api.Event{Type: api.EventStarted})
			from := map[string]string{api.AttrFrom: "empty"}
			if x.saved {
				from = map[string]string{api.AttrFrom: "kept", api.AttrCheckpoint: string(checkpoint)}
			}
			x.put(api.Event{Type: api.EventState, Attributes: from})
		}
	}
	if d.Release {
		if !x.gone {
			x.gone, x.state, x.told = true, api.HeldGone, false
			s.touch(x)
		}
		return
	}
	var turn []uint64
	for _, sig := range d.Signals {
		if sig.Sequence > x.seen {
			x.seen = sig.Sequence
			turn = append(turn, sig.Sequence)
		}
	}
	if len(turn) == 0 || x.gone {
		return
	}
	x.put(api.Event{Type: api.EventTurn, Signals: turn})
	x.put(api.Event{Type: api.EventTurnDone, Signals: turn, Outcome: api.OutcomeDone, Attributes: map[string]string{api.AttrCheckpoint: string(checkpoint)}})
	s.turns.Add(1)
	switch {
	case x.saved:
		s.covered(x)
	case !x.saving:
		x.saving = true
		s.toSave = append(s.toSave, x)
		select {
		case s.saveWake <- struct{}{}:
		default:
		}
	}
	s.touch(x)
}

// covered says that the checkpoint is in the bucket, and that nothing is left to do.
func (s *Spoke) covered(x *session) {
	x.put(api.Event{Type: api.EventSaved, Attributes: map[string]string{api.AttrCheckpoint: string(checkpoint)}})
	if !s.stay {
		x.state, x.told = api.HeldIdle, false
	}
	s.touch(x)
}

// save takes checkpoints to the bucket.
func (s *Spoke) save(ctx context.Context) error {
	for {
		x := s.nextSave()
		if x == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-s.saveWake:
			}
			continue
		}
		header := api.CheckpointHeader{Session: x.id, Source: x.source, ID: checkpoint, Manifest: int64(len(manifest)), PackHash: sha256.Sum256(nil)}
		for {
			err := s.link.SaveCheckpoint(ctx, header, bytes.NewReader(manifest))
			if err == nil || api.CodeOf(err) == api.CodeDenied { // denied: its epoch is over
				break
			}
			s.cfg.Log.Debug("checkpoint not saved", "session", x.id, "error", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(saveAgain):
			}
		}
		s.mu.Lock()
		x.saved = true
		s.covered(x)
		s.mu.Unlock()
	}
}

func (s *Spoke) nextSave() *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.toSave) == 0 {
		return nil
	}
	x := s.toSave[0]
	if s.toSave = s.toSave[1:]; len(s.toSave) > 0 {
		select {
		case s.saveWake <- struct{}{}:
		default:
		}
	}
	return x
}

// send says what is new. What the link has no room for is said again.
func (s *Spoke) send(ctx context.Context) error {
	for {
		m, undo := s.message()
		if len(m.Held)+len(m.Events) == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-s.wake:
			}
			continue
		}
		if s.link.Send(m) == nil {
			continue
		}
		undo()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(again):
		}
	}
}

// message collects what is to be said; undo takes it back.
func (s *Spoke) message() (m api.SpokeMessage, undo func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	type before struct {
		x    *session
		sent uint64
		told bool
	}
	var were []before
	n := 0
	for len(s.dirty) > 0 && n < messageEvents {
		x := s.dirty[0]
		s.dirty, x.queued = s.dirty[1:], false
		were = append(were, before{x, x.sent, x.told})
		if rest := x.events[x.sent-x.acked:]; len(rest) > 0 {
			m.Events = append(m.Events, api.EventBatch{Session: x.id, Source: x.source, Events: rest[:len(rest):len(rest)]})
			n, x.sent = n+len(rest), x.number
		}
		if !x.told {
			m.Held = append(m.Held, x.held())
			n, x.told = n+1, true
			if x.gone && len(x.events) == 0 {
				delete(s.sessions, x.id)
			}
		}
	}
	return m, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, w := range were {
			w.x.sent, w.x.told = max(w.sent, w.x.acked), w.told
			if s.sessions[w.x.id] == nil {
				s.sessions[w.x.id] = w.x
			}
			s.touch(w.x)
		}
	}
}

// touch puts a session among those that have something to say.
func (s *Spoke) touch(x *session) {
	if !x.queued {
		x.queued = true
		s.dirty = append(s.dirty, x)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (x *session) put(e api.Event) {
	x.number++
	e.Session, e.Source, e.SourceNumber, e.Time = x.id, x.source, x.number, time.Now().UTC()
	x.events = append(x.events, e)
}

func (x *session) held() api.Held {
	return api.Held{Session: x.id, Epoch: x.source.Epoch, Attempt: x.source.Attempt, State: x.state, Seen: x.seen, Number: x.number}
}

package hub

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
)

// shardWorld is a shard's surroundings in memory: the real loop of its owner, what is durable, what spokes hold, and what is
// under way between them. Owners may die at any call that they make.
type shardWorld struct {
	core   *Core
	mem    *memory
	now    time.Time
	spokes map[api.ClusterID]*modelSpoke
	gone   map[api.ClusterID]time.Duration // since the lease of a lost cluster ended

	asked     []PlaceRequest
	submitted []Append // handed to the archive, not yet answered
	wire      []wired  // sent to spokes and not yet taken

	accepted    map[api.SignalID]api.Accepted
	byKey       map[KeyScope]api.Accepted
	wanted      map[api.SessionID]api.Intent // as it was answered
	collected   map[api.SessionID][]api.CheckpointID
	cuts        []error
	next        int
	checkpoints int
	revision    uint64                  // of the agent, now
	moves       int                     // how often a cluster was told that a session moved away from it
	decided     map[api.ApprovalID]bool // as it was answered
}

type wired struct {
	to  api.ClusterID
	msg api.HubMessage
}

const (
	worldAgent  api.ObjectID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	worldStop                = 30 * time.Second
	worldExpiry              = 23*time.Hour + 30*time.Minute // of approvals
)

func newShardWorld() *shardWorld {
	w := &shardWorld{mem: newMemory(), now: time.Unix(1_700_000_000, 0).UTC(), gone: map[api.ClusterID]time.Duration{},
		spokes:   map[api.ClusterID]*modelSpoke{"aws": newModelSpoke("aws"), "gcp": newModelSpoke("gcp")},
		accepted: map[api.SignalID]api.Accepted{}, byKey: map[KeyScope]api.Accepted{}, wanted: map[api.SessionID]api.Intent{},
		collected: map[api.SessionID][]api.CheckpointID{}, revision: 1, decided: map[api.ApprovalID]bool{}}
	w.restart()
	return w
}

// Submit, Ask, Send, Cut and Collect implement CoreOut. A dead owner does nothing more.

func (w *shardWorld) Submit(_ context.Context, _ api.Shard, appends []Append) error {
	if w.mem.burn() {
		return errDied
	}
	if w.submitted != nil {
		return w.mem.breaks("two appends are under way")
	}
	w.submitted = appends
	return nil
}

func (w *shardWorld) Ask(r PlaceRequest) {
	if !w.mem.burn() {
		w.asked = append(w.asked, r)
	}
}

func (w *shardWorld) Send(c api.ClusterID, m api.HubMessage) {
	if !w.mem.burn() && w.spokes[c].linked {
		w.wire = append(w.wire, wired{c, m})
	}
}

func (w *shardWorld) Cut(_ api.ClusterID, err error) {
	if !w.mem.burn() {
		w.cuts = append(w.cuts, err)
	}
}

func (w *shardWorld) Collect(_ api.OrgID, id api.SessionID, keep []api.CheckpointID) {
	w.collected[id] = keep
}

// turn gives events to the owner. One that died is followed by the next.
func (w *shardWorld) turn(events ...CoreEvent) {
	err := w.core.Turn(context.Background(), events...)
	w.deliver()
	if err != nil && !w.mem.died {
		w.mem.breaks("the owner ended: %v", err)
	}
	if w.mem.died {
		w.restart()
	}
}

func (w *shardWorld) deliver() {
	wire := w.wire
	w.wire = nil
	for _, m := range wire {
		w.take(w.spokes[m.to], m.msg)
	}
}

func (w *shardWorld) newCore() *Core {
	return NewCore(0, CorePorts{Shards: w.mem, Archive: w.mem, Log: w.mem, Vault: w.mem, Resolver: revisionAt{}, Out: w,
		Pause: w.pause, Logger: slog.New(slog.DiscardHandler)},
		Limits{PendingPerSession: 8, Window: 3, WindowBytes: 1 << 20, Lease: 10 * time.Second}, func() time.Time { return w.now })
}

func (w *shardWorld) pause(context.Context, time.Duration) error {
	if w.mem.died {
		return errDied
	}
	return nil
}

// restart makes the next owner from what is durable. Spokes that are heard dial it.
func (w *shardWorld) restart() {
	w.mem.died, w.mem.fuse, w.mem.after, w.mem.lose = false, 0, false, nil
	w.submitted, w.asked = nil, nil
	for _, s := range w.spokes {
		s.linked = false
	}
	w.core = w.newCore()
	if err := w.core.Load(context.Background()); err != nil {
		w.mem.breaks("load: %v", err)
	}
	for _, c := range []api.ClusterID{"aws", "gcp"} {
		if w.gone[c] == 0 {
			w.connect(c)
		}
	}
}

// connect is a spoke's new link, on which it says what it has; then everything goes up that is not acknowledged.
func (w *shardWorld) connect(c api.ClusterID) {
	s := w.spokes[c]
	delete(w.gone, c)
	delete(w.mem.dead, c)
	s.linked = true
	clear(s.sent)
	hello := api.Hello{Positions: []api.Position{{Head: s.seen}}}
	for _, id := range slices.Sorted(maps.Keys(s.sessions)) {
		hello.Held = append(hello.Held, w.held(s.sessions[id], id))
	}
	core := w.core
	for _, h := range hello.Held {
		if w.turn(CoreHeld(c, h)); w.core != core {
			return // a later owner has begun
		}
	}
	if w.turn(CoreAttach(c, hello)); w.core != core {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(s.sessions)) {
		w.report(s, id)
	}
	w.flush(s)
}

// lose lets the lease of a cluster end, or time pass since it did. Its spoke ends what has no right to act any more before the
// owner may count on it.
func (w *shardWorld) lose(c api.ClusterID, by time.Duration) {
	w.mem.dead[c], w.spokes[c].linked = true, false
	w.gone[c] += by
	w.now = w.now.Add(by)
	if w.gone[c] >= worldStop-10*time.Second {
		w.spokes[c].lapse()
	}
	if w.gone[c] == by {
		w.turn(CoreHealth(c, api.HealthLost))
	}
	w.turn(CoreFence(c, w.gone[c]))
}

// words are what a signal says.
type words struct{ key, idem, payload string }

// signal sends one at the door.
func (w *shardWorld) signal(key, idem, payload string) signalReply {
	return w.signals(words{key, idem, payload})[0]
}

// signals sends a list at the door, which the owner takes in one turn.
func (w *shardWorld) signals(list ...words) []signalReply {
	var events evSignals
	got := make([]signalReply, len(list))
	for i, says := range list {
		w.next++
		var entropy [10]byte
		copy(entropy[2:], fmt.Sprintf("%08d", w.next))
		got[i].err = api.Errorf(api.CodeUnavailable, "no answer") // unless the owner lives to tell
		r := SignalRequest{Org: api.DefaultOrg, Agent: "a", Key: says.key, Payload: []byte(says.payload), IdempotencyKey: says.idem}
		ev := CoreSignal(r, worldAgent, api.NewSessionID(w.now, 0, entropy), api.SignalID(fmt.Sprintf("sig-%d", w.next)), func(a api.Accepted, err error) {
			got[i] = signalReply{a, err}
		})
		events.signals = append(events.signals, ev.ev.(*evSignal))
	}
	var in []CoreEvent
	for _, ev := range spread(nil, events) {
		in = append(in, CoreEvent{ev})
	}
	w.turn(in...)
	last := map[api.SessionID]uint64{}
	for i, a := range got {
		if a.err != nil {
			continue
		}
		scope := KeyScope{worldAgent, list[i].key, list[i].idem}
		if first, ok := w.byKey[scope]; ok && scope.Key != "" && first.Signal != a.accepted.Signal {
			w.mem.breaks("P2: key %q is answered with signals %s and %s", scope.Key, first.Signal, a.accepted.Signal)
		}
		if !a.accepted.Duplicate {
			if a.accepted.Sequence <= last[a.accepted.Session] {
				w.mem.breaks("signal %d of a list has sequence %d, after %d", i, a.accepted.Sequence, last[a.accepted.Session])
			}
			last[a.accepted.Session] = a.accepted.Sequence
		}
		w.accepted[a.accepted.Signal], w.byKey[scope] = a.accepted, a.accepted
	}
	return got
}

// intent changes one at the door.
func (w *shardWorld) intent(id api.SessionID, change Change) (IntentAnswer, error) {
	var answer IntentAnswer
	err := error(api.Errorf(api.CodeUnavailable, "no answer"))
	if w.wanted[id] != api.IntentTerminated {
		delete(w.wanted, id) // without an answer it is one or the other
	}
	w.turn(CoreIntent(IntentRequest{Org: api.DefaultOrg, Session: id, Change: change, By: "test"}, func(a IntentAnswer, e error) { answer, err = a, e }))
	if err == nil {
		w.wanted[id] = answer.Session.Intent
	}
	return answer, err
}

// place answers the oldest question.
func (w *shardWorld) place(c api.ClusterID) {
	if len(w.asked) == 0 {
		return
	}
	r := w.asked[0]
	w.asked = w.asked[1:]
	rev := testRevision()
	rev.AgentRevision = w.revision
	if r.Revise {
		w.turn(CoreRevised(r.Session, rev, nil))
		return
	}
	w.turn(CorePlaced(r.Session, api.Decision{Session: r.Session, Cluster: c, Summary: "s " + string(c)}, rev, nil))
}

// archived writes what is under way and tells the owner.
func (w *shardWorld) archived() {
	if w.submitted == nil {
		return
	}
	done := w.submitted
	w.submitted = nil
	if err := w.mem.Append(context.Background(), done); err == nil {
		w.turn(CoreArchived(done))
	}
}

// settle lets the archive take everything.
func (w *shardWorld) settle() {
	for w.submitted != nil {
		w.archived()
	}
}

func (w *shardWorld) view(id api.SessionID) SessionView {
	for _, v := range w.core.Sessions() {
		if v.ID == id {
			return v
		}
	}
	return SessionView{}
}

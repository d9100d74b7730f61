package hub

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
)

// CorePorts is all that a shard's loop reaches. A [Hub] fills it with what it was configured with, a simulator with its own.
type CorePorts struct {
	Shards   ShardStore  // Commit is called with one batch
	Archive  Archive     // but for Append, which is Out's
	Log      EventReader // of the archive
	Vault    SavedReader // nil: no checkpoint is there
	Resolver Resolver    // ResolveAt alone is called
	Out      CoreOut
	Pause    func(context.Context, time.Duration) error // between two tries of a commit; it ends early with ctx
	Logger   *slog.Logger

	hub *Hub // nil in a simulator
}

// EventReader is the part of [Reader] that a shard needs when it is loaded.
type EventReader interface {
	Events(ctx context.Context, org api.OrgID, session api.SessionID, from uint64, limit int) ([]api.Event, error)
}

// SavedReader is the part of [Vault] that a shard needs.
type SavedReader interface {
	HasCheckpoint(ctx context.Context, org api.OrgID, session api.SessionID, id api.CheckpointID) (bool, error)
}

// CoreOut takes what a shard decided, after it is durable. No method waits for what becomes of it.
type CoreOut interface {
	// Submit hands appends to whoever writes them to the archive, in this order and all or none. The answer is CoreArchived with
	// the same appends. Nothing is submitted again before it; when the archive refuses them because of their generation, it never
	// comes.
	Submit(ctx context.Context, shard api.Shard, appends []Append) error
	// Ask asks where a session goes, or with r.Revise only for the present revision of its agent. The answer is CorePlaced, or
	// CoreRevised.
	Ask(r PlaceRequest)
	// Send sends a message to a cluster. Without a link it is dropped: the next link begins with everything.
	Send(cluster api.ClusterID, m api.HubMessage)
	// Cut ends the link of a cluster, so that it begins anew.
	Cut(cluster api.ClusterID, err error)
	// Collect removes the checkpoints of a session that are not in keep.
	Collect(org api.OrgID, session api.SessionID, keep []api.CheckpointID)
}

// Core is the owner of one shard without goroutines, channels and waiting: the loop of a [Hub], driven from outside. It is the
// door of the simulator. It is used by one goroutine.
type Core struct{ l *loop }

// NewCore makes a core that owns nothing yet. Zero limits are the defaults; now is what stands in records.
func NewCore(shard api.Shard, ports CorePorts, limits Limits, now func() time.Time) *Core {
	return &Core{newLoop(shard, ports, limits.withDefaults(), now)}
}

// Load claims the shard and brings it into memory. An error ends the core.
func (c *Core) Load(ctx context.Context) error {
	head, err := c.l.own(ctx)
	if err != nil {
		return err
	}
	first, err := c.l.load(ctx, head)
	if err != nil {
		return err
	}
	return c.l.perform(ctx, first)
}

// Turn takes events in order, makes durable what they change, and performs what they lead to. It returns when all of that is
// done. With an error the core has lost its shard, or ctx has ended: it must not be used any more.
func (c *Core) Turn(ctx context.Context, events ...CoreEvent) error {
	in := make([]event, len(events))
	for i, ev := range events {
		in[i] = ev.ev
	}
	return c.l.turn(ctx, in)
}

// Sessions returns what memory has, by id.
func (c *Core) Sessions() []SessionView {
	var out []SessionView
	for _, id := range slices.Sorted(maps.Keys(c.l.m.sessions)) {
		out = append(out, c.l.m.sessions[id].view())
	}
	return out
}

// Approvals returns what memory has of one session, by id.
func (c *Core) Approvals(id api.SessionID) (out []ApprovalView) {
	if s := c.l.m.sessions[id]; s != nil {
		for _, a := range s.approvals {
			out = append(out, s.viewApproval(a))
		}
	}
	return out
}

// Head is that of the last durable batch.
func (c *Core) Head() api.Head { return c.l.m.head }

// CoreEvent is an input of a [Core].
type CoreEvent struct{ ev event }

// CoreSignal is a signal at the door that is valid: its agent is known, its payload is inline. The ids are the caller's to make:
// of the session if a new one is needed, and of the signal. answer is called once.
func CoreSignal(r SignalRequest, agent api.ObjectID, session api.SessionID, signal api.SignalID, answer func(api.Accepted, error)) CoreEvent {
	ev := arrival(r, agent)
	ev.newID, ev.signal.ID = session, signal
	ev.reply = func(a signalReply) { answer(a.accepted, a.err) }
	return CoreEvent{ev}
}

// CoreIntent changes what people want of a session. answer is called once.
func CoreIntent(r IntentRequest, answer func(IntentAnswer, error)) CoreEvent {
	return CoreEvent{evIntent{r, answer}}
}

// CoreCancel cancels the signals of a session up to one. answer is called once.
func CoreCancel(r CancelRequest, answer func(CancelAnswer, error)) CoreEvent {
	return CoreEvent{evCancel{r, answer}}
}

// CoreAnswer answers an approval. answer is called once.
func CoreAnswer(r AnswerRequest, answer func(ApprovalView, error)) CoreEvent {
	return CoreEvent{evAnswer{r, answer}}
}

// CorePlaced answers [CoreOut.Ask]. revision is nil with err.
func CorePlaced(session api.SessionID, d api.Decision, revision *api.ResolvedRevision, err error) CoreEvent {
	return CoreEvent{evPlaced{session, d, revision, err}}
}

// CoreRevised answers [CoreOut.Ask] with Revise. revision is nil with err.
func CoreRevised(session api.SessionID, revision *api.ResolvedRevision, err error) CoreEvent {
	return CoreEvent{evRevised{session, revision, err}}
}

// CoreAttach is a new link of a cluster's spoke. What its hello holds is reported by CoreHeld before.
func CoreAttach(cluster api.ClusterID, hello api.Hello) CoreEvent {
	return CoreEvent{attached(cluster, hello)}
}

// CoreResync asks for everything that is wanted of a cluster.
func CoreResync(cluster api.ClusterID) CoreEvent { return CoreEvent{evResync{cluster}} }

// CoreHeld is what a cluster's spoke reports of one session.
func CoreHeld(cluster api.ClusterID, h api.Held) CoreEvent {
	return CoreEvent{evHeld{cluster: cluster, held: h}}
}

// CoreBatch is a run of events of one source from a cluster's spoke.
func CoreBatch(cluster api.ClusterID, b api.EventBatch) CoreEvent {
	return CoreEvent{evEvents{cluster: cluster, batch: b}}
}

// CoreArchived answers [CoreOut.Submit].
func CoreArchived(appends []Append) CoreEvent { return CoreEvent{evArchived{appends}} }

// CoreFacts tells that something changed that may have kept sessions from being placed.
func CoreFacts() CoreEvent { return CoreEvent{evFacts{}} }

// CoreHealth tells that a cluster was lost.
func CoreHealth(cluster api.ClusterID, h api.Health) CoreEvent {
	return CoreEvent{evHealth{cluster, h}}
}

// CoreFence tells for how long the lease of a cluster is gone at least, by this replica's own clock.
func CoreFence(cluster api.ClusterID, gone time.Duration) CoreEvent {
	return CoreEvent{evFence{cluster: cluster, gone: gone}}
}

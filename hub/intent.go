package hub

import (
	"context"
	"time"

	"github.com/nave-dev/nave/api"
)

// Change is what people want of a session from now on.
type Change string

// The changes.
const (
	ChangePause     Change = "pause"
	ChangeResume    Change = "resume"
	ChangeTerminate Change = "terminate"
)

// IntentRequest changes the intent of a session.
type IntentRequest struct {
	Org     api.OrgID
	Session api.SessionID
	Change  Change
	By      string // subject of the caller
	Note    string // why, for people; at most 1 KiB
	DryRun  bool
}

// IntentAnswer says what became of it.
type IntentAnswer struct {
	Session SessionView
	Changed bool // false: it was so before
	// EffectiveBy is when nothing acts for the session any more though its cluster is not heard; zero when the change takes
	// effect at once.
	EffectiveBy time.Time
	Waits       bool // nothing takes effect before the cluster is heard again: the agent's stop_after is "never"
}

// SetIntent pauses, resumes or terminates a session. It returns when the change is durable. It is idempotent.
func (h *Hub) SetIntent(ctx context.Context, r IntentRequest) (IntentAnswer, error) {
	if err := checkNote("note", r.Note); err != nil {
		return IntentAnswer{}, err
	}
	shard, err := r.Session.Shard()
	if err != nil {
		return IntentAnswer{}, api.Invalid("id", "%v", err)
	}
	a, err := ask(ctx, h, shard, string(r.Change), func(reply func(IntentAnswer, error)) event { return evIntent{r, reply} })
	if api.CodeOf(err) == api.CodeNotFound {
		return h.pastIntent(ctx, r)
	}
	return a, err
}

// maxNote bounds the reason that people give, in bytes.
const maxNote = 1 << 10

// pastIntent answers for a session that is in no shard: there is none, or it was terminated and has left.
func (h *Hub) pastIntent(ctx context.Context, r IntentRequest) (IntentAnswer, error) {
	v, err := h.past(ctx, r.Org, r.Session)
	if err == nil && r.Change != ChangeTerminate {
		err = ended(r)
	}
	if err != nil {
		return IntentAnswer{}, err
	}
	return IntentAnswer{Session: v}, nil
}

// replayKey begins the idempotency keys of replays. Keys of clients must not begin with api.ReservedKeyPrefix.
const replayKey = api.ReservedKeyPrefix + "replay/"

// Replay sends a dead letter again. Replaying it twice is one signal: the second answer is the first one's.
func (h *Hub) Replay(ctx context.Context, org api.OrgID, dead api.SignalID, by string) (api.Accepted, error) {
	row, err := h.cfg.Reader.DeadLetter(ctx, org, dead)
	if err != nil {
		return api.Accepted{}, err
	}
	// Without its agent it would wait for ever. Another agent that took over the name does not get it.
	if _, err := h.cfg.Resolver.ResolveRevision(ctx, org, row.Scope.Agent, row.AgentName, 0); err != nil {
		return api.Accepted{}, err
	}
	ev := &evSignal{org: org, agent: row.Scope.Agent, agentName: row.AgentName, key: row.Scope.SessionKey,
		signal: api.Signal{IdempotencyKey: replayKey + string(dead), Payload: row.Signal.Payload, PayloadRef: row.Signal.PayloadRef,
			PayloadHash: row.Signal.PayloadHash, Sender: by, ReplayOf: dead, Origin: row.Signal.Origin, Approval: row.Signal.Approval}}
	return h.accept(ctx, ev)
}

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
	return IntentAnswer{}, api.Errorf(api.CodeUnsupported, "not built yet")
}

// Replay sends a dead letter again. Replaying it twice is one signal: the second answer is the first one's.
func (h *Hub) Replay(ctx context.Context, org api.OrgID, dead api.SignalID, by string) (api.Accepted, error) {
	return api.Accepted{}, api.Errorf(api.CodeUnsupported, "not built yet")
}

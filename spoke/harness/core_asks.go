package harness

import (
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Asks are the requests for permission of one turn, for a simulator: those of a harness, driven by hand. Time is what the
// caller says.
type Asks struct{ a *approvals }

// Answer is what becomes of a request.
type Answer struct {
	Approval api.ApprovalID
	Allow    bool
	Option   string // id; empty when the agent offers none that says so
	By       string
}

// NewAsks begins a turn over signals, of which there is at least one.
func NewAsks(session api.SessionID, hold time.Duration, signals []api.Signal) *Asks {
	var in []*harnessv1.Signal
	for _, s := range signals {
		in = append(in, &harnessv1.Signal{Sequence: s.Sequence, Payload: s.Payload, Approval: string(s.Approval)})
	}
	return &Asks{newApprovals(session, hold, in)}
}

// Ask takes a request. It is open under the id, unless a signal of the turn brought the answer.
func (a *Asks) Ask(now time.Duration, fingerprint string, options []api.ApprovalOption) (api.ApprovalID, *Answer) {
	id, got := a.a.ask(now, fingerprint, options)
	if got == nil {
		return id, nil
	}
	return id, &Answer{id, got.allow, got.option.ID, got.by}
}

// Settle closes the requests that are answered and returns their answers.
func (a *Asks) Settle(now time.Duration, answers []api.ApprovalAnswer) (out []Answer) {
	var in []*harnessv1.ApprovalAnswer
	for _, b := range answers {
		in = append(in, &harnessv1.ApprovalAnswer{Approval: string(b.Approval), Allow: b.Allow, Option: b.Option, By: b.By, Reason: b.Reason})
	}
	for _, got := range a.a.settle(now, in) {
		out = append(out, Answer{got.id, got.allow, got.option.ID, got.by})
	}
	return out
}

// Open is how many requests wait.
func (a *Asks) Open() int { return len(a.a.open) }

// Over reports that a request was held long enough: the turn ends.
func (a *Asks) Over(now time.Duration) bool {
	_, over := a.a.over(now)
	return over
}

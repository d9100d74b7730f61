package hub

import (
	"context"

	"github.com/nave-dev/nave/api"
)

// CancelRequest cancels the signals of a session up to one.
type CancelRequest struct {
	Org     api.OrgID
	Session api.SessionID
	UpTo    uint64 // sequence; 0: the last one that was accepted
	By      string // subject of the caller
	Note    string // why, for people; at most 1 KiB
	DryRun  bool
}

// CancelAnswer says what became of it.
type CancelAnswer struct {
	Session SessionView
	Changed bool // false: all of them were cancelled, consumed or settled before
	UpTo    uint64
	Waits   bool // no workload has the session: the signals are consumed when one begins
}

// Cancel ends the turn that works on signals up to one, and lets those of them that wait be consumed without being worked
// on. It returns when that is durable. It is idempotent.
func (h *Hub) Cancel(ctx context.Context, r CancelRequest) (CancelAnswer, error) {
	if err := checkNote("note", r.Note); err != nil {
		return CancelAnswer{}, err
	}
	shard, err := r.Session.Shard()
	if err != nil {
		return CancelAnswer{}, api.Invalid("id", "%v", err)
	}
	return ask(ctx, h, shard, "cancel", func(reply func(CancelAnswer, error)) event { return evCancel{r, reply} })
}

// checkNote bounds a text that people give.
func checkNote(field, text string) error {
	if len(text) > maxNote {
		return &api.Error{Code: api.CodeLimit, Field: field, Err: api.Errorf(api.CodeLimit, "%d bytes: at most %d are allowed", len(text), maxNote)}
	}
	return nil
}

// ask hands an event to a shard's loop and waits for the answer. Without one the change may have been made: the same call can
// be repeated.
func ask[A any](ctx context.Context, h *Hub, shard api.Shard, op string, ev func(reply func(A, error)) event) (A, error) {
	type answered struct {
		answer A
		err    error
	}
	done := make(chan answered, 1)
	err := h.post(ctx, shard, ev(func(a A, err error) { done <- answered{a, err} }))
	if err == nil {
		select {
		case a := <-done:
			return a.answer, a.err
		case <-ctx.Done():
			err = &api.Error{Code: api.CodeUnavailable, Op: op, Err: context.Cause(ctx)}
		}
	}
	var none A
	return none, err
}

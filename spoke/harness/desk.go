package harness

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/acp"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// desk takes an agent's requests for permission to the people and brings the answers back. It lives for one turn.
type desk struct {
	now   func() time.Duration
	in    *inbox
	put   func(*harnessv1.Event)
	turn  []uint64 // sequences of its signals
	hold  time.Duration
	moved chan struct{} // holds one token when a request came or went; full means that the reader will look anyway

	mu    sync.Mutex
	core  *approvals                       // guarded by mu
	waits map[api.ApprovalID]chan<- answer // of the open requests; each takes one answer; guarded by mu
}

func newDesk(h *Harness, signals []*harnessv1.Signal, put func(*harnessv1.Event)) *desk {
	hold := orDefault(h.w.ApprovalHold.AsDuration(), (&api.AgentSpec{}).WithDefaults().ApprovalHold)
	return &desk{
		now: h.c.Clock, in: h.in, put: put, turn: sequences(signals), hold: hold, moved: make(chan struct{}, 1),
		core: newApprovals(api.SessionID(h.w.Session), hold, signals), waits: make(map[api.ApprovalID]chan<- answer),
	}
}

// ask is an [acp.Permission].
func (d *desk) ask(ctx context.Context, r acp.PermissionRequest) (acp.Choice, error) {
	came := make(chan answer, 1)
	d.mu.Lock()
	id, got := d.core.ask(d.now(), r.Fingerprint, r.Options)
	if got == nil {
		d.waits[id] = came
	}
	d.mu.Unlock()
	if got == nil {
		d.put(asked(id, r, d.turn, d.hold))
		d.notify() // the orders may have its answer already, when the turn is run again
		select {
		case a := <-came:
			got = &a
		case <-ctx.Done():
			d.close(id)
			return acp.Choice{}, context.Cause(ctx)
		}
	}
	d.put(&harnessv1.Event{Type: string(api.EventTaken), Text: got.reason, Attributes: map[string]string{
		api.AttrApproval: string(id), api.AttrDecision: decision(got.allow), api.AttrOption: got.option.ID,
	}})
	return acp.Choice{Option: got.option.ID}, nil
}

// asked is the event about a request.
func asked(id api.ApprovalID, r acp.PermissionRequest, turn []uint64, hold time.Duration) *harnessv1.Event {
	type option struct {
		ID   string `json:"id"`
		Name string `json:"name"`
		Kind string `json:"kind"`
	}
	options := make([]option, 0, len(r.Options))
	for _, o := range r.Options {
		options = append(options, option{o.ID, o.Name, string(o.Kind)})
	}
	list, _ := json.Marshal(options) // strings alone: it does not fail
	e := &harnessv1.Event{Type: string(api.EventAsked), Text: r.Detail, Signals: turn, Attributes: map[string]string{
		api.AttrApproval: string(id), api.AttrTitle: r.Title, api.AttrOptions: string(list), api.AttrFingerprint: r.Fingerprint, api.AttrHold: hold.String(),
	}}
	if r.Tool != "" {
		e.Attributes[api.AttrTool] = r.Tool
	}
	return e
}

// answers hands the answers of the orders to those who wait for them.
func (d *desk) answers() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.core.settle(d.now(), d.in.look().Answers) {
		d.waits[a.id] <- a
		delete(d.waits, a.id)
		d.notify()
	}
}

// close forgets a request that nobody waits for any more.
func (d *desk) close(id api.ApprovalID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.core.close(d.now(), id)
	delete(d.waits, id)
	d.notify()
}

func (d *desk) notify() { token(d.moved) }

// holdError is the end of a turn because nobody answered.
type holdError struct {
	id   api.ApprovalID
	hold time.Duration
}

func (e *holdError) Error() string {
	return "nobody answered approval " + string(e.id) + " within " + e.hold.String() + "; the answer will come as a signal"
}

// lookEvery bounds how long the clock is not looked at: it may run while timers stand still.
const lookEvery = 500 * time.Millisecond

// watch says why the turn is to end, by the limit or by a hold, or when to look again. The time while a request is open does
// not count.
func (d *desk) watch(began, limit time.Duration) (time.Duration, error) {
	d.answers()
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	if id, over := d.core.over(now); over {
		return 0, &holdError{id, d.hold}
	}
	left, held := d.core.left(now)
	if !held {
		if left = limit - (now - began - d.core.idle(now)); left <= 0 {
			return 0, errTurnLimit
		}
	}
	return min(left, lookEvery), nil
}

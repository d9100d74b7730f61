package sim

import (
	"hash/fnv"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
	decide "github.com/nave-dev/nave/spoke/harness"
)

// Of requests for permission: how long a turn waits, and when nobody may answer any more.
const (
	approvalHold   = 3 * time.Second
	approvalExpiry = 40 * time.Second
)

// What tells in the log of a run who gave an answer.
const (
	byNave      = "nave"
	attrCarried = "carried" // a signal brought it
)

var offered = []api.ApprovalOption{{ID: "yes", Name: "Yes", Kind: api.OptionAllowOnce}, {ID: "no", Name: "No", Kind: api.OptionRejectOnce}}

const offeredText = `[{"id":"yes","name":"Yes","kind":"allow_once"},{"id":"no","name":"No","kind":"reject_once"}]`

// permissions prepares what the agent asks for in a turn: the same whenever a turn begins with the same signal. What a signal
// answers it asks for again.
func (h *harness) permissions(signals []uint64) {
	h.desk, h.plan, h.together, h.ebbing = nil, nil, false, false
	for _, n := range signals {
		if n <= h.orders.Cancelled.UpTo {
			h.w.violated("P3", "workload %s begins a turn over %v and was told that all up to %d are cancelled", h.id, signals, h.orders.Cancelled.UpTo)
		}
	}
	if !h.w.asks {
		return
	}
	var of []api.Signal
	for _, s := range h.orders.Signals {
		if !slices.Contains(signals, s.Sequence) {
			continue
		}
		if of = append(of, s); s.Approval != "" {
			h.plan = append(h.plan, h.w.asked[s.Approval].fingerprint)
		}
	}
	h.desk = decide.NewAsks(h.id.Session, approvalHold, of)
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(h.id.Session)) // a hash takes everything
	switch (sum.Sum64() + signals[0]*7) % 8 {
	case 0, 1:
		h.plan = append(h.plan, "a")
	case 2:
		h.plan = append(h.plan, "a", "a")
	case 3:
		h.plan, h.together = append(h.plan, "b", "a"), true
	}
}

// work goes on with a turn: the agent asks for the next thing, or is done.
func (h *harness) work(n int) {
	if h.turn == nil || h.turnN != n {
		return
	}
	if len(h.plan) == 0 || h.ebbing {
		h.done(n)
		return
	}
	next := h.plan[:1]
	if h.together {
		next = h.plan
	}
	h.plan = h.plan[len(next):]
	for _, fingerprint := range next {
		h.request(fingerprint)
	}
	if h.desk.Open() == 0 {
		h.later(time.Millisecond, 200*time.Millisecond, func() { h.work(n) })
	}
	h.look() // the orders may have an answer already
}

// request asks for one permission.
func (h *harness) request(fingerprint string) {
	id, got := h.desk.Ask(h.s.clock(), fingerprint, offered)
	if got != nil {
		h.took(*got, true)
		return
	}
	h.w.requested(h, id, fingerprint)
	h.put(api.Event{Type: api.EventAsked, Text: "it wants to", Attributes: map[string]string{api.AttrApproval: string(id), api.AttrTitle: fingerprint,
		api.AttrOptions: offeredText, api.AttrFingerprint: fingerprint, api.AttrHold: approvalHold.String()}})
	h.w.after(approvalHold, "", func() { h.thawed(h.look) })
}

// hear takes the answers that the spoke has, and gives up a turn that nobody answers.
func (h *harness) hear() {
	if h.turn == nil || h.ebbing || h.desk == nil || h.desk.Open() == 0 {
		return
	}
	n := h.turnN
	for _, got := range h.desk.Settle(h.s.clock(), h.orders.Answers) {
		h.took(got, false)
	}
	switch {
	case h.desk.Open() == 0:
		h.later(time.Millisecond, 200*time.Millisecond, func() { h.work(n) })
	case h.desk.Over(h.s.clock()):
		h.w.did("turn given up: nobody answered")
		h.cut(n, api.OutcomeCancelled)
	}
}

// took is an answer that the agent got.
func (h *harness) took(got decide.Answer, carried bool) {
	attrs := map[string]string{api.AttrApproval: string(got.Approval), api.AttrOption: got.Option, api.AttrBy: got.By}
	if carried {
		attrs[attrCarried] = "true"
	}
	h.w.took(h, got, carried)
	h.put(api.Event{Type: api.EventTaken, Attributes: attrs})
}

// cancel ends a turn that people cancelled: the agent gets a moment.
func (h *harness) cancel() {
	if h.ebbing {
		return
	}
	h.ebbing = true
	n := h.turnN
	h.w.did("turn cancelled")
	h.later(0, 300*time.Millisecond, func() {
		h.cut(n, api.OutcomeCancelled)
		h.look()
	})
}

// drop consumes cancelled signals that no turn took.
func (h *harness) drop(signals []uint64) {
	h.w.did("cancelled signals dropped")
	h.dirty = true
	h.open = &ended{signals, api.OutcomeCancelled}
}

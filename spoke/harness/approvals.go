package harness

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// approvals are the requests for permission of one turn. Time is what the caller says, by the harness's clock.
//
//	a request comes, a signal of the turn carries an answer to the same   answered, once per signal; nobody is asked
//	a request comes else                                                  open, under an id that the same turn makes again
//	the orders have its answer                                            answered
//	the agent takes it back                                               closed
//	it was open for the hold                                              over: the turn ends
type approvals struct {
	session api.SessionID
	first   uint64        // signal of the turn
	hold    time.Duration // how long a request may be open

	asked   map[string]int // requests under an id of their own, by fingerprint
	open    []openRequest  // in the order in which they came
	carried []carried      // answers that signals brought and that were not used yet
	waited  time.Duration  // while at least one was open, up to when the last one of them was closed
	since   time.Duration  // when the first of those that are open now came
}

type openRequest struct {
	id      api.ApprovalID
	options []api.ApprovalOption
	till    time.Duration // it is held
}

// carried is what a signal says of an approval whose turn was over.
type carried struct {
	id          api.ApprovalID
	fingerprint string
	allow       bool
	option      api.ApprovalOption
	by, reason  string
}

// answer is what becomes of a request. Its option is the zero one when the agent offers none that says so.
type answer struct {
	id         api.ApprovalID
	allow      bool
	option     api.ApprovalOption
	by, reason string
}

func newApprovals(session api.SessionID, hold time.Duration, signals []*harnessv1.Signal) *approvals {
	a := &approvals{session: session, first: signals[0].Sequence, hold: hold, asked: make(map[string]int)}
	for _, s := range signals {
		if c, ok := carriedBy(s); ok {
			a.carried = append(a.carried, c)
		}
	}
	return a
}

// carriedAnswer is the payload of a signal that carries an answer. The hub alone makes such signals.
type carriedAnswer struct {
	Approval    string `json:"approval"`
	Decision    string `json:"decision"` // approved, denied
	Title       string `json:"title"`
	Fingerprint string `json:"fingerprint"`
	By          string `json:"by"`
	Reason      string `json:"reason"`
	Option      struct {
		ID   string `json:"id"`
		Name string `json:"name"`
		Kind string `json:"kind"`
	} `json:"option"`
}

// The decisions, as [api.AttrDecision] has them.
const (
	approved = "approved"
	denied   = "denied"
)

func decision(allow bool) string {
	if allow {
		return approved
	}
	return denied
}

// decodeAnswer reads the payload of a signal that carries an answer.
func decodeAnswer(s *harnessv1.Signal) (carriedAnswer, bool) {
	var p carriedAnswer
	ok := s.Approval != "" && json.Unmarshal(s.Payload, &p) == nil && (p.Decision == approved || p.Decision == denied)
	return p, ok
}

func carriedBy(s *harnessv1.Signal) (carried, bool) {
	p, ok := decodeAnswer(s)
	return carried{
		id: api.ApprovalID(s.Approval), fingerprint: p.Fingerprint, allow: p.Decision == approved,
		option: api.ApprovalOption{ID: p.Option.ID, Name: p.Option.Name, Kind: api.OptionKind(p.Option.Kind)}, by: p.By, reason: p.Reason,
	}, ok && p.Fingerprint != ""
}

// ask takes a request. It returns the answer when a signal of the turn brought it, else the request is open under the id.
func (a *approvals) ask(now time.Duration, fingerprint string, options []api.ApprovalOption) (api.ApprovalID, *answer) {
	for i, c := range a.carried {
		if c.fingerprint != fingerprint {
			continue
		}
		option, offered := choose(options, c.option.ID, c.allow)
		if !offered && c.allow {
			continue // nothing that is offered allows it: a person decides what else there is
		}
		a.carried = slices.Delete(a.carried, i, i+1)
		return c.id, &answer{c.id, c.allow, option, c.by, c.reason}
	}
	id := api.NewApprovalID(a.session, a.first, fingerprint, a.asked[fingerprint])
	a.asked[fingerprint]++
	if len(a.open) == 0 {
		a.since = now
	}
	a.open = append(a.open, openRequest{id, options, now + a.hold})
	return id, nil
}

// settle closes the requests that are answered and returns their answers.
func (a *approvals) settle(now time.Duration, answers []*harnessv1.ApprovalAnswer) []answer {
	var out []answer
	for _, r := range slices.Clone(a.open) {
		i := slices.IndexFunc(answers, func(b *harnessv1.ApprovalAnswer) bool { return b.Approval == string(r.id) })
		if i < 0 {
			continue
		}
		option, _ := choose(r.options, answers[i].Option, answers[i].Allow)
		out = append(out, answer{r.id, answers[i].Allow, option, answers[i].By, answers[i].Reason})
		a.close(now, r.id)
	}
	return out
}

// close ends a request, answered or not.
func (a *approvals) close(now time.Duration, id api.ApprovalID) {
	i := slices.IndexFunc(a.open, func(r openRequest) bool { return r.id == id })
	if i < 0 {
		return
	}
	a.open = slices.Delete(a.open, i, i+1)
	if len(a.open) == 0 {
		a.waited += now - a.since
	}
}

// over names the first request that was held long enough.
func (a *approvals) over(now time.Duration) (api.ApprovalID, bool) {
	if len(a.open) > 0 && now >= a.open[0].till {
		return a.open[0].id, true
	}
	return "", false
}

// idle is for how long at least one request was open.
func (a *approvals) idle(now time.Duration) time.Duration {
	if len(a.open) > 0 {
		return a.waited + now - a.since
	}
	return a.waited
}

// left is how long the first open request is held still.
func (a *approvals) left(now time.Duration) (time.Duration, bool) {
	if len(a.open) == 0 {
		return 0, false
	}
	return a.open[0].till - now, true
}

// choose finds the option that a decision means: the one that was chosen when it is offered and means that, else the first
// one that means it once, else the first one that means it.
func choose(options []api.ApprovalOption, id string, allow bool) (api.ApprovalOption, bool) {
	once := api.OptionRejectOnce
	if allow {
		once = api.OptionAllowOnce
	}
	for _, fits := range []func(api.ApprovalOption) bool{
		func(o api.ApprovalOption) bool { return o.ID == id && o.Kind.Allows() == allow },
		func(o api.ApprovalOption) bool { return o.Kind == once },
		func(o api.ApprovalOption) bool { return o.Kind.Allows() == allow },
	} {
		if i := slices.IndexFunc(options, fits); i >= 0 {
			return options[i], true
		}
	}
	return api.ApprovalOption{}, false
}

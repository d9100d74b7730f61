package hub

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// An approval's record follows the events of its session once the archive has them:
//
//	event                      the record
//	approval.requested         is made, Open, or renewed: another attempt asks for the same. The workload waits for the answer
//	approval.taken             the workload has the answer
//	turn.ended that consumes   if its turn ends without the answer, it is detached: the answer becomes a signal. If somebody
//	                           cancelled that turn, nobody needs the answer
//	turn.ended otherwise       stays: the next attempt asks with the same id
//
// An answer is a level: the workload is told of it as long as it may not have it. So an answered approval is either taken by
// the turn that is consumed, or becomes one signal, in whatever order answer and end of the turn come; neither when nobody
// needs it any more: somebody cancelled the turn, its signal is a dead letter, or the session is terminated. What else is owed
// ([session.duty]) is done right behind the event by which it became so, by an owner that begins, and with the next facts.

// byNave answers for people where none can.
const byNave = "nave"

// asked keeps a request for permission.
func (m *machine) asked(o *output, s *session, now time.Time, ev api.Event) {
	id := api.ApprovalID(ev.Attributes[api.AttrApproval])
	if of, err := id.Session(); err != nil || of != s.ID || s.Intent == api.IntentTerminated {
		return // nobody could answer it: the log has it
	}
	hold, expiry := s.patience(ev)
	a, known := s.approval(id)
	if !known {
		a = api.Approval{ID: id, Session: s.ID, Org: s.Org, Sequence: s.workedOn(ev), Fingerprint: clip(ev.Attributes[api.AttrFingerprint], 256),
			Title: clip(ev.Attributes[api.AttrTitle], api.MaxApprovalTitle), Detail: clip(ev.Text, api.MaxApprovalDetail),
			Options: optionsOf(ev), AskedAt: now, ExpiresAt: now.Add(expiry), State: api.ApprovalOpen}
		if s.open() >= api.MaxOpenApprovals {
			a.State, a.By, a.AnsweredAt = api.ApprovalDenied, byNave, now
			a.Reason = fmt.Sprintf("session %s has %d open approvals, the limit", s.ID, api.MaxOpenApprovals)
		}
	}
	a.Source, a.HeldUntil, a.Taken, a.Detached, a.Moot = ev.Source, now.Add(hold), false, false, false
	m.keepApproval(o, s, a)
}

// patience is for how long the workload waits for an answer, and when the request ends.
func (s *session) patience(ev api.Event) (hold, expiry time.Duration) {
	spec := new(api.AgentSpec)
	if s.revision != nil && s.revision.Agent != nil {
		spec = s.revision.Agent
	}
	spec = spec.WithDefaults()
	hold, expiry = spec.ApprovalHold, spec.ApprovalExpiry
	if d, err := time.ParseDuration(ev.Attributes[api.AttrHold]); err == nil && d >= 0 && d < expiry {
		hold = d
	}
	return hold, expiry
}

// workedOn is the first signal of the turn that asks.
func (s *session) workedOn(ev api.Event) uint64 {
	if len(ev.Signals) > 0 {
		return ev.Signals[0]
	}
	for _, sig := range s.pending {
		if !s.consumed(sig) {
			return sig.Sequence
		}
	}
	return 0
}

// clip cuts a text of a harness to what a record may hold of it.
func clip(text string, most int) string {
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}

// optionsOf are the answers that the agent offers.
func optionsOf(ev api.Event) (out []api.ApprovalOption) {
	var options []struct {
		ID   string `json:"id"`
		Name string `json:"name"`
		Kind string `json:"kind"`
	}
	if json.Unmarshal([]byte(ev.Attributes[api.AttrOptions]), &options) != nil {
		return nil
	}
	for _, opt := range options[:min(len(options), api.MaxApprovalOptions)] {
		if opt.ID != "" && len(opt.ID) <= 256 {
			out = append(out, api.ApprovalOption{ID: opt.ID, Name: clip(opt.Name, 256), Kind: api.OptionKind(clip(opt.Kind, 64))})
		}
	}
	return out
}

// taken notes that the workload has the answer. What Nave said in place of an answer that goes another way is over with it.
func (m *machine) taken(o *output, s *session, ev api.Event) {
	a, ok := s.approval(api.ApprovalID(ev.Attributes[api.AttrApproval]))
	if !ok || a.State == api.ApprovalOpen || a.Detached {
		return
	}
	if answered(a) && a.Signal == "" {
		a.Taken = true
	} else {
		a.Detached = true
	}
	m.keepApproval(o, s, a)
}

// turnOver detaches what a consumed turn asked for and did not get.
func (m *machine) turnOver(o *output, s *session, ev api.Event) {
	for _, a := range s.approvals {
		its := slices.Contains(ev.Signals, a.Sequence) || a.Sequence == 0 && a.Source == ev.Source
		if !its || a.Taken || a.Detached {
			continue
		}
		a.Detached = true
		a.Moot = ev.Outcome == api.OutcomeCancelled && a.Sequence <= s.Cancelled.UpTo
		m.keepApproval(o, s, a)
	}
}

// approval finds one by its id.
func (s *session) approval(id api.ApprovalID) (api.Approval, bool) {
	i, ok := slices.BinarySearchFunc(s.approvals, id, func(a api.Approval, id api.ApprovalID) int { return strings.Compare(string(a.ID), string(id)) })
	if !ok {
		return api.Approval{}, false
	}
	return s.approvals[i], true
}

// keepApproval puts a record into memory and makes it durable. It may be committed apart: whoever loads the shard later finds the
// event that it follows, and does the same.
func (m *machine) keepApproval(o *output, s *session, a api.Approval) {
	m.remember(s, a)
	o.aside(s.Org, Mutation{PutApproval: &a})
}

// remember puts a record into memory. The list is replaced.
func (m *machine) remember(s *session, a api.Approval) {
	i, ok := slices.BinarySearchFunc(s.approvals, a.ID, func(a api.Approval, id api.ApprovalID) int { return strings.Compare(string(a.ID), string(id)) })
	list := slices.Clone(s.approvals)
	if ok {
		list[i] = a
	} else {
		list = slices.Insert(list, i, a)
	}
	s.approvals = list
	m.asking[s.ID] = s
}

// open counts the requests that wait for a person.
func (s *session) open() (n int) {
	for i := range s.approvals {
		if s.approvals[i].State == api.ApprovalOpen {
			n++
		}
	}
	return n
}

// answers is what the workload asked and may not have the answer of. An answer goes to the epoch alone that asked last.
//
//	state               told
//	Approved, Denied    the answer; that it comes as a signal, once it does: the turn was forgotten and asks again
//	Expired, Withdrawn  that nobody answers any more
func (s *session) answers() (out []api.ApprovalAnswer) {
	for i := range s.approvals {
		a := &s.approvals[i]
		if a.State == api.ApprovalOpen || a.Taken || a.Detached || s.Assignment == nil || a.Source.Epoch != s.Assignment.Epoch {
			continue
		}
		switch {
		case a.Signal != "":
			out = append(out, api.ApprovalAnswer{Approval: a.ID, By: byNave, Reason: fmt.Sprintf("the answer of %s came as signal %s", a.By, a.Signal)})
		case answered(*a):
			out = append(out, api.ApprovalAnswer{Approval: a.ID, Allow: a.State == api.ApprovalApproved, Option: a.Option, By: a.By, Reason: a.Reason})
		default:
			out = append(out, api.ApprovalAnswer{Approval: a.ID, By: byNave, Reason: cmp.Or(a.Reason, "nobody answered in time")})
		}
	}
	return out
}

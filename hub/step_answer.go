package hub

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// answer takes a person's answer, once:
//
//	state               the same answer     another answer
//	Open                is kept             is kept
//	Approved, Denied    is given again      conflict
//	Expired, Withdrawn  refused             refused
func (m *machine) answerApproval(o *output, now time.Time, ev evAnswer) {
	r := ev.request
	refuse := func(err error) { o.effect(effAnswered{to: ev.reply, err: err}) }
	id, _ := r.Approval.Session()
	s := m.sessions[id]
	var a api.Approval
	known := false
	if s != nil && s.Org == r.Org {
		a, known = s.approval(r.Approval)
	}
	if !known {
		refuse(noApproval(r.Approval))
		return
	}
	if a.State == api.ApprovalOpen && !now.Before(a.ExpiresAt) {
		m.tend(o, s, now)
		a, _ = s.approval(r.Approval)
	}
	option, err := choose(a, r.Approve, r.Option)
	switch {
	case !answered(a) && a.State != api.ApprovalOpen:
		refuse(api.Errorf(api.CodeFailed, "the request ended %s: %s", strings.ToLower(string(a.State)), cmp.Or(a.Reason, "nobody answered in time")))
		return
	case answered(a) && (a.State == api.ApprovalApproved) == r.Approve && (r.Option == "" || r.Option == a.Option):
		o.effect(effAnswered{to: ev.reply, approval: s.viewApproval(a)})
		return
	case answered(a):
		refuse(&api.Error{Code: api.CodeConflict, Field: "id", Err: fmt.Errorf("%s answered at %s already: %s, option %q", a.By,
			a.AnsweredAt.Format(time.RFC3339), decision(a), a.Option)})
		return
	case err != nil:
		refuse(err)
		return
	}
	a.State, a.Option, a.By, a.Reason, a.AnsweredAt = api.ApprovalDenied, option.ID, r.By, brief(r.Reason), now
	if r.Approve {
		a.State = api.ApprovalApproved
	}
	m.report(o, s, now, api.Event{Type: api.EventAnswered, Text: a.Reason, Attributes: map[string]string{
		api.AttrApproval: string(a.ID), api.AttrDecision: decision(a), api.AttrOption: a.Option, api.AttrBy: a.By}}, nil)
	m.remember(s, a)
	if d, _ := s.duty(a, now); d == dutyConvey {
		a = m.convey(o, s, now, a)
	}
	o.mutate(s.Org, Mutation{PutApproval: &a})
	m.put(o, s)
	o.effect(effAnswered{to: ev.reply, approval: s.viewApproval(a)})
	m.hand(o, s)
}

// choose finds the option that an answer means.
func choose(a api.Approval, approve bool, id string) (api.ApprovalOption, error) {
	if id != "" {
		i := slices.IndexFunc(a.Options, func(opt api.ApprovalOption) bool { return opt.ID == id })
		if i < 0 {
			return api.ApprovalOption{}, api.Invalid("option", "%.40q is not offered: want %s", id, offered(a))
		}
		if a.Options[i].Kind.Allows() != approve {
			return api.ApprovalOption{}, api.Invalid("option", "%.40q is %s, which is not what the answer says: want %s", id, a.Options[i].Kind, offered(a))
		}
		return a.Options[i], nil
	}
	kinds := []api.OptionKind{api.OptionRejectOnce, api.OptionRejectAlways}
	if approve {
		kinds = []api.OptionKind{api.OptionAllowOnce, api.OptionAllowAlways}
	}
	for _, k := range kinds {
		if i := slices.IndexFunc(a.Options, func(opt api.ApprovalOption) bool { return opt.Kind == k }); i >= 0 {
			return a.Options[i], nil
		}
	}
	if approve {
		return api.ApprovalOption{}, api.Invalid("approve", "the agent offers nothing that allows it: want %s", offered(a))
	}
	return api.ApprovalOption{}, nil
}

// offered names the options, for people.
func offered(a api.Approval) string {
	var out []string
	for _, opt := range a.Options {
		out = append(out, fmt.Sprintf("%q (%s)", opt.ID, opt.Kind))
	}
	return cmp.Or(strings.Join(out, ", "), "no option")
}

// answered reports whether somebody decided.
func answered(a api.Approval) bool {
	return a.State == api.ApprovalApproved || a.State == api.ApprovalDenied
}

// decision is the answer's name in events and signals.
func decision(a api.Approval) string {
	if a.State == api.ApprovalApproved {
		return "approved"
	}
	return "denied"
}

func noApproval(id api.ApprovalID) error {
	return &api.Error{Code: api.CodeNotFound, Field: "id", Err: api.Errorf(api.CodeNotFound, "there is no approval %.60s: the ones that ended are kept for a day", id)}
}

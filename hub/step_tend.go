package hub

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// duty is what is owed to an approval now.
type duty int

const (
	dutyNone     duty = iota
	dutyWithdraw      // nobody needs the answer any more
	dutyExpire        // nobody answered in time
	dutyDrop          // it is answered, and nobody needs the answer any more
	dutyConvey        // the answer becomes a signal
)

// duty tells what is owed, and why. It is a level: what one owner does not get to, the next one finds.
//
//	state               owed when
//	Open                withdrawn: the session is terminated, the turn was cancelled, or its signal is a dead letter;
//	                    expired: its time is over
//	Approved, Denied    dropped: its signal is a dead letter before it was taken; a signal: it is detached, nobody cancelled the
//	                    turn, and a person answered
//	Expired, Withdrawn  nothing
func (s *session) duty(a api.Approval, now time.Time) (duty, string) {
	ended := a.Sequence > 0 && !slices.ContainsFunc(s.pending, func(sig *api.Signal) bool { return sig.Sequence == a.Sequence })
	switch {
	case a.State == api.ApprovalOpen && s.Intent == api.IntentTerminated:
		return dutyWithdraw, "the session was terminated"
	case a.State == api.ApprovalOpen && a.Moot:
		return dutyWithdraw, "its turn was cancelled"
	case a.State == api.ApprovalOpen && ended && !a.Detached:
		return dutyWithdraw, "the signal of its turn became a dead letter"
	case a.State == api.ApprovalOpen && !now.Before(a.ExpiresAt):
		return dutyExpire, "nobody answered in time"
	case !answered(a) || a.Taken || s.Intent == api.IntentTerminated:
	case ended && !a.Detached:
		return dutyDrop, ""
	case a.Detached && a.Signal == "" && !a.Moot && a.By != byNave:
		return dutyConvey, ""
	}
	return dutyNone, ""
}

// Kept approvals that have ended.
const (
	keepApprovals   = 24 * time.Hour // for the list, and for who answers once more
	endedApprovals  = 200            // of one session at most; what its unsettled turns may ask for again is beside that
	approvalKey     = api.ReservedKeyPrefix + "approval/"
	approvalEntropy = "nave approval signal "
)

// ended reports whether nothing happens with an approval any more, unless its turn is done again.
func (s *session) endedApproval(a api.Approval) bool {
	if !answered(a) {
		return a.State != api.ApprovalOpen
	}
	return a.By == byNave || a.Moot || a.Signal != "" || a.Taken
}

// spare are the approvals that are not kept any longer. What a person answered stays until its turn is settled: it is not asked
// again.
func (s *session) spare(now time.Time) (out []api.ApprovalID) {
	var ended []api.Approval
	for _, a := range s.approvals {
		unsettled := slices.ContainsFunc(s.pending, func(sig *api.Signal) bool { return sig.Sequence == a.Sequence })
		if s.endedApproval(a) && (!unsettled || !answered(a) || a.By == byNave) {
			ended = append(ended, a)
		}
	}
	slices.SortStableFunc(ended, func(a, b api.Approval) int { return a.AnsweredAt.Compare(b.AnsweredAt) })
	for i, a := range ended {
		if len(ended)-i > endedApprovals || now.Sub(a.AnsweredAt) >= keepApprovals {
			out = append(out, a.ID)
		}
	}
	return out
}

// owed reports whether tend has something to do.
func (s *session) owed(now time.Time) bool {
	for _, a := range s.approvals {
		if d, _ := s.duty(a, now); d != dutyNone {
			return true
		}
	}
	return len(s.approvals) > 0 && len(s.spare(now)) > 0
}

// tend does what is owed to the approvals of a session, each in a group of its own. The step's own mutations come after them:
// it must have none of this session before.
func (m *machine) tend(o *output, s *session, now time.Time) {
	told := s.answers()
	for _, a := range s.approvals {
		o.each(func(o *output) {
			d, why := s.duty(a, now)
			switch d {
			case dutyWithdraw:
				m.endApproval(o, s, now, a, api.ApprovalWithdrawn, api.EventWithdrawn, why)
			case dutyExpire:
				m.endApproval(o, s, now, a, api.ApprovalExpired, api.EventExpired, why)
			case dutyDrop:
				a.Detached, a.Moot = true, true
				m.remember(s, a)
				o.mutate(s.Org, Mutation{PutApproval: &a})
			case dutyConvey:
				a = m.convey(o, s, now, a)
				o.mutate(s.Org, Mutation{PutApproval: &a})
			}
		})
	}
	for _, id := range s.spare(now) {
		m.dropApproval(o, s, id)
	}
	if !slices.Equal(told, s.answers()) {
		m.hand(o, s)
	}
}

// endApproval ends a request that nobody answered.
func (m *machine) endApproval(o *output, s *session, now time.Time, a api.Approval, state api.ApprovalState, typ api.EventType, why string) {
	a.State, a.Reason, a.AnsweredAt = state, why, now
	a.Detached = a.Detached || state == api.ApprovalWithdrawn // its turn is over
	m.remember(s, a)
	o.mutate(s.Org, Mutation{PutApproval: &a})
	m.report(o, s, now, api.Event{Type: typ, Text: why, Attributes: map[string]string{api.AttrApproval: string(a.ID)}}, nil)
	m.put(o, s)
}

// dropApproval forgets one.
func (m *machine) dropApproval(o *output, s *session, id api.ApprovalID) {
	s.approvals = slices.DeleteFunc(slices.Clone(s.approvals), func(a api.Approval) bool { return a.ID == id })
	if len(s.approvals) == 0 {
		delete(m.asking, s.ID)
	}
	o.aside(s.Org, Mutation{DeleteApproval: id})
}

// convey lets an answer become a signal, which no limit refuses. Record and signal are one commit, so that there is one signal;
// its id is made from the approval's.
func (m *machine) convey(o *output, s *session, now time.Time, a api.Approval) api.Approval {
	scope := KeyScope{Agent: s.Agent, SessionKey: s.Key, Key: approvalKey + string(a.ID)}
	if first := m.idem[scope]; first != nil {
		a.Signal = first.ID
		m.remember(s, a)
		return a
	}
	sum := sha256.Sum256([]byte(approvalEntropy + string(a.ID)))
	payload := answerPayload(a)
	sig := m.admit(o, s, now, api.Signal{ID: api.SignalID(api.NewULID(now, [10]byte(sum[:10]))), IdempotencyKey: scope.Key, Payload: payload,
		PayloadHash: sha256.Sum256(payload), Sender: a.By, Approval: a.ID})
	a.Signal = sig.ID
	m.remember(s, a)
	m.deliver(o, s, sig)
	return a
}

// answerPayload is what a signal says that carries an answer.
func answerPayload(a api.Approval) []byte {
	type option struct {
		ID   string `json:"id"`
		Name string `json:"name"`
		Kind string `json:"kind"`
	}
	said := struct {
		Approval    api.ApprovalID `json:"approval"`
		Decision    string         `json:"decision"`
		Option      option         `json:"option"`
		Title       string         `json:"title"`
		Fingerprint string         `json:"fingerprint"`
		By          string         `json:"by"`
		Reason      string         `json:"reason"`
	}{Approval: a.ID, Decision: decision(a), Title: a.Title, Fingerprint: a.Fingerprint, By: a.By, Reason: a.Reason}
	if i := slices.IndexFunc(a.Options, func(opt api.ApprovalOption) bool { return opt.ID == a.Option }); i >= 0 {
		said.Option = option{a.Options[i].ID, a.Options[i].Name, string(a.Options[i].Kind)}
	}
	out, err := json.Marshal(said)
	if err != nil {
		panic(strings.ToValidUTF8(err.Error(), "")) // texts alone
	}
	return out
}

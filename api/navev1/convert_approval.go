package navev1

import "github.com/nave-dev/nave/api"

// ApprovalToProto returns the message of an approval. Agent, key and cluster are the caller's to fill in: an approval does
// not know them.
func ApprovalToProto(a api.Approval) *Approval {
	m := &Approval{
		Organization: string(a.Org), Id: string(a.ID), SessionId: string(a.Session), Title: printable(a.Title), Detail: printable(a.Detail),
		AskedAt: timeToProto(a.AskedAt), HeldUntil: timeToProto(a.HeldUntil), ExpiresAt: timeToProto(a.ExpiresAt), State: string(a.State),
		Option: printable(a.Option), By: printable(a.By), Reason: printable(a.Reason), AnsweredAt: timeToProto(a.AnsweredAt), Taken: a.Taken,
		SignalId: string(a.Signal), Sequence: a.Sequence,
	}
	m.Options = each(a.Options, func(o api.ApprovalOption) *ApprovalOption {
		return &ApprovalOption{Id: printable(o.ID), Name: printable(o.Name), Kind: printable(string(o.Kind))}
	})
	return m
}

// ApprovalFromProto is the inverse of [ApprovalToProto], but for what the message does not have.
func ApprovalFromProto(m *Approval) api.Approval {
	return api.Approval{
		Org: api.OrgID(m.GetOrganization()), ID: api.ApprovalID(m.GetId()), Session: api.SessionID(m.GetSessionId()), Title: m.GetTitle(), Detail: m.GetDetail(),
		AskedAt: timeFromProto(m.GetAskedAt()), HeldUntil: timeFromProto(m.GetHeldUntil()), ExpiresAt: timeFromProto(m.GetExpiresAt()),
		State: api.ApprovalState(m.GetState()), Option: m.GetOption(), By: m.GetBy(), Reason: m.GetReason(), AnsweredAt: timeFromProto(m.GetAnsweredAt()),
		Taken: m.GetTaken(), Signal: api.SignalID(m.GetSignalId()), Sequence: m.GetSequence(),
		Options: each(m.GetOptions(), func(o *ApprovalOption) api.ApprovalOption {
			return api.ApprovalOption{ID: o.GetId(), Name: o.GetName(), Kind: api.OptionKind(o.GetKind())}
		}),
	}
}

// DeltaToProto returns the message of a piece of text while it is written: an event without a number.
func DeltaToProto(d api.Delta, name func(api.ClusterID) string) *Event {
	m := EventToProto(api.Event{Session: d.Session, Source: d.Source, Type: d.Type}, name)
	m.Delta = &Delta{Stream: printable(d.Stream), Offset: d.Offset, Text: printable(d.Text)}
	return m
}

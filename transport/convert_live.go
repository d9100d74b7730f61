package transport

import (
	"fmt"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/transport/linkv1"
)

func originTo(chain []api.Origin) []*linkv1.Origin {
	var out []*linkv1.Origin
	for _, o := range chain {
		out = append(out, &linkv1.Origin{Session: string(o.Session), Agent: o.Agent, Key: o.Key, Signal: string(o.Signal)})
	}
	return out
}

func originFrom(chain []*linkv1.Origin) []api.Origin {
	var out []api.Origin
	for _, o := range chain {
		out = append(out, api.Origin{Session: api.SessionID(o.GetSession()), Agent: o.GetAgent(), Key: o.GetKey(), Signal: api.SignalID(o.GetSignal())})
	}
	return out
}

func answersTo(answers []api.ApprovalAnswer) []*linkv1.ApprovalAnswer {
	var out []*linkv1.ApprovalAnswer
	for _, a := range answers {
		out = append(out, &linkv1.ApprovalAnswer{Approval: string(a.Approval), Allow: a.Allow, Option: a.Option, By: a.By, Reason: a.Reason})
	}
	return out
}

func answersFrom(answers []*linkv1.ApprovalAnswer) []api.ApprovalAnswer {
	var out []api.ApprovalAnswer
	for _, a := range answers {
		out = append(out, api.ApprovalAnswer{Approval: api.ApprovalID(a.GetApproval()), Allow: a.GetAllow(), Option: a.GetOption(), By: a.GetBy(), Reason: a.GetReason()})
	}
	return out
}

func deltasTo(deltas []api.Delta) []*linkv1.Delta {
	var out []*linkv1.Delta
	for _, d := range deltas {
		out = append(out, &linkv1.Delta{Session: string(d.Session), Source: sourceTo(d.Source), Stream: d.Stream, Type: string(d.Type), Offset: d.Offset, Text: d.Text})
	}
	return out
}

func deltasFrom(deltas []*linkv1.Delta) ([]api.Delta, error) {
	var out []api.Delta
	for _, d := range deltas {
		if len(d.GetText()) > api.MaxDeltaBytes {
			return nil, fmt.Errorf("delta of session %s: %d bytes, at most %d are allowed", d.GetSession(), len(d.GetText()), api.MaxDeltaBytes)
		}
		out = append(out, api.Delta{Session: api.SessionID(d.GetSession()), Source: sourceFrom(d.GetSource()), Stream: d.GetStream(), Type: api.EventType(d.GetType()),
			Offset: d.GetOffset(), Text: d.GetText()})
	}
	return out, nil
}

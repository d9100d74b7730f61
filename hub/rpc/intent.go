package rpc

import (
	"context"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub"
)

// Intents is the part of the hub that changes what people want of sessions. Errors are *api.Error.
type Intents interface {
	// SetIntent pauses, resumes or terminates a session, and returns when the change is durable. It is idempotent.
	SetIntent(ctx context.Context, r hub.IntentRequest) (hub.IntentAnswer, error)
	// Cancel ends the turn that works on signals up to one, lets those of them that wait be consumed unworked, and returns when
	// that is durable. It is idempotent.
	Cancel(ctx context.Context, r hub.CancelRequest) (hub.CancelAnswer, error)
	// Replay sends a dead letter again, as a new signal. The second time it answers as the first time, as a duplicate.
	// CodeNotFound when it is not a dead letter of the organization.
	Replay(ctx context.Context, org api.OrgID, dead api.SignalID, by string) (api.Accepted, error)
}

// maxNote is the longest note, in bytes.
const maxNote = 1 << 10

func (h *sessions) Pause(ctx context.Context, req *navev1.IntentRequest) (*navev1.IntentResponse, error) {
	return h.intent(ctx, req, hub.ChangePause)
}

func (h *sessions) Resume(ctx context.Context, req *navev1.IntentRequest) (*navev1.IntentResponse, error) {
	return h.intent(ctx, req, hub.ChangeResume)
}

func (h *sessions) Terminate(ctx context.Context, req *navev1.IntentRequest) (*navev1.IntentResponse, error) {
	return h.intent(ctx, req, hub.ChangeTerminate)
}

func (h *sessions) intent(ctx context.Context, req *navev1.IntentRequest, change hub.Change) (*navev1.IntentResponse, error) {
	org, id, err := sessionOf(ctx, req.GetOrganization(), "session_id", req.GetSessionId())
	if err != nil {
		return nil, err
	}
	if err := checkText("note", req.GetNote()); err != nil {
		return nil, err
	}
	a, err := h.s.cfg.Intents.SetIntent(ctx, hub.IntentRequest{
		Org: org, Session: id, Change: change, By: caller(ctx).Subject, Note: req.GetNote(), DryRun: req.GetDryRun(),
	})
	if err != nil {
		return nil, inField(err, "session_id", "id")
	}
	names := h.s.names(ctx, org)
	res := &navev1.IntentResponse{Session: sessionToProto(a.Session, names), Changed: a.Changed, WaitsForCluster: a.Waits}
	if !a.EffectiveBy.IsZero() {
		res.EffectiveBy = timestamppb.New(a.EffectiveBy)
	}
	return res, names.err
}

// Cancel is served by both listeners.
func (h *sessions) Cancel(ctx context.Context, req *navev1.CancelRequest) (*navev1.CancelResponse, error) {
	org, id, err := sessionOf(ctx, req.GetOrganization(), "session_id", req.GetSessionId())
	if err != nil {
		return nil, err
	}
	if err := checkText("note", req.GetNote()); err != nil {
		return nil, err
	}
	a, err := h.s.cfg.Intents.Cancel(ctx, hub.CancelRequest{
		Org: org, Session: id, UpTo: req.GetUpTo(), By: caller(ctx).Subject, Note: req.GetNote(), DryRun: req.GetDryRun(),
	})
	if err != nil {
		return nil, inField(err, "session_id", "id")
	}
	names := h.s.names(ctx, org)
	return &navev1.CancelResponse{Session: sessionToProto(a.Session, names), Changed: a.Changed, UpTo: a.UpTo, Waits: a.Waits}, names.err
}

// checkText bounds a text that people give.
func checkText(field, text string) error {
	if n := len(text); n > maxNote || !utf8.ValidString(text) {
		return api.Invalid(field, "%d bytes: want at most %d of UTF-8", n, maxNote)
	}
	return nil
}

package rpc

import (
	"context"
	"strconv"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub"
)

// History reads what has left the store, as hub.Reader does. Errors are *api.Error.
type History interface {
	// Side returns up to limit events of side branches after a position (0: from the first), and the position behind the
	// last one.
	Side(ctx context.Context, org api.OrgID, session api.SessionID, after uint64, limit int) ([]hub.SideEvent, uint64, error)
	// DeadLetters returns up to limit dead letters without their payloads, latest first, after a position ("": from the
	// first), and the position to go on after.
	DeadLetters(ctx context.Context, org api.OrgID, f hub.DeadFilter, after string, limit int) ([]hub.SettledSignal, string, error)
	// DeadLetter returns one with its payload, or CodeNotFound.
	DeadLetter(ctx context.Context, org api.OrgID, id api.SignalID) (hub.SettledSignal, error)
	// Terminated returns the record of a session that ended, or CodeNotFound.
	Terminated(ctx context.Context, org api.OrgID, id api.SessionID) (api.Session, error)
}

// Payloads reads payloads that are too large for a record.
type Payloads interface {
	// Fetch returns what was put under a key, verified.
	Fetch(ctx context.Context, key string) ([]byte, error)
}

func (h *sessions) ListDeadLetters(ctx context.Context, req *navev1.ListDeadLettersRequest) (*navev1.ListDeadLettersResponse, error) {
	org, err := orgOf(ctx, req.GetOrganization())
	if err != nil {
		return nil, err
	}
	f := hub.DeadFilter{Session: api.SessionID(req.GetSessionId())}
	if f.Session != "" {
		if _, _, err := sessionOf(ctx, req.GetOrganization(), "session_id", req.GetSessionId()); err != nil {
			return nil, err
		}
	}
	if f.Agent, err = h.s.agentNamed(ctx, org, req.GetAgent()); err != nil {
		return nil, err
	}
	page, err := hub.NewPager(int(req.GetPageSize()), req.GetPageToken(), "dead letters", string(org), string(f.Agent), string(f.Session))
	if err != nil {
		return nil, err
	}
	dead, next, err := h.s.cfg.History.DeadLetters(ctx, org, f, page.After, page.Size)
	if err != nil {
		return nil, err
	}
	res := &navev1.ListDeadLettersResponse{}
	for _, s := range dead {
		s.Signal.Payload = nil
		res.DeadLetters = append(res.DeadLetters, deadLetterToProto(s))
	}
	if next != "" && len(dead) == page.Size {
		res.NextPageToken = page.Token(next)
	}
	return res, nil
}

func (h *sessions) GetDeadLetter(ctx context.Context, req *navev1.GetDeadLetterRequest) (*navev1.DeadLetter, error) {
	org, id, err := signalOf(ctx, req.GetOrganization(), req.GetSignalId())
	if err != nil {
		return nil, err
	}
	s, err := h.s.cfg.History.DeadLetter(ctx, org, id)
	if err != nil {
		return nil, inField(err, "signal_id", "", "id")
	}
	if s.Signal.PayloadRef != "" && len(s.Signal.Payload) == 0 {
		if s.Signal.Payload, err = h.s.cfg.Payloads.Fetch(ctx, s.Signal.PayloadRef); err != nil {
			return nil, err
		}
	}
	return deadLetterToProto(s), nil
}

func (h *sessions) Replay(ctx context.Context, req *navev1.ReplayRequest) (*navev1.SignalResponse, error) {
	org, id, err := signalOf(ctx, req.GetOrganization(), req.GetSignalId())
	if err != nil {
		return nil, err
	}
	a, err := h.s.cfg.Intents.Replay(ctx, org, id, caller(ctx).Subject)
	if err != nil {
		return nil, inField(err, "signal_id", "", "id")
	}
	return acceptedToProto(a), nil
}

func (h *sessions) ListSideEvents(ctx context.Context, req *navev1.ListSideEventsRequest) (*navev1.ListSideEventsResponse, error) {
	org, id, err := sessionOf(ctx, req.GetOrganization(), "session_id", req.GetSessionId())
	if err != nil {
		return nil, err
	}
	page, err := hub.NewPager(int(req.GetPageSize()), req.GetPageToken(), "side events", string(org), string(id))
	if err != nil {
		return nil, err
	}
	var after uint64
	if page.After != "" {
		if after, err = strconv.ParseUint(page.After, 10, 64); err != nil {
			return nil, api.Invalid("page_token", "is not a token of this list: leave it out to begin anew")
		}
	}
	if _, err := h.view(ctx, org, id); err != nil {
		return nil, inField(err, "session_id", "id")
	}
	events, next, err := h.s.cfg.History.Side(ctx, org, id, after, page.Size)
	if err != nil {
		return nil, err
	}
	names := h.s.names(ctx, org)
	res := &navev1.ListSideEventsResponse{}
	for _, e := range events {
		res.Events = append(res.Events, navev1.SideEventToProto(e.Event, e.ReceivedAt, names.of))
	}
	if len(events) == page.Size {
		res.NextPageToken = page.Token(strconv.FormatUint(next, 10))
	}
	return res, names.err
}

// signalOf checks organization and id of a request about a dead letter.
func signalOf(ctx context.Context, org, id string) (api.OrgID, api.SignalID, error) {
	o, err := orgOf(ctx, org)
	if err != nil {
		return "", "", err
	}
	if _, err := api.ParseULID(id); err != nil {
		return "", "", api.Invalid("signal_id", "%.40q is not the id of a signal: want 26 characters", id)
	}
	return o, api.SignalID(id), nil
}

func deadLetterToProto(s hub.SettledSignal) *navev1.DeadLetter {
	m := navev1.DeadLetterToProto(s.Signal, s.SettledAt)
	m.Agent, m.AgentId, m.Key, m.Reason, m.ReplayedAs = s.AgentName, string(s.Scope.Agent), s.Scope.SessionKey, s.Reason, string(s.ReplayedAs)
	return m
}

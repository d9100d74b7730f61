package transport

import (
	"context"
	"fmt"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/transport/linkv1"
)

// Bounds of signals of sessions.
const (
	maxSignals   = 16               // at a time on one link; further ones are refused
	signalWithin = 20 * time.Second // for the hub's answer
)

// Signal sends a signal as a session and returns when the hub said that it is durable. CodeUnavailable without a link, when it
// is lost, and after 20 s without an answer; with the same idempotency key it is safe to repeat.
func (l *Link) Signal(caller context.Context, session api.SessionID, source api.Source, s api.AgentSignal) (api.Accepted, error) {
	c := l.connection()
	if c == nil {
		return api.Accepted{}, errNoLink()
	}
	select {
	case l.signals <- struct{}{}:
		defer func() { <-l.signals }()
	default:
		return api.Accepted{}, api.Errorf(api.CodeLimit, "%d signals wait for the hub's answer, the limit", maxSignals)
	}
	ctx, cancel := context.WithTimeoutCause(caller, signalWithin, api.Errorf(api.CodeUnavailable, "the hub did not answer within %v", signalWithin))
	defer cancel()
	r, err := whileLinked(ctx, c.over, func(ctx context.Context) (*linkv1.SignalResponse, error) {
		return c.bulk.Signal(ctx, &linkv1.SignalRequest{Session: string(session), Source: sourceTo(source), Agent: s.Agent, Key: s.Key, Payload: s.Payload,
			IdempotencyKey: s.IdempotencyKey})
	})
	switch {
	case err == nil:
		return api.Accepted{Signal: api.SignalID(r.GetSignalId()), Session: api.SessionID(r.GetSessionId()), Sequence: r.GetSequence(), Duplicate: r.GetDuplicate()}, nil
	case caller.Err() != nil:
		return api.Accepted{}, context.Cause(caller)
	case c.over.Err() != nil:
		return api.Accepted{}, errLinkOver
	}
	return api.Accepted{}, fromStatus(err)
}

// Signal implements linkv1.LinkServer.
func (s *Server) Signal(ctx context.Context, r *linkv1.SignalRequest) (*linkv1.SignalResponse, error) {
	l, err := s.linkOf(ctx)
	if api.CodeOf(err) == api.CodeConflict { // its link ended here: the next one may take the signal
		err = api.Errorf(api.CodeUnavailable, "%w", err)
	}
	if err != nil {
		return nil, callStatus(err)
	}
	select {
	case l.signals <- struct{}{}:
		defer func() { <-l.signals }()
	default:
		return nil, callStatus(api.Errorf(api.CodeLimit, "%d signals of this spoke's sessions are being accepted, the limit", cap(l.signals)))
	}
	switch {
	case r.GetSession() == "":
		return nil, callStatus(api.Invalid("session", "is empty"))
	case len(r.GetPayload()) > api.MaxPayload:
		return nil, callStatus(&api.Error{Code: api.CodeLimit, Field: "payload", Err: fmt.Errorf("%d bytes: at most %d are allowed", len(r.GetPayload()), api.MaxPayload)})
	}
	ctx, cancel := context.WithTimeout(ctx, signalWithin)
	defer cancel()
	got, err := whileLinked(ctx, l.over, func(ctx context.Context) (api.Accepted, error) {
		return l.att.Signal(ctx, api.SessionID(r.GetSession()), sourceFrom(r.GetSource()), api.AgentSignal{Agent: r.GetAgent(), Key: r.GetKey(), Payload: r.GetPayload(),
			IdempotencyKey: r.GetIdempotencyKey()})
	})
	if err != nil {
		return nil, callStatus(err)
	}
	return &linkv1.SignalResponse{SignalId: string(got.Signal), SessionId: string(got.Session), Sequence: got.Sequence, Duplicate: got.Duplicate}, nil
}

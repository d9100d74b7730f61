package transport

import (
	"context"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/transport/linkv1"
)

// endedWithin bounds the hub's answer.
const endedWithin = 10 * time.Second

// Ended returns those of the sessions, at most [api.MaxEnded], that the hub says are over for good. Of the others nothing is
// said. CodeUnavailable without a link, and without an answer.
func (l *Link) Ended(ctx context.Context, sessions []api.SessionID) ([]api.SessionID, error) {
	c := l.connection()
	if c == nil {
		return nil, errNoLink()
	}
	req := &linkv1.EndedRequest{}
	for _, id := range sessions {
		req.Sessions = append(req.Sessions, string(id))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, endedWithin, api.Errorf(api.CodeUnavailable, "the hub did not answer within %v", endedWithin))
	defer cancel()
	r, err := whileLinked(ctx, c.over, func(ctx context.Context) (*linkv1.EndedResponse, error) { return c.control.Ended(ctx, req) })
	if err != nil {
		return nil, fromStatus(err)
	}
	var out []api.SessionID
	for _, id := range r.GetSessions() {
		if !slices.Contains(sessions, api.SessionID(id)) {
			return nil, api.Errorf(api.CodeInvalid, "the hub names session %.80q, which it was not asked about", id)
		}
		out = append(out, api.SessionID(id))
	}
	return out, nil
}

// Ended implements linkv1.LinkServer.
func (s *Server) Ended(ctx context.Context, r *linkv1.EndedRequest) (*linkv1.EndedResponse, error) {
	l, err := s.linkOf(ctx)
	if err != nil {
		return nil, callStatus(err)
	}
	if n := len(r.GetSessions()); n > api.MaxEnded {
		return nil, callStatus(api.Invalid("sessions", "%d: at most %d are allowed", n, api.MaxEnded))
	}
	var ids []api.SessionID
	for _, id := range r.GetSessions() {
		ids = append(ids, api.SessionID(id))
	}
	ctx, cancel := context.WithTimeout(ctx, endedWithin)
	defer cancel()
	ended, err := whileLinked(ctx, l.over, func(ctx context.Context) ([]api.SessionID, error) { return l.att.Ended(ctx, ids) })
	if err != nil {
		return nil, callStatus(err)
	}
	out := &linkv1.EndedResponse{}
	for _, id := range ended {
		out.Sessions = append(out.Sessions, string(id))
	}
	return out, nil
}

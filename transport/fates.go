package transport

import (
	"context"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/transport/linkv1"
)

// fatesWithin bounds the hub's answer.
const fatesWithin = 10 * time.Second

// Fates returns what became of sessions, at most [api.MaxFates], as far as the hub says. CodeUnavailable without a link, and
// without an answer.
func (l *Link) Fates(ctx context.Context, sessions []api.SessionID) (api.Fates, error) {
	c := l.connection()
	if c == nil {
		return api.Fates{}, errNoLink()
	}
	req := &linkv1.EndedRequest{}
	for _, id := range sessions {
		req.Sessions = append(req.Sessions, string(id))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, fatesWithin, api.Errorf(api.CodeUnavailable, "the hub did not answer within %v", fatesWithin))
	defer cancel()
	r, err := whileLinked(ctx, c.over, func(ctx context.Context) (*linkv1.EndedResponse, error) { return c.control.Ended(ctx, req) })
	if err != nil {
		return api.Fates{}, fromStatus(err)
	}
	var out api.Fates
	for _, id := range r.GetSessions() {
		out.Ended = append(out.Ended, api.SessionID(id))
	}
	for _, id := range r.GetMoved() {
		out.Moved = append(out.Moved, api.SessionID(id))
	}
	said := map[api.SessionID]bool{}
	for _, id := range slices.Concat(out.Ended, out.Moved) {
		if !slices.Contains(sessions, id) {
			return api.Fates{}, api.Errorf(api.CodeInvalid, "the hub names session %.80q, which it was not asked about", id)
		}
		if said[id] {
			return api.Fates{}, api.Errorf(api.CodeInvalid, "the hub names session %s twice", id)
		}
		said[id] = true
	}
	return out, nil
}

// Ended implements linkv1.LinkServer.
func (s *Server) Ended(ctx context.Context, r *linkv1.EndedRequest) (*linkv1.EndedResponse, error) {
	l, err := s.linkOf(ctx)
	if err != nil {
		return nil, callStatus(err)
	}
	if n := len(r.GetSessions()); n > api.MaxFates {
		return nil, callStatus(api.Invalid("sessions", "%d: at most %d are allowed", n, api.MaxFates))
	}
	var ids []api.SessionID
	for _, id := range r.GetSessions() {
		ids = append(ids, api.SessionID(id))
	}
	ctx, cancel := context.WithTimeout(ctx, fatesWithin)
	defer cancel()
	fates, err := whileLinked(ctx, l.over, func(ctx context.Context) (api.Fates, error) { return l.att.Fates(ctx, ids) })
	if err != nil {
		return nil, callStatus(err)
	}
	out := &linkv1.EndedResponse{}
	for _, id := range fates.Ended {
		out.Sessions = append(out.Sessions, string(id))
	}
	for _, id := range fates.Moved {
		out.Moved = append(out.Moved, string(id))
	}
	return out, nil
}

package hub

import (
	"context"

	"github.com/nave-dev/nave/api"
)

// Ended tells a spoke which sessions, whose state it keeps still, are over for good: they were terminated, nothing acts for
// them any more, and the archive has the end. Only such that were placed in its cluster are named; of the others nothing is
// said, and that says nothing.
func (a *Attachment) Ended(ctx context.Context, sessions []api.SessionID) ([]api.SessionID, error) {
	if a.ctx.Err() != nil {
		return nil, a.reason()
	}
	if len(sessions) > api.MaxEnded {
		return nil, api.Invalid("sessions", "%d: at most %d are allowed", len(sessions), api.MaxEnded)
	}
	if len(sessions) == 0 {
		return nil, nil
	}
	return a.h.cfg.Archive.Ended(ctx, a.cluster, sessions)
}

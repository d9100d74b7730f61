package hub

import (
	"context"

	"github.com/nave-dev/nave/api"
)

// Signal sends a signal as a session of the spoke.
//
// TODO: not built yet.
func (a *Attachment) Signal(context.Context, api.SessionID, api.Source, api.AgentSignal) (api.Accepted, error) {
	return api.Accepted{}, api.Errorf(api.CodeUnsupported, "this hub does not take signals of sessions yet")
}

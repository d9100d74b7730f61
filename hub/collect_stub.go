package hub

import "github.com/nave-dev/nave/api"

// collect removes the checkpoints of a session that are not kept.
func (h *Hub) collect(api.OrgID, api.SessionID, []api.CheckpointID) {}

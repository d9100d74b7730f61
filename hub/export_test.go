package hub

import "github.com/nave-dev/nave/api"

// SetMailSessions bounds the mailboxes of the links that begin from now on.
func (h *Hub) SetMailSessions(n int) { h.mailSessions = n }

// Mail is what waits for the link of an attachment, and how often it had to leave something out.
func (a *Attachment) Mail() (sessions, acks, resyncs int) { return a.mail.waits() }

// Resync asks every shard to say everything on a cluster's link.
func (h *Hub) Resync(id api.ClusterID) {
	for i := range h.loops {
		h.loops[i].inbox <- evResync{cluster: id}
	}
}

// Collect is collect.
func (h *Hub) Collect(org api.OrgID, session api.SessionID, keep []api.CheckpointID) {
	h.collect(org, session, keep)
}

// TransfersPerLink is transfersPerLink.
const TransfersPerLink = transfersPerLink

package hub

import (
	"time"

	"github.com/nave-dev/nave/api"
)

// WriteOutcome says what a write did, or would have done.
type WriteOutcome string

// The outcomes of writes.
const (
	Created   WriteOutcome = "created"
	Updated   WriteOutcome = "updated"
	Unchanged WriteOutcome = "unchanged"
	Deleted   WriteOutcome = "deleted"
)

// SignalRequest is a message to a session, which is made when there is none.
type SignalRequest struct {
	Org            api.OrgID
	Agent          string // name
	Key            string
	Payload        []byte
	IdempotencyKey string
	Sender         string // subject of the credential
	DryRun         bool   // check everything, accept nothing

	Origin []api.Origin // the sessions that led to it; only of a signal that a session sends
}

// SessionView is a session with what people want to see of it beside its record.
type SessionView struct {
	api.Session
	Pending  int // unsettled signals
	Consumed int // of the pending ones: consumed by a turn that no durable checkpoint covers yet
	Asking   int // approvals that wait for a person
}

// SessionFilter selects sessions; zero fields select all.
type SessionFilter struct {
	Agent    api.ObjectID
	Phase    api.Phase
	Cluster  api.ClusterID
	Selector []api.Requirement
}

// Enrolled is what a spoke gets for its join token.
type Enrolled struct {
	OverlayToken  string // one-time enrollment token of the overlay
	Org           api.OrgID
	ClusterName   string
	HubIdentities []string // the only overlay identities that a spoke trusts as hub
	Service       string   // overlay service to dial
	Authority     []byte   // PEM: the overlay's authority, the only one to believe
	Controllers   []string // base URLs of the overlay's controllers
}

// JoinSecret is what an administrator hands to a new spoke, once.
type JoinSecret struct {
	Secret    string
	ExpiresAt time.Time
}

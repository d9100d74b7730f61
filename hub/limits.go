package hub

import (
	"cmp"
	"time"

	"github.com/nave-dev/nave/api"
)

// Limits bound what a hub accepts.
type Limits struct {
	PendingPerSession int // unsettled signals of one session
	PendingPerOrg     int // unsettled signals of one organization, on this replica
	Window            int // signals handed to a spoke at a time, per session
	WindowBytes       int // bytes of their payloads
	AgentSignals      int // that one session sends per second
	AgentBurst        int // that one session sends at once

	Lease time.Duration // of a cluster, in the store: what follows from its loss is counted from it; [New] sets it
}

// DefaultLimits are the documented defaults.
func DefaultLimits() Limits {
	return Limits{PendingPerSession: api.MaxPendingPerSession, PendingPerOrg: api.MaxPendingPerOrg, Window: 64, WindowBytes: 512 << 10, AgentSignals: 10, AgentBurst: 50,
		Lease: 10 * time.Second}
}

// withDefaults fills the zero fields.
func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	return Limits{PendingPerSession: cmp.Or(l.PendingPerSession, d.PendingPerSession), PendingPerOrg: cmp.Or(l.PendingPerOrg, d.PendingPerOrg),
		Window: cmp.Or(l.Window, d.Window), WindowBytes: cmp.Or(l.WindowBytes, d.WindowBytes),
		AgentSignals: cmp.Or(l.AgentSignals, d.AgentSignals), AgentBurst: cmp.Or(l.AgentBurst, d.AgentBurst), Lease: cmp.Or(l.Lease, d.Lease)}
}

package hub

import (
	"cmp"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
)

// CheckState says how bad a finding is.
type CheckState string

// The states of checks.
const (
	CheckOK      CheckState = "ok"
	CheckWarning CheckState = "warning" // somebody should look
	CheckFailing CheckState = "failing" // something does not work
)

// Check is one finding.
type Check struct {
	Name   string // of what was looked at
	State  CheckState
	Detail string
	Remedy string // what to do, where it can be with a command; empty when it is ok
}

// Count is how many there are of a name.
type Count struct {
	Name  string
	Count int
}

// StatusReport says whether all is well, and what to do where it is not.
type StatusReport struct {
	Version  string
	Checks   []Check // the worst first
	Clusters []Count // by health
	Sessions []Count // by phase

	PendingSignals int
	OpenApprovals  int
	DeadLetters    int // of the last 24 hours, without those that were replayed; counted up to DeadLettersCounted
}

// When a level is worth a warning.
const (
	DeadLettersCounted = 1000           // dead letters that are looked at
	deadLettersWithin  = 24 * time.Hour // how far back
	approvalWaits      = time.Hour      // for an answer
	limitWarns         = 80             // % of the organization's signals
	diskWarns          = 10             // % that is free
	diskFails          = 3              // % that is free
	groupsShown        = 5              // reasons for which sessions wait
)

// StatusFacts is what a status is judged by.
type StatusFacts struct {
	Now     time.Time
	Version string           // of the hub
	Parts   map[string]error // what keeps a part of the hub from working; nil: it works

	Clusters  []ClusterFact
	Sessions  SessionFacts
	Counted   error          // why sessions were not counted; nil: they were
	Approvals *ApprovalFacts // nil: not counted
	Dead      DeadFacts
	Limit     int        // unsettled signals that the organization may have
	Disk      *DiskFacts // nil: not looked at
}

// ClusterFact is what this replica knows of a cluster.
type ClusterFact struct {
	Name     string
	Health   api.Health
	Version  string        // of its spoke; empty: not known
	Heard    time.Time     // zero: not since the hub began
	LostFor  time.Duration // at least; of one that is Lost
	Sessions int           // assigned to it
	Cordoned bool
}

// SessionFacts counts the sessions of an organization.
type SessionFacts struct {
	Phases  map[api.Phase]int
	Pending int // signals that are not settled
	Waiting []SessionGroup
	Failed  SessionGroup // paused because their starts failed
}

// SessionGroup is sessions with something in common.
type SessionGroup struct {
	Reason  string
	Count   int
	Example api.SessionID
}

// ApprovalFacts counts open requests for permission.
type ApprovalFacts struct {
	Open   int
	Oldest time.Time // when the oldest one was asked; zero without any
}

// DeadFacts counts dead letters that were not replayed.
type DeadFacts struct {
	Count   int
	Example api.SignalID // the latest
	Err     error        // why they were not counted
}

// DiskFacts is how full the disk of the hub's directory is.
type DiskFacts struct {
	Path        string
	Free, Total uint64 // bytes
}

// Assess judges facts. Equal facts give equal reports.
func Assess(f StatusFacts) StatusReport {
	r := StatusReport{Version: f.Version, PendingSignals: f.Sessions.Pending, DeadLetters: f.Dead.Count}
	if f.Approvals != nil {
		r.OpenApprovals = f.Approvals.Open
	}
	health := map[api.Health]int{}
	for _, c := range f.Clusters {
		health[c.Health]++
	}
	for _, h := range []api.Health{api.HealthLive, api.HealthSuspect, api.HealthLost, api.HealthPending} {
		r.Clusters = append(r.Clusters, Count{string(h), health[h]})
	}
	for _, p := range api.Phases() {
		r.Sessions = append(r.Sessions, Count{string(p), f.Sessions.Phases[p]})
	}
	for _, checks := range [][]Check{f.parts(), f.clusters(), f.sessions(), f.signals(), f.approvals(), f.dead(), f.disk()} {
		r.Checks = append(r.Checks, checks...)
	}
	rank := map[CheckState]int{CheckFailing: 0, CheckWarning: 1, CheckOK: 2}
	slices.SortStableFunc(r.Checks, func(a, b Check) int { return cmp.Compare(rank[a.State], rank[b.State]) })
	return r
}

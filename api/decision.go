package api

import "time"

// Reason is the rule that excluded a cluster from a placement.
type Reason string

// The reasons, in the order in which the rules are tried.
const (
	ReasonOrganization Reason = "organization" // belongs to another organization
	ReasonHealth       Reason = "health"       // not live
	ReasonCordoned     Reason = "cordoned"     // takes no new sessions
	ReasonTaint        Reason = "taint"        // has a taint that is not tolerated
	ReasonRequirement  Reason = "requirement"  // labels do not meet a requirement
	ReasonFlavor       Reason = "flavor"       // does not offer the flavor
	ReasonCapacity     Reason = "capacity"     // no room for the flavor now
	ReasonRefused      Reason = "refused"      // the spoke refused this session
)

// Reasons lists the reasons in the order of their declaration.
func Reasons() []Reason {
	return []Reason{ReasonOrganization, ReasonHealth, ReasonCordoned, ReasonTaint, ReasonRequirement, ReasonFlavor, ReasonCapacity, ReasonRefused}
}

// Decision is one placement with its reasons.
type Decision struct {
	Session    SessionID
	Epoch      Epoch // that it was made for; zero when nothing fits
	Time       time.Time
	Cluster    ClusterID // empty when nothing fits
	Summary    string    // one line, at most 1 KiB
	Candidates []Candidate
}

// Candidate is one cluster of a decision: excluded with a reason, or scored term by term.
type Candidate struct {
	Cluster ClusterID
	Name    string
	Chosen  bool
	Reason  Reason // empty when the cluster fits
	Detail  string // the values that were compared
	Score   int64  // the sum of the terms
	Terms   []ScoreTerm
}

// ScoreTerm is one summand of a score.
type ScoreTerm struct {
	Name   string
	Value  int64
	Detail string
}

package main

import (
	"fmt"
	"slices"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

// excluded says of each rule what was wrong with a cluster, and what would let it in.
var excluded = map[string]struct{ because, remedy string }{
	"organization": {"it belongs to another organization", "it cannot be used from here"},
	"health":       {"it is not live", "nave clusters shows since when it is not heard"},
	"cordoned":     {"it takes no new sessions", "nave clusters uncordon %s lets it have new sessions again"},
	"taint":        {"it has a taint that the policy does not tolerate", "let the policy tolerate it, or take the taint from %s"},
	"requirement":  {"its labels do not meet a requirement of the policy", "change the policy's requirements, or the labels of %s"},
	"flavor":       {"it does not offer the flavor of the environment", "let %s offer it, or choose another flavor"},
	"capacity":     {"it has no room for that flavor", "wait until sessions leave %s, or let it offer more"},
	"refused":      {"it refused the session", "mend what its spoke names; then it is tried again"},
}

// whyNot says about one cluster what the last decision found, and what it would find now.
func (a *app) whyNot(res *navev1.ExplainResponse, cluster string) error {
	s := res.GetSession()
	var last *navev1.Decision
	if ds := res.GetDecisions(); len(ds) > 0 {
		last = ds[0]
	}
	then, now := candidateOf(last, cluster), candidateOf(res.GetPresent(), cluster)
	if then == nil && now == nil {
		return &advice{&api.Error{Code: api.CodeNotFound, Field: "why-not", Err: fmt.Errorf("no decision about session %s names a cluster %q", s.GetId(), cluster)},
			"nave clusters shows those that there are"}
	}
	switch {
	case last == nil:
		a.say("Session %s was not placed yet.", s.GetId())
	case then == nil:
		a.say("At the last decision (%s) there was no cluster %s.", at(last), cluster)
	case then.GetChosen():
		a.say("At the last decision (%s) %s was chosen: %s.", at(last), cluster, scored(then))
	default:
		a.say("At the last decision (%s) %s", at(last), found(last, then, tense{"was", "fitted", "had"}))
	}
	present := res.GetPresent()
	switch {
	case present == nil:
		a.say("The hub does not say what it would decide now.")
	case now == nil:
		a.say("Now there is no cluster %s.", cluster)
	case now.GetChosen():
		a.say("Now it would be chosen: %s.", scored(now))
	default:
		a.say("Now %s", found(present, now, tense{"is", "fits", "has"}))
	}
	if now != nil && now.GetReason() != "" {
		if e, ok := excluded[now.GetReason()]; ok {
			a.say("What would help: %s.", fmt.Sprintf(slotted(e.remedy), cluster))
		}
	}
	switch {
	case s.GetCluster() == cluster:
		a.say("It is there: its epoch %s is at %s.", s.GetEpoch(), cluster)
	case s.GetCluster() != "":
		a.say("It stays at %s until its epoch %s ends; then it is placed anew.", s.GetCluster(), s.GetEpoch())
	case s.GetPhase() == string(api.PhaseDormant):
		a.say("It is dormant: the next signal places it anew.")
	}
	return nil
}

// slotted gives a text a place for the cluster's name when it has none.
func slotted(s string) string {
	if !slices.Contains([]byte(s), '%') {
		return s + "%.0s"
	}
	return s
}

func candidateOf(d *navev1.Decision, cluster string) *navev1.Candidate {
	for _, c := range d.GetCandidates() {
		if c.GetCluster() == cluster {
			return c
		}
	}
	return nil
}

func at(d *navev1.Decision) string {
	if d.GetEpoch() == "" { // nothing fitted
		return stamp(d.GetTime())
	}
	return fmt.Sprintf("epoch %s, %s", d.GetEpoch(), stamp(d.GetTime()))
}

func scored(c *navev1.Candidate) string {
	said := plural(int(c.GetScore()), "point")
	if t := terms(c); t != "" {
		said += " of " + t
	}
	return said
}

// tense is how a decision is told: one of the past, or what would be now.
type tense struct{ is, fits, has string }

// found says why a decision did not take a candidate.
func found(d *navev1.Decision, c *navev1.Candidate, t tense) string {
	if r := c.GetReason(); r != "" {
		because := fmt.Sprintf("the rule %q excluded it", r)
		if e, ok := excluded[r]; ok {
			because = e.because
		}
		if c.GetDetail() != "" {
			because += " (" + c.GetDetail() + ")"
		}
		return fmt.Sprintf("%s %s excluded by %s: %s.", c.GetCluster(), t.is, r, because)
	}
	said := fmt.Sprintf("%s %s, with %s", c.GetCluster(), t.fits, scored(c))
	best := slices.IndexFunc(d.GetCandidates(), (*navev1.Candidate).GetChosen)
	if best < 0 {
		return said + "; none " + t.is + " chosen."
	}
	b := d.GetCandidates()[best]
	if b.GetScore() == c.GetScore() {
		return fmt.Sprintf("%s; %s %s as many, and the tie falls to it.", said, b.GetCluster(), t.has)
	}
	return fmt.Sprintf("%s; %s %s %s.", said, b.GetCluster(), t.has, scored(b))
}

package placement

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/nave-dev/nave/api"
)

// Snapshot is what is known of the clusters at one moment. It is shared and immutable.
type Snapshot struct {
	Clusters []Cluster
}

// Cluster is one cluster of a snapshot.
type Cluster struct {
	ID       api.ClusterID
	Org      api.OrgID
	Name     string
	Labels   map[string]string
	Taints   []api.Taint
	Cordoned bool
	Health   api.Health
	Rooms    map[string]Room // by flavor
}

// Room is the capacity for one flavor, in workloads. Placements in flight are subtracted from Free.
type Room struct {
	Total int
	Free  int
}

// Request is what is to be placed.
type Request struct {
	Session     api.SessionID
	Org         api.OrgID
	Environment *api.EnvironmentSpec     // nil: the default flavor
	Policy      *api.PlacementPolicySpec // nil: anywhere
	Last        api.ClusterID            // where it ran last; empty if never
	Refused     map[api.ClusterID]string // clusters whose spoke refused it just now, and why
}

// Weights of the built-in terms. A term is weight times a value in 0…100.
const (
	balanceWeight = 20
	taintWeight   = -20 // per taint of effect PreferNoSchedule that is not tolerated
)

// Decide places the request. Session, Cluster, Summary and Candidates of the decision are filled in; epoch and time are
// the caller's.
func Decide(s Snapshot, r Request) api.Decision {
	d := api.Decision{Session: r.Session, Candidates: make([]api.Candidate, 0, len(s.Clusters))}
	for _, c := range s.Clusters {
		d.Candidates = append(d.Candidates, judge(c, r))
	}
	slices.SortFunc(d.Candidates, func(a, b api.Candidate) int { return order(a, b, r.Session) })
	if len(d.Candidates) > 0 && d.Candidates[0].Reason == "" {
		d.Candidates[0].Chosen = true
		d.Cluster = d.Candidates[0].Cluster
	}
	d.Summary = summarize(d.Candidates)
	return d
}

// judge filters and scores one cluster.
func judge(c Cluster, r Request) api.Candidate {
	cand := api.Candidate{Cluster: c.ID, Name: c.Name}
	for _, f := range filters {
		if detail, ok := f.test(c, r); !ok {
			cand.Reason, cand.Detail = f.reason, detail
			return cand
		}
	}
	cand.Terms = score(c, r)
	for _, t := range cand.Terms {
		cand.Score += t.Value
	}
	return cand
}

// filters in the order in which they are tried; the first that excludes a cluster is its reason. The detail holds the values
// that were compared.
var filters = []struct {
	reason api.Reason
	test   func(Cluster, Request) (detail string, ok bool)
}{
	{api.ReasonOrganization, func(c Cluster, r Request) (string, bool) {
		return fmt.Sprintf("cluster belongs to %s, session to %s", c.Org, r.Org), c.Org == r.Org
	}},
	{api.ReasonRefused, func(c Cluster, r Request) (string, bool) {
		why, refused := r.Refused[c.ID]
		return why, !refused
	}},
	{api.ReasonHealth, func(c Cluster, _ Request) (string, bool) {
		return fmt.Sprintf("is %s, want %s", c.Health, api.HealthLive), c.Health == api.HealthLive
	}},
	{api.ReasonCordoned, func(c Cluster, _ Request) (string, bool) { return "takes no new sessions", !c.Cordoned }},
	{api.ReasonTaint, testTaints},
	{api.ReasonRequirement, testRequirements},
	{api.ReasonFlavor, func(c Cluster, r Request) (string, bool) {
		flavor := flavorFor(c, r)
		return fmt.Sprintf("offers no %q", flavor), c.Rooms[flavor].Total > 0
	}},
	{api.ReasonCapacity, func(c Cluster, r Request) (string, bool) {
		flavor := flavorFor(c, r)
		room := c.Rooms[flavor]
		return fmt.Sprintf("%s: 0 of %d free", flavor, room.Total), room.Free > 0
	}},
}

func testTaints(c Cluster, r Request) (string, bool) {
	for _, t := range c.Taints {
		if t.Effect == api.EffectNoSchedule && !tolerated(t, r.Policy) {
			return fmt.Sprintf("%s=%s:%s is not tolerated", t.Key, t.Value, t.Effect), false
		}
	}
	return "", true
}

func testRequirements(c Cluster, r Request) (string, bool) {
	if r.Policy == nil {
		return "", true
	}
	for _, q := range r.Policy.Requirements {
		if !q.Match(c.Labels) {
			v, ok := c.Labels[q.Key]
			if !ok {
				return fmt.Sprintf("%s: cluster has no label %s", q, q.Key), false
			}
			return fmt.Sprintf("%s: cluster has %s=%s", q, q.Key, v), false
		}
	}
	return "", true
}

func tolerated(t api.Taint, p *api.PlacementPolicySpec) bool {
	return p != nil && slices.ContainsFunc(p.Tolerations, func(tol api.Toleration) bool { return tol.Tolerates(t) })
}

// flavorFor is the flavor that the session needs in this cluster: overrides may change it.
func flavorFor(c Cluster, r Request) string {
	if r.Environment == nil {
		return api.DefaultFlavor
	}
	return r.Environment.For(c.Labels).Flavor
}

// score lists the terms of a cluster that passed the filters. Terms of value 0 are left out.
func score(c Cluster, r Request) []api.ScoreTerm {
	var terms []api.ScoreTerm
	add := func(name string, weight, value int, detail string) {
		if weight*value != 0 {
			terms = append(terms, api.ScoreTerm{Name: name, Value: int64(weight) * int64(value), Detail: detail})
		}
	}
	if r.Policy != nil {
		for _, p := range r.Policy.Preferences {
			if api.MatchAll(p.Match, c.Labels) {
				add("preference", p.Weight, 100, fmt.Sprint(p.Match))
			}
		}
	}
	if r.Last == c.ID && c.ID != "" {
		weight := api.DefaultStickiness
		if r.Policy != nil && r.Policy.Stickiness != 0 {
			weight = r.Policy.Stickiness
		}
		add("stickiness", weight, 100, "ran here last")
	}
	for _, t := range c.Taints {
		if t.Effect == api.EffectPreferNoSchedule && !tolerated(t, r.Policy) {
			add("taint", taintWeight, 100, t.Key+"="+t.Value)
		}
	}
	room := c.Rooms[flavorFor(c, r)]
	// Tenths, so that clusters with about the same room tie and are spread by the hash.
	add("balance", balanceWeight, room.Free*10/room.Total*10, fmt.Sprintf("%d of %d free", room.Free, room.Total))
	return terms
}

// order sorts candidates: those that fit by score, highest first, ties by hash; then the excluded ones by name and id.
func order(a, b api.Candidate, session api.SessionID) int {
	switch {
	case a.Reason == "" && b.Reason != "":
		return -1
	case a.Reason != "" && b.Reason == "":
		return 1
	case a.Reason == "":
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(spread(session, a.Cluster), spread(session, b.Cluster)), cmp.Compare(a.Cluster, b.Cluster))
	}
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Cluster, b.Cluster))
}

func spread(s api.SessionID, c api.ClusterID) uint64 {
	h := sha256.Sum256([]byte(string(s) + "/" + string(c)))
	return binary.BigEndian.Uint64(h[:8])
}

// summarize renders a decision in one line of at most 1 KiB.
func summarize(cands []api.Candidate) string {
	if len(cands) == 0 {
		return "no cluster: none is registered"
	}
	if c := cands[0]; c.Chosen {
		var terms []string
		for _, t := range c.Terms {
			terms = append(terms, fmt.Sprintf("%s %d", t.Name, t.Value))
		}
		s := fmt.Sprintf("%s: score %d", c.Name, c.Score)
		if len(terms) > 0 {
			s += " = " + strings.Join(terms, " + ")
		}
		if fit := slices.IndexFunc(cands, func(c api.Candidate) bool { return c.Reason != "" }); fit >= 0 {
			s += fmt.Sprintf("; %d excluded", len(cands)-fit)
		}
		return s[:min(len(s), 1024)]
	}
	count := map[api.Reason]int{}
	for _, c := range cands {
		count[c.Reason]++
	}
	var parts []string
	for _, r := range api.Reasons() {
		if count[r] > 0 {
			parts = append(parts, fmt.Sprintf("%d excluded by %s", count[r], r))
		}
	}
	return "no cluster: " + strings.Join(parts, ", ")
}

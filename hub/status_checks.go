package hub

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/nave-dev/nave/api"
)

// partRemedies are what to do about a part of the hub.
var partRemedies = map[string]string{
	"shards":  "wait until they are loaded; if it stays, look at the hub's log and start the hub again",
	"etcd":    "see that etcd runs and has a quorum: nave-hub check-config --connect FILE; nothing is accepted until then",
	"archive": "see that the database runs and has room: nave-hub check-config --connect FILE; signals are accepted and not settled until then",
	"bucket":  "see that its directory is mounted and the hub may write to it: nave-hub check-config --connect FILE; no state is saved until then",
	"overlay": "see that its controller and a router run: nave-hub check-config --connect FILE; an embedded one is started again by itself; running agents go on for their stop_after",
}

func (f StatusFacts) parts() (out []Check) {
	for _, name := range slices.Sorted(maps.Keys(f.Parts)) {
		if err := f.Parts[name]; err != nil {
			out = append(out, Check{name, CheckFailing, brief(err.Error()), cmp.Or(partRemedies[name], "look at the hub's log")})
		} else {
			out = append(out, Check{Name: name, State: CheckOK, Detail: "works"})
		}
	}
	return out
}

func (f StatusFacts) clusters() (out []Check) {
	if len(f.Clusters) == 0 {
		return []Check{{"clusters", CheckWarning, "none is registered: nothing can run", "nave clusters register NAME"}}
	}
	byName := slices.SortedFunc(slices.Values(f.Clusters), func(a, b ClusterFact) int { return cmp.Compare(a.Name, b.Name) })
	live, cordoned, joined := 0, 0, 0
	for _, c := range byName {
		if c.Health != api.HealthPending {
			joined++
		}
		if c.Health == api.HealthLive {
			live++
			if c.Cordoned {
				cordoned++
			}
		}
		if k := f.cluster(c); k.State != "" {
			k.Name = "cluster/" + c.Name
			out = append(out, k)
		}
	}
	all := fmt.Sprintf("%d of %d live", live, len(byName))
	if cordoned > 0 {
		all += fmt.Sprintf(", %d cordoned", cordoned)
	}
	switch {
	case joined == 0:
		return out // each of them is a finding of its own
	case live == 0:
		return append(out, Check{"clusters", CheckFailing, all + ": nothing can be placed", "start a spoke: nave clusters shows which there are; it is let in by itself"})
	case live == cordoned:
		return append(out, Check{"clusters", CheckWarning, all + ": nothing can be placed", "nave clusters uncordon NAME"})
	}
	return append(out, Check{Name: "clusters", State: CheckOK, Detail: all})
}

// cluster is what there is to say of one cluster; nothing of one that is well.
func (f StatusFacts) cluster(c ClusterFact) Check {
	switch c.Health {
	case api.HealthPending:
		return Check{State: CheckWarning, Detail: "has never joined, or is to rejoin",
			Remedy: "start its spoke with the join token; for a new token: nave clusters rejoin " + c.Name}
	case api.HealthSuspect:
		return Check{State: CheckWarning, Detail: f.silence(c) + "; it still holds its lease and gets no new sessions", Remedy: "look at the spoke's log and at its network; it comes back by itself"}
	case api.HealthLost:
		k := Check{State: CheckWarning, Detail: "is lost, " + f.silence(c),
			Remedy: "start its spoke again; if it is gone for good: nave clusters rejoin " + c.Name + ", or nave clusters delete " + c.Name}
		if c.Sessions > 0 {
			k.State = CheckFailing
			k.Detail += fmt.Sprintf("; %s for it", counted(c.Sessions, "session waits", "sessions wait"))
			k.Remedy = "start its spoke again; if it is gone for good: nave clusters rejoin " + c.Name
		}
		return k
	}
	if older(c.Version, f.Version) {
		return Check{State: CheckWarning, Detail: fmt.Sprintf("its spoke is %s, the hub is %s", c.Version, f.Version), Remedy: "install " + f.Version + " there and start the spoke again; its agents go on"}
	}
	return Check{}
}

// silence says since when a cluster is not heard.
func (f StatusFacts) silence(c ClusterFact) string {
	switch {
	case !c.Heard.IsZero():
		return fmt.Sprintf("last heard %s ago", span(f.Now.Sub(c.Heard)))
	case c.LostFor > 0:
		return fmt.Sprintf("not heard for at least %s", span(c.LostFor))
	}
	return "not heard since the hub began"
}

func (f StatusFacts) sessions() (out []Check) {
	if f.Counted != nil {
		return []Check{{"sessions", CheckFailing, "are not counted: " + brief(f.Counted.Error()), "wait until the shards are loaded; if it stays, look at the hub's log"}}
	}
	groups := slices.SortedFunc(slices.Values(f.Sessions.Waiting), func(a, b SessionGroup) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
	})
	rest := 0
	for i, g := range groups {
		if i >= groupsShown {
			rest += g.Count
			continue
		}
		out = append(out, Check{"sessions/waiting", CheckWarning, fmt.Sprintf("%s for a place: %s", counted(g.Count, "session waits", "sessions wait"), g.Reason),
			fmt.Sprintf("nave explain %s --now", g.Example)})
	}
	if rest > 0 {
		out = append(out, Check{"sessions/waiting", CheckWarning, fmt.Sprintf("%s for a place for other reasons", counted(rest, "more session waits", "more sessions wait")),
			"nave sessions --phase " + string(api.PhasePlacing)})
	}
	if g := f.Sessions.Failed; g.Count > 0 {
		out = append(out, Check{"sessions/paused", CheckWarning, fmt.Sprintf("%s paused because %d starts in a row failed: %s", counted(g.Count, "session is", "sessions are"), api.MaxStartFailures, g.Reason),
			fmt.Sprintf("nave events %s says why; when it is mended: nave resume %s", g.Example, g.Example)})
	}
	if len(out) > 0 {
		return out
	}
	total := 0
	for _, n := range f.Sessions.Phases {
		total += n
	}
	return []Check{{Name: "sessions", State: CheckOK, Detail: fmt.Sprintf("%d, none waits for a place", total)}}
}

func (f StatusFacts) signals() []Check {
	n := f.Sessions.Pending
	if f.Counted != nil || f.Limit <= 0 {
		return nil
	}
	c := Check{Name: "signals", State: CheckOK, Detail: fmt.Sprintf("%d of at most %d are not settled", n, f.Limit)}
	if n >= f.Limit {
		c.State, c.Detail = CheckFailing, c.Detail+": new ones are refused"
	} else if n*100 >= f.Limit*limitWarns {
		c.State = CheckWarning
	}
	if c.State != CheckOK {
		c.Remedy = "see which sessions have them: nave sessions; more are allowed by limits.pending_per_organization in the hub's configuration"
	}
	return []Check{c}
}

func (f StatusFacts) approvals() []Check {
	a := f.Approvals
	switch {
	case a == nil:
		return nil
	case a.Open == 0:
		return []Check{{Name: "approvals", State: CheckOK, Detail: "none is open"}}
	}
	c := Check{Name: "approvals", State: CheckOK, Detail: fmt.Sprintf("%d open, the oldest for %s", a.Open, span(f.Now.Sub(a.Oldest)))}
	if f.Now.Sub(a.Oldest) > approvalWaits {
		c.State, c.Remedy = CheckWarning, "nave approvals"
	}
	return []Check{c}
}

func (f StatusFacts) dead() []Check {
	switch d := f.Dead; {
	case d.Err != nil:
		return []Check{{"dead-letters", CheckFailing, "are not counted: " + brief(d.Err.Error()), partRemedies["archive"]}}
	case d.Count > 0:
		most := ""
		if d.Count >= DeadLettersCounted {
			most = "or more "
		}
		return []Check{{"dead-letters", CheckWarning, fmt.Sprintf("%d %sin the last 24 hours were not replayed", d.Count, most),
			fmt.Sprintf("nave signals --dead; nave signals show %s says what the latest one was, nave signals replay %s sends it again", d.Example, d.Example)}}
	}
	return []Check{{Name: "dead-letters", State: CheckOK, Detail: "none in the last 24 hours"}}
}

func (f StatusFacts) disk() []Check {
	d := f.Disk
	if d == nil || d.Total == 0 {
		return nil
	}
	free := int(float64(d.Free) / float64(d.Total) * 100)
	c := Check{Name: "disk", State: CheckOK, Detail: fmt.Sprintf("%d %% of the disk of %s is free", free, d.Path)}
	switch {
	case free < diskFails:
		c.State = CheckFailing
	case free < diskWarns:
		c.State = CheckWarning
	}
	if c.State != CheckOK {
		c.Remedy = "make room there: du -xh -d 2 " + d.Path
	}
	return []Check{c}
}

// counted is "1 session waits" or "2 sessions wait".
func counted(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// span is a duration as people say it.
func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(max(d, 0)/time.Second))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d/time.Minute))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d/time.Hour))
	}
	return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
}

// release is a version as git describe says it: the last tag and how many commits came after it.
var release = regexp.MustCompile(`^v(\d+)\.(\d+)\.(\d+)(?:-(\d+)-g[0-9a-f]+)?(?:-dirty)?$`)

// older reports whether a version is known to come before another one. Of versions that are no releases nothing is known.
func older(a, b string) bool {
	va, vb := release.FindStringSubmatch(a), release.FindStringSubmatch(b)
	if va == nil || vb == nil {
		return false
	}
	for i := range 4 {
		na, _ := strconv.Atoi(va[i+1]) // empty is 0
		nb, _ := strconv.Atoi(vb[i+1])
		if na != nb {
			return na < nb
		}
	}
	return false
}

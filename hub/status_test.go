package hub_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// TestStatusTranscripts runs testdata/status. A transcript begins with nothing known. These add facts: "part NAME [error=]",
// "cluster NAME [health=] [version=] [heard=AGO] [lost=FOR] [sessions=N] [cordoned]", "waiting N EXAMPLE [reason=]",
// "failed N EXAMPLE [reason=]", "phase NAME N", "pending N LIMIT", "approvals N [oldest=AGO]", "dead N [example=] [error=]",
// "disk FREE TOTAL", "uncounted ERROR". "status" prints the report; "anew" forgets everything.
func TestStatusTranscripts(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	datadriven.Walk(t, "testdata/status", func(t *testing.T, path string) {
		f := statusFacts(now)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "status":
				return renderStatus(hub.Assess(f))
			case "anew":
				f = statusFacts(now)
			default:
				for _, line := range append([]string{strings.TrimSpace(d.Cmd + " " + argsOf(d))}, strings.Split(d.Input, "\n")...) {
					if line != "" && line != "facts" {
						addFact(t, &f, line)
					}
				}
			}
			return ""
		})
	})
}

func statusFacts(now time.Time) hub.StatusFacts {
	return hub.StatusFacts{Now: now, Version: "v1.2.0", Parts: map[string]error{}, Limit: 100, Sessions: hub.SessionFacts{Phases: map[api.Phase]int{}}}
}

func argsOf(d *datadriven.TestData) string {
	var out []string
	for _, a := range d.CmdArgs {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

// addFact reads one line: words, and options "name=value" whose values have "_" for spaces.
func addFact(t *testing.T, f *hub.StatusFacts, line string) {
	t.Helper()
	var words []string
	options := map[string]string{}
	for _, w := range strings.Fields(line) {
		if k, v, ok := strings.Cut(w, "="); ok {
			options[k] = strings.ReplaceAll(v, "_", " ")
		} else {
			words = append(words, w)
		}
	}
	number := func(i int) int {
		n, err := strconv.Atoi(words[i])
		must(t, err)
		return n
	}
	span := func(name string) time.Duration {
		if options[name] == "" {
			return 0
		}
		d, err := time.ParseDuration(options[name])
		must(t, err)
		return d
	}
	failure := func() error {
		if options["error"] == "" {
			return nil
		}
		return errors.New(options["error"])
	}
	switch words[0] {
	case "part":
		f.Parts[words[1]] = failure()
	case "cluster":
		c := hub.ClusterFact{Name: words[1], Health: api.Health(options["health"]), Version: options["version"], LostFor: span("lost"), Cordoned: len(words) > 2}
		if options["heard"] != "" {
			c.Heard = f.Now.Add(-span("heard"))
		}
		c.Sessions, _ = strconv.Atoi(options["sessions"])
		f.Clusters = append(f.Clusters, c)
	case "waiting":
		f.Sessions.Waiting = append(f.Sessions.Waiting, hub.SessionGroup{Count: number(1), Example: api.SessionID(words[2]), Reason: options["reason"]})
	case "failed":
		f.Sessions.Failed = hub.SessionGroup{Count: number(1), Example: api.SessionID(words[2]), Reason: options["reason"]}
	case "phase":
		f.Sessions.Phases[api.Phase(words[1])] = number(2)
	case "pending":
		f.Sessions.Pending, f.Limit = number(1), number(2)
	case "approvals":
		f.Approvals = &hub.ApprovalFacts{Open: number(1)}
		if options["oldest"] != "" {
			f.Approvals.Oldest = f.Now.Add(-span("oldest"))
		}
	case "dead":
		f.Dead = hub.DeadFacts{Count: number(1), Example: api.SignalID(options["example"]), Err: failure()}
	case "disk":
		f.Disk = &hub.DiskFacts{Path: "/var/lib/nave", Free: uint64(number(1)), Total: uint64(number(2))}
	case "uncounted":
		f.Counted = errors.New(strings.Join(words[1:], " "))
	default:
		t.Fatalf("unknown fact %q", line)
	}
}

func renderStatus(r hub.StatusReport) string {
	var b strings.Builder
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "%-7s %s: %s\n", c.State, c.Name, c.Detail)
		if c.Remedy != "" {
			fmt.Fprintf(&b, "        do: %s\n", c.Remedy)
		}
	}
	counts := func(name string, cs []hub.Count) {
		fmt.Fprintf(&b, "%s", name)
		for _, c := range cs {
			if c.Count > 0 {
				fmt.Fprintf(&b, " %s=%d", c.Name, c.Count)
			}
		}
		fmt.Fprintln(&b)
	}
	counts("clusters", r.Clusters)
	counts("sessions", r.Sessions)
	fmt.Fprintf(&b, "%s: %d signals, %d approvals, %d dead letters\n", r.Version, r.PendingSignals, r.OpenApprovals, r.DeadLetters)
	return b.String()
}

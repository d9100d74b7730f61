package main

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/nave-dev/nave/api/navev1"
)

func TestCompletion(t *testing.T) {
	b := newBench(t)
	b.stdin = "apiVersion: nave.dev/v1\nkind: Environment\nmetadata: {name: local}\nspec: {}\n---\napiVersion: nave.dev/v1\nkind: Agent\nmetadata: {name: writer}\nspec: {environment: local}\n"
	if _, errOut, code := b.nave("apply", "-f", "-"); code != exitOK {
		t.Fatal(errOut)
	}
	b.hub.sessions = []*navev1.Session{{Id: "01A", Agent: "writer", Key: "ann\x1b[2J\nevil\tx", Phase: "Running"}, {Id: "01B", Agent: "reader", Key: "bob", Phase: "Lost"}}
	b.hub.clusters["east"] = &navev1.Cluster{Meta: &navev1.Meta{Name: "east"}, Status: &navev1.ClusterStatus{Health: "Live"}}
	b.hub.asked = []*navev1.Approval{{Id: "01A-abcd2345", Agent: "writer", Key: "ann", Title: "Run the tests", State: "Open"}}
	b.hub.dead = []*navev1.DeadLetter{{SignalId: "01DEAD", Agent: "writer", Key: "ann", Reason: "3 failures"}}
	a, s, both := "01A\twriter/ann\\x1b[2J\\nevil\\tx Running", "01B\treader/bob Lost", []string{}
	both = append(both, a, s)
	for _, tc := range []struct {
		args string // "_" stands for the empty word that is completed
		want []string
	}{
		{"get _", []string{"environments", "policies", "agents", "grants"}},
		{"get agent w", []string{"writer\trevision 1"}},
		{"history environment _", []string{"local\trevision 1"}},
		{"rollback environment local _", nil},
		{"signal _", []string{"writer\trevision 1"}},
		{"signal writer _", nil},
		{"events _", both},
		{"events 01B", []string{s}},
		{"cancel _", both},
		{"sessions get _", both},
		{"sessions --agent _", []string{"writer\trevision 1"}},
		{"sessions --phase R", []string{"Running"}},
		{"sessions --cluster _", []string{"east\tLive"}},
		{"explain 01A --why-not _", []string{"east\tLive"}},
		{"wait _", append(both[:2:2], "cluster\twait for a cluster")},
		{"wait cluster _", []string{"east\tLive"}},
		{"wait --for i", []string{"idle"}},
		{"approve _", []string{"abcd2345\twriter/ann Run the tests"}},
		{"approvals show _", []string{"abcd2345\twriter/ann Run the tests"}},
		{"replay _", []string{"01DEAD\twriter/ann 3 failures"}},
		{"signals show _", []string{"01DEAD\twriter/ann 3 failures"}},
		{"clusters cordon e", []string{"east\tLive"}},
		{"context use n", []string{"nobody\thttps://127.0.0.1:1"}},
		{"--context s", []string{"stranger\t" + b.address}},
		{"events _ --context nobody", nil},
		{"get agent _ --context stranger", nil},
		{"get agent _ --context missing", nil},
		{"get nothing _", nil},
		{"sessions -o j", []string{"json"}},
	} {
		args := []string{"__complete"}
		words := strings.Fields(tc.args)
		for i, w := range words {
			if w == "_" {
				words[i] = ""
			}
		}
		if n := len(words); n > 2 && words[n-2] == "--context" { // what is completed stands last
			words = append(words[n-2:], words[:n-2]...)
		}
		out, _, code := b.nave(append(args, words...)...)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if got := lines[:len(lines)-1]; code != exitOK || strings.Join(got, "\n") != strings.Join(tc.want, "\n") || lines[len(lines)-1] != ":4" {
			t.Errorf("%s: exit %d, got %q, want %q", tc.args, code, lines, tc.want)
		}
	}
}

// TestCompletionIsBounded: a hub that does not answer costs no more than the bound.
func TestCompletionIsBounded(t *testing.T) {
	b := newBench(t)
	b.hub.mu.Lock() // every answer waits
	defer b.hub.mu.Unlock()
	start := time.Now()
	out, _, code := b.nave("__complete", "events", "")
	if took := time.Since(start); code != exitOK || out != ":4\n" || took > 2*completeWithin {
		t.Errorf("exit %d after %v: %q", code, took, out)
	}
}

func TestNothingHostileReachesAShell(t *testing.T) {
	evil := hostile()
	b := newEchoBench(t, &echo{text: func(f protoreflect.FieldDescriptor) string {
		if f.Name() == "key" || f.Name() == "title" || f.Name() == "reason" || f.Name() == "health" {
			return evil
		}
		return "x$(reboot)`reboot`;&|<>\"'\\ \n" + evil
	}})
	b.terminal = false
	for _, args := range []string{"events", "get agent", "approve", "replay", "clusters get", "wait", "context use"} {
		out, errOut, code := b.nave(append(append([]string{"__complete"}, strings.Fields(args)...), "")...)
		if code != exitOK || strings.ContainsAny(out, "$`;&|<>\"'\\") || strings.ContainsFunc(out+errOut, func(r rune) bool { return r != '\n' && r != '\t' && steers(r) }) {
			t.Errorf("%s: exit %d %q %q", args, code, out, errOut)
		}
	}
}

func TestShellsAreKnown(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		out, errOut, code := newBench(t).nave("completion", shell)
		if code != exitOK || errOut != "" || !strings.Contains(out, "__complete") {
			t.Errorf("%s: exit %d %q", shell, code, errOut)
		}
	}
}

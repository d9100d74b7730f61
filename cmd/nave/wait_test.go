package main

import (
	"strings"
	"testing"

	"github.com/nave-dev/nave/api/navev1"
)

func TestWait(t *testing.T) {
	dormant := session("01A", "Dormant")
	busy := session("01A", "Running")
	busy.Pending = 2
	asking := session("01A", "Running")
	asking.OpenApprovals, asking.Pending = 1, 1
	ended := session("01A", "Dormant")
	ended.Intent = "Terminated"
	one := func(s ...*navev1.Session) (sets [][]*navev1.Session) {
		for _, x := range s {
			sets = append(sets, []*navev1.Session{x})
		}
		return sets
	}
	for _, tc := range []struct {
		name, condition string
		sessions        [][]*navev1.Session // after each look
		out, err        string
		code            int
	}{
		{"is so already", "phase=Dormant", one(dormant), "session 01A: phase=Dormant\n", "", exitOK},
		{"becomes so", "phase=Dormant", one(busy, busy, dormant), "session 01A: phase=Dormant\n", "", exitOK},
		{"idle", "idle", one(busy, busy, dormant), "session 01A: idle\n", "", exitOK},
		{"approval", "approval", one(busy, asking), "session 01A: approval\n", "", exitOK},
		{"terminated", "terminated", one(busy, ended), "session 01A: terminated\n", "", exitOK},
		{"deleted is the same", "deleted", one(busy, ended), "session 01A: terminated\n", "", exitOK},
		{"will not come", "phase=Running", one(dormant, ended), "", "was terminated: phase=Running will not come", exitFailure},
		{"turn will not come", "turn", one(busy, ended), "", "was terminated", exitFailure},
		{"unknown", "tea", one(busy), "", `--for "tea": want phase=PHASE`, exitUsage},
		{"unknown phase", "phase=Tea", one(busy), "", "want phase=PHASE", exitUsage},
		{"not there", "idle", one(session("01B", "Running")), "", `there is no session "01A"`, exitNotFound},
		{"too late", "idle", one(busy), "", "idle did not hold within 400ms", exitTimeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.hub.changes("Get", tc.sessions...)
			b.hub.ticking = true
			out, errOut, code := b.nave("wait", "--for", tc.condition, "01A", "--timeout", map[bool]string{true: "400ms", false: "20s"}[tc.code == exitTimeout])
			if code != tc.code || out != tc.out || !strings.Contains(errOut, tc.err) {
				t.Errorf("exit %d: %q %q", code, out, errOut)
			}
		})
	}
}

// TestWaitForTheNextTurn: turns that ended before do not count, nor do other events.
func TestWaitForTheNextTurn(t *testing.T) {
	b := newBench(t)
	b.hub.sessions = []*navev1.Session{session("01A", "Running")}
	for i, kind := range []string{"turn.started", "turn.ended", "turn.started"} {
		b.hub.events = append(b.hub.events, &navev1.Event{SessionId: "01A", Number: uint64(i + 1), Type: kind, Outcome: "done"})
	}
	b.hub.then["Get"] = []func(){func() {
		b.hub.events = append(b.hub.events, &navev1.Event{SessionId: "01A", Number: 4, Type: "message"},
			&navev1.Event{SessionId: "01A", Number: 5, Type: "turn.ended", Outcome: "failed\x1b"})
	}}
	out, errOut, code := b.nave("wait", "--for", "turn", "01A")
	if code != exitOK || out != `session 01A: a turn ended as "failed\\x1b"`+"\n" && out != `session 01A: a turn ended as "failed\x1b"`+"\n" {
		t.Errorf("exit %d: %q %q", code, out, errOut)
	}
}

// TestWaitLooksOnceAnEvent: an event that changed nothing is not looked at again.
func TestWaitLooksOnceAnEvent(t *testing.T) {
	b := newBench(t)
	busy := session("01A", "Running")
	busy.Pending = 1
	b.hub.sessions = []*navev1.Session{busy}
	b.hub.events = []*navev1.Event{{SessionId: "01A", Number: 1, Type: "log"}}
	b.hub.then["Get"] = []func(){func() { b.hub.events = append(b.hub.events, &navev1.Event{SessionId: "01A", Number: 2, Type: "log"}) }}
	_, errOut, code := b.nave("wait", "--for", "idle", "01A", "--timeout", "300ms")
	b.hub.mu.Lock()
	defer b.hub.mu.Unlock()
	if code != exitTimeout || b.hub.calls > 25 {
		t.Errorf("exit %d after %d calls: %q", code, b.hub.calls, errOut)
	}
}

func TestWaitForACluster(t *testing.T) {
	b := newBench(t)
	east := func(health string) *navev1.Cluster {
		return &navev1.Cluster{Meta: &navev1.Meta{Name: "east"}, Status: &navev1.ClusterStatus{Health: health}}
	}
	b.hub.clusters["east"] = east("Pending")
	b.hub.then["Get"] = []func(){func() {}, func() { b.hub.clusters["east"] = east("Live") }}
	if out, errOut, code := b.nave("wait", "--for", "live", "cluster", "east"); code != exitOK || out != "cluster east is live\n" {
		t.Errorf("exit %d: %q %q", code, out, errOut)
	}
	b.hub.then["Get"] = []func(){func() {}, func() { delete(b.hub.clusters, "east") }}
	if out, errOut, code := b.nave("wait", "--for", "gone", "cluster", "east"); code != exitOK || out != "cluster east is gone\n" {
		t.Errorf("exit %d: %q %q", code, out, errOut)
	}
	if _, errOut, code := b.nave("wait", "--for", "live", "cluster", "east"); code != exitNotFound {
		t.Errorf("exit %d: %q", code, errOut)
	}
	if _, _, code := b.nave("wait", "--for", "idle", "cluster", "east"); code != exitUsage {
		t.Errorf("exit %d", code)
	}
	if _, _, code := b.nave("wait", "--for", "idle", "agent", "east"); code != exitUsage {
		t.Errorf("exit %d", code)
	}
}

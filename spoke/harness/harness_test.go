package harness_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

func TestRequestAndEnvironment(t *testing.T) {
	r := newRig(t, `env | sort; pwd; cat "$HOME/etc/conf"; cat "$HOME/made"; echo; cat`)
	r.w.Env = []*harnessv1.EnvVar{{Name: "GRANTED", Value: "yes"}, {Name: "TMPDIR", Value: "/tmp"}}
	r.w.Files = []*harnessv1.File{{Path: "etc/conf", Content: "configured\n"}}
	r.w.InitScripts = []*harnessv1.InitScript{{Name: "one", Script: `echo made > "$HOME/made"`}}
	r.w.Skills = []*harnessv1.Skill{{Name: "review", Description: "how to review", Body: "Look twice."}}
	r.begin()
	second := sig(2, 1, "\xff\x00")
	second.Origin = []api.Origin{{Session: "01J00000000000000000000001", Agent: "planner", Key: "k", Signal: "id-9"}}
	second.Approval = "01J00000000000000000000000-abcdefgh"
	r.door.Tell(r.id, orders(sig(1, 0, "plain"), second))
	events := r.await("the end of the turn", func(e api.Event) bool { return e.Type == api.EventTurnDone })
	var got []string
	for _, e := range events {
		if e.Type == api.EventMessage {
			got = append(got, e.Text)
		}
	}
	doc := harness.Request{}
	if err := json.Unmarshal([]byte(got[len(got)-1]), &doc); err != nil {
		t.Fatalf("request %q: %v", got[len(got)-1], err)
	}
	want := harness.Request{Session: r.w.Session, Key: "a key", Agent: "tester", Instructions: "be quick", Model: "m1", Signals: []harness.RequestSignal{
		{ID: "id-1", Sequence: 1, Delivery: 1, Sender: "user:ada", Payload: "plain"},
		{ID: "id-2", Sequence: 2, Delivery: 2, Sender: "user:ada", Payload: "/wA=", Encoding: "base64", Approval: "01J00000000000000000000000-abcdefgh",
			Origin: []harness.RequestOrigin{{Session: "01J00000000000000000000001", Agent: "planner", Key: "k", Signal: "id-9"}}},
	}}
	if diff := cmp.Diff(want, doc); diff != "" {
		t.Errorf("request (-want +got)\n%s", diff)
	}
	lines := []string{
		"GRANTED=yes", "HOME=" + r.w.Home, "NAVE_AGENT=tester", "NAVE_API=" + filepath.Join(r.dir, "api", "s"), "NAVE_CLUSTER=01JC", "NAVE_KEY=a key",
		"NAVE_MODEL=m1", "NAVE_ORGANIZATION=default", "NAVE_SESSION=" + r.w.Session, "NAVE_SKILLS=" + filepath.Join(r.w.Home, ".agents/skills"), "NAVE_WORKLOAD=" + r.w.Id, "NAVE_WORKSPACE=" + r.w.Workspace, "PATH=/usr/bin:/bin", "PWD=" + r.w.Workspace,
		"TMPDIR=/tmp", r.w.Workspace, "configured", "made", "",
	}
	if diff := cmp.Diff(lines, got[:len(got)-1]); diff != "" {
		t.Errorf("environment (-want +got)\n%s", diff)
	}
	if code, exit := r.end(); code != 0 || exit.Reason != "stopped" || exit.Failure != "" {
		t.Errorf("ended with %d, %v", code, exit)
	}
	if _, err := os.Stat(filepath.Join(r.dir, "api")); err == nil {
		t.Error("the socket of the local API is left")
	}
	if last := r.await("the end", func(e api.Event) bool { return e.Type == api.EventEnded }); last[0].Attributes["attempt"] != "2" {
		t.Errorf("the first event is %+v", last[0])
	}
}

// The spoke goes and comes back while the agent prints: everything arrives, once, in order.
func TestNothingIsLostWhileTheSpokeIsAway(t *testing.T) {
	const lines = 30_000
	r := newRig(t, fmt.Sprintf(`i=0; while [ $i -lt %d ]; do i=$((i+1)); echo "line $i"; done`, lines))
	r.begin()
	r.door.Tell(r.id, orders(sig(1, 0, "go")))
	for _, n := range []int{10, 8000, 16_000, 24_000} {
		r.message(fmt.Sprintf("line %d", n))
		r.away()
		r.back()
	}
	record := r.records(1)[0]
	if record.Outcome != api.OutcomeDone {
		t.Fatalf("turn record %+v", record)
	}
	n := 0
	for _, e := range r.await("the record", func(api.Event) bool { return true }) {
		if e.Type == api.EventMessage {
			if n++; e.Text != fmt.Sprintf("line %d", n) {
				t.Fatalf("message %d is %q", n, e.Text)
			}
		}
	}
	if n != lines {
		t.Fatalf("%d messages, want %d", n, lines)
	}
}

// A spoke that takes no events stops the agent from printing; when it takes them again, all are there.
func TestBackPressureReachesTheAgent(t *testing.T) {
	// The outbox and the pipe hold a part of it. The agent says how far it came.
	r := newRig(t, `line=$(head -c 1000 /dev/zero | tr '\0' x); i=0
while [ $i -lt 10000 ]; do i=$((i+1)); echo "$line"; case $i in *0) echo $i > progress; esac; done; echo finished`)
	r.begin()
	r.h.block.Store(true)
	r.door.Tell(r.id, orders(sig(1, 0, "go")))
	r.awaitStandstill()
	at, err := os.ReadFile(filepath.Join(r.w.Workspace, "progress"))
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscan(string(at), &n); err != nil || n < 4000 || n > 6000 {
		t.Fatalf("the agent is held up at line %d (%v), want it near the 4096 events that fit", n, err)
	}
	r.h.block.Store(false)
	r.away()
	r.back()
	r.message("finished")
	if record := r.records(1)[0]; record.Outcome != api.OutcomeDone || record.SourceNumber != 10_000+5 {
		t.Fatalf("turn record %+v, want it after 10001 lines", record)
	}
}

// Nobody needs to sweep: the kernel kills the agent when its harness is killed.
func TestAgentDiesWithTheHarness(t *testing.T) {
	r := newRig(t, `trap '' TERM HUP; echo $$; exec sleep 3600`)
	r.begin()
	r.door.Tell(r.id, orders(sig(1, 0, "go")))
	events := r.await("the agent's number", func(e api.Event) bool { return e.Type == api.EventMessage })
	pid := events[len(events)-1].Text
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.eventually("the agent is dead", func() bool {
		b, err := os.ReadFile("/proc/" + pid + "/stat")
		return err != nil || strings.Contains(string(b), ") Z ")
	})
}

func TestFailuresWaitForTheNextDelivery(t *testing.T) {
	r := newRig(t, `echo run; echo oops >&2; [ -f good ] || exit 3`)
	r.begin()
	r.door.Tell(r.id, orders(sig(1, 0, "go"), sig(2, 0, "go")))
	first := r.records(1)[0]
	if diff := cmp.Diff([]uint64{1, 2}, first.Signals); diff != "" || first.Outcome != api.OutcomeFailed || first.Text != "exit status 3:\noops" {
		t.Fatalf("turn record %+v", first)
	}
	r.door.Tell(r.id, orders(sig(1, 0, "go"), sig(2, 0, "go"), sig(3, 0, "go"))) // nothing may run
	r.door.Tell(r.id, spoke.Orders{Signals: []api.Signal{sig(1, 1, "go"), sig(2, 1, "go"), sig(3, 0, "go")}, Single: true})
	if second := r.records(2)[1]; !slices.Equal(second.Signals, []uint64{1}) || second.Outcome != api.OutcomeFailed {
		t.Fatalf("second turn record %+v", second)
	}
	if err := os.WriteFile(filepath.Join(r.w.Workspace, "good"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.door.Tell(r.id, spoke.Orders{Signals: []api.Signal{sig(1, 2, "go"), sig(2, 1, "go"), sig(3, 0, "go")}, Single: true})
	r.records(5)
	r.door.Tell(r.id, orders(sig(3, 0, "go"), sig(4, 0, "go"))) // 3 was consumed
	records := r.records(6)
	var got [][]uint64
	for _, e := range records[2:] {
		if e.Outcome != api.OutcomeDone {
			t.Errorf("turn record %+v", e)
		}
		got = append(got, e.Signals)
	}
	if diff := cmp.Diff([][]uint64{{1}, {2}, {3}, {4}}, got); diff != "" {
		t.Errorf("turns (-want +got)\n%s", diff)
	}
}

func TestTurnLimit(t *testing.T) {
	r := newRig(t, `(setsid sleep 3600 &); echo $$; exec sleep 3600`)
	r.w.TurnLimit = durationpb.New(300 * time.Millisecond)
	r.begin()
	r.door.Tell(r.id, orders(sig(1, 0, "go")))
	record := r.records(1)[0]
	if record.Outcome != api.OutcomeFailed || !strings.Contains(record.Text, "limit of 300ms") {
		t.Fatalf("turn record %+v", record)
	}
	if code, _ := r.end(); code != 0 {
		t.Errorf("ended with %d", code)
	}
}

func TestStopByOrders(t *testing.T) {
	r := newRig(t, `echo ready; exec sleep 3600`)
	r.begin()
	r.door.Tell(r.id, orders(sig(1, 0, "go")))
	r.message("ready")
	r.door.Tell(r.id, spoke.Orders{Signals: []api.Signal{sig(1, 0, "go")}, Stop: true})
	if code, exit := r.wait(); code != 0 || exit.Reason != "stopped" || exit.Failure != "" {
		t.Errorf("ended with %d, %v", code, exit)
	}
	if record := r.records(1)[0]; record.Outcome != api.OutcomeCut {
		t.Errorf("turn record %+v", record)
	}
}

func TestInterrupt(t *testing.T) {
	r := newRig(t, `[ -f again ] && exit 0; touch again; echo ready; exec sleep 3600`)
	r.w.OnSignal = "interrupt"
	r.begin()
	r.door.Tell(r.id, orders(sig(1, 0, "go")))
	r.message("ready")
	r.door.Tell(r.id, orders(sig(1, 0, "go"), sig(2, 0, "stop that")))
	records := r.records(2)
	if records[0].Outcome != api.OutcomeCut || records[1].Outcome != api.OutcomeDone || !slices.Equal(records[1].Signals, []uint64{1, 2}) {
		t.Errorf("turn records %+v", records)
	}
}

// Orders larger than a message arrive whole, and long lines in parts.
func TestLargeOrdersAndLines(t *testing.T) {
	r := newRig(t, `cat; echo`)
	r.begin()
	var ss []api.Signal
	for n := range uint64(80) {
		ss = append(ss, sig(n+1, 0, strings.Repeat("p", api.MaxPayloadInline)))
	}
	r.door.Tell(r.id, orders(ss...))
	if record := r.records(1)[0]; len(record.Signals) != 80 || record.Outcome != api.OutcomeDone {
		t.Fatalf("turn record of %d signals, %s", len(record.Signals), record.Outcome)
	}
	var line strings.Builder
	for _, e := range r.await("all", func(api.Event) bool { return true }) {
		if e.Type == api.EventMessage {
			if len(e.Text) > api.MaxEventBytes {
				t.Fatalf("an event has %d bytes", len(e.Text))
			}
			line.WriteString(e.Text)
		}
	}
	var doc harness.Request
	if err := json.Unmarshal([]byte(line.String()), &doc); err != nil || len(doc.Signals) != 80 {
		t.Fatalf("%d signals came through the agent (%v)", len(doc.Signals), err)
	}
}

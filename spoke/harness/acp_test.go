package harness_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// newTalk is a rig whose agent is the test agent; kind makes it another one.
func newTalk(t *testing.T, kind string) *rig {
	t.Helper()
	r := newRig(t, "")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r.w.Protocol, r.w.Command = "acp", []string{self, "agent"}
	r.w.Env = []*harnessv1.EnvVar{{Name: "TESTER", Value: kind}}
	return r
}

// turn hands over one signal and returns the events of its turn and the record.
func (r *rig) turn(n uint64, prompt string) ([]api.Event, api.Event) {
	r.t.Helper()
	r.door.Tell(r.id, orders(sig(n, 0, prompt)))
	var turn []api.Event
	r.await("the record of the turn", func(e api.Event) bool {
		turn = append(turn, e)
		if e.Type == api.EventTurn && e.Signals[0] == n {
			turn = nil
		}
		return e.Type == api.EventTurnDone && e.Signals[0] == n
	})
	return turn[:len(turn)-1], turn[len(turn)-1]
}

// said are the messages among events.
func said(events []api.Event) []string {
	var out []string
	for _, e := range events {
		if e.Type == api.EventMessage {
			out = append(out, e.Text)
		}
	}
	return out
}

func TestConversation(t *testing.T) {
	r := newTalk(t, "")
	r.w.McpServers = []*harnessv1.McpServer{{Name: "files", Command: []string{"serve"}}}
	r.begin()
	events, record := r.turn(1, "prompt\ncall make\nsay done")
	if diff := cmp.Diff([]string{"be quick|prompt\ncall make\nsay done", "done"}, said(events)); diff != "" || record.Outcome != api.OutcomeDone {
		t.Errorf("the turn ended %s, and said (-want +got)\n%s", record.Outcome, diff)
	}
	var tools []string
	for _, e := range events {
		if e.Attributes[api.AttrTool] != "" {
			tools = append(tools, string(e.Type)+" "+e.Text)
		}
	}
	if diff := cmp.Diff([]string{"tool.call make", "tool.result called"}, tools); diff != "" {
		t.Errorf("tools (-want +got)\n%s", diff)
	}
	// The conversation goes on in the next process, and in one of another attempt; what is replayed then is no event.
	events, _ = r.turn(2, "history")
	if diff := cmp.Diff([]string{"server files,prompt\ncall make\nsay done,history"}, said(events)); diff != "" {
		t.Errorf("the second turn said (-want +got)\n%s", diff)
	}
	r.door.Tell(r.id, spoke.Orders{})
	saved := checkpointOf(r.saved(2))
	r.killed()
	for _, d := range []string{r.w.Home, r.w.Workspace, r.w.State} { // on another machine
		if err := os.RemoveAll(d); err != nil {
			t.Fatal(err)
		}
	}
	r.again("", saved)
	events, _ = r.turn(3, "history")
	if diff := cmp.Diff([]string{"server files,prompt\ncall make\nsay done,history,history"}, said(events)); diff != "" {
		t.Errorf("the next attempt said (-want +got)\n%s", diff)
	}
	// The session is gone from the agent's directory.
	files, err := filepath.Glob(filepath.Join(r.w.Home, "tester-*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("sessions of the agent: %v, %v", files, err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	r.door.Tell(r.id, orders(sig(4, 0, "say never")))
	if code, exit := r.wait(); code != 1 || !strings.Contains(exit.Reason, "there is no such session") {
		t.Errorf("a session that the agent refuses to load: exit %d, %v", code, exit)
	}
}

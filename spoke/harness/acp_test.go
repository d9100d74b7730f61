package harness_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/boottime"
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
	events, _ = r.turn(2, "history\nprompt")
	if diff := cmp.Diff([]string{"server files,prompt\ncall make\nsay done,history\nprompthistory\nprompt"}, said(events)); diff != "" {
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
	r.w.Instructions = "be slow"
	r.again("", saved)
	events, _ = r.turn(3, "prompt\nhistory")
	want := "Your instructions have changed. From now on they are:\n\nbe slow|prompt\nhistory" + "server files,prompt\ncall make\nsay done,history\nprompt,prompt\nhistory"
	if diff := cmp.Diff([]string{want}, said(events)); diff != "" {
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

// next hands over signals and waits for the next record.
func (r *rig) next(o spoke.Orders) api.Event {
	r.t.Helper()
	r.h.mu.Lock()
	seen := uint64(len(r.h.events))
	r.h.mu.Unlock()
	r.door.Tell(r.id, o)
	var record api.Event
	r.await("the next turn record", func(e api.Event) bool {
		record = e
		return e.Type == api.EventTurnDone && e.SourceNumber > seen
	})
	return record
}

// said are all messages of the attempt.
func (r *rig) said() []string {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	return said(r.h.events)
}

func (r *rig) count(what api.EventType) int {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	n := 0
	for _, e := range r.h.events {
		if e.Type == what {
			n++
		}
	}
	return n
}

// The agent's session is lost and the definition says to go on: it is told, in every way that there is.
func TestConversationLost(t *testing.T) {
	r := newTalk(t, "forget")
	r.w.OnStateLoss = "continue"
	r.begin()
	if _, record := r.turn(1, "say hello"); record.Outcome != api.OutcomeDone {
		t.Fatalf("turn record %+v", record)
	}
	events, record := r.turn(2, "prompt\nenv NAVE_STATE_LOST\nstate")
	want := "Your state of before could not be restored: your files and what was said in earlier conversations are gone.|be quick|prompt\nenv NAVE_STATE_LOST\nstate" +
		"NAVE_STATE_LOST=1tester a key 2 [2] true"
	if diff := cmp.Diff([]string{want}, said(events)); diff != "" || record.Outcome != api.OutcomeDone {
		t.Errorf("the turn ended %s, and said (-want +got)\n%s", record.Outcome, diff)
	}
	r.await("the harness says so", func(e api.Event) bool {
		return e.Type == api.EventLog && e.Attributes[api.AttrBy] == "harness" && strings.Contains(e.Text, "the agent's session is lost")
	})
	if events, _ = r.turn(3, "prompt"); !cmp.Equal(said(events), []string{"be quick|prompt"}) {
		t.Errorf("the turn after it said %q", said(events))
	}
}

// An agent that ended in the first turn of a session may have kept nothing of it: the next one begins anew, and that is no loss.
// Once it has answered it is.
func TestConversationThatWasNeverAnswered(t *testing.T) {
	r := newTalk(t, "forget")
	r.begin()
	if record := r.next(orders(sig(1, 0, "crash"))); record.Outcome != api.OutcomeFailed {
		t.Fatalf("turn record %+v", record)
	}
	if record := r.next(orders(sig(1, 1, "prompt"))); record.Outcome != api.OutcomeDone || !cmp.Equal(r.said(), []string{"be quick|prompt"}) {
		t.Errorf("said %q, turn record %+v", r.said(), record)
	}
	r.door.Tell(r.id, orders(sig(2, 0, "say never")))
	if code, exit := r.wait(); code != 1 || !strings.Contains(exit.Reason, "there is no such session") {
		t.Errorf("exit %d, %v", code, exit)
	}
}

// What is overdue is killed, whatever the patience is.
func TestDeafConversationAfterItsLease(t *testing.T) {
	r, ahead := talkWithClock(t)
	r.env = append(r.env, "NAVE_TEST_PATIENCE=10m")
	r.beginWithout()
	r.door.Lease(r.id, boottime.Now()+time.Hour)
	r.door.Tell(r.id, orders(sig(1, 0, "once\nsay on\ndeaf")))
	r.eventually("the agent is deaf", func() bool { return len(r.deaf()) == 1 })
	ahead(10 * time.Second) // the machine slept
	r.cutThenDone("stood still")
}

// An agent that cannot load begins anew each turn; that is said once.
func TestAgentThatCannotLoad(t *testing.T) {
	r := newTalk(t, "noload")
	r.begin()
	for n := range uint64(2) {
		if events, _ := r.turn(n+1, "prompt"); !cmp.Equal(said(events), []string{"be quick|prompt"}) {
			t.Errorf("turn %d said %q", n+1, said(events))
		}
	}
	said := 0
	r.await("the end of the second turn", func(e api.Event) bool {
		if e.Attributes[api.AttrBy] == "harness" && strings.Contains(e.Text, "cannot load a session") {
			said++
		}
		return e.Type == api.EventTurnDone && e.Signals[0] == 2
	})
	if said != 1 {
		t.Errorf("it was said %d times", said)
	}
}

func TestConversationCannotBegin(t *testing.T) {
	for _, tt := range []struct {
		kind, failure string
		says          []string
	}{
		{"mute", "crash", []string{"exit status 4", "no configuration"}},
		{"login", "configuration", []string{"an API key"}},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			r := newTalk(t, tt.kind)
			r.begin()
			r.door.Tell(r.id, orders(sig(1, 0, "say never")))
			code, exit := r.wait()
			if code != 1 || exit.Failure != tt.failure {
				t.Errorf("exit %d, %v", code, exit)
			}
			for _, text := range tt.says {
				if !strings.Contains(exit.Reason, text) {
					t.Errorf("the reason %q does not say %q", exit.Reason, text)
				}
			}
		})
	}
}

// What a turn of a conversation comes to. The agent of a turn that failed in its first one may have kept nothing: it begins
// anew, and nothing is lost.
func TestOutcomesOfConversations(t *testing.T) {
	r := newTalk(t, "")
	r.w.OnSignal = "wait"
	r.begin()
	if got := r.next(orders(sig(1, 0, "crash"))); got.Outcome != api.OutcomeFailed || got.Text != "the agent ended during the turn: exit status 3:\nfirst line\nout of memory" {
		t.Errorf("crash: %+v", got)
	}
	if got := r.next(orders(sig(1, 1, "fail"))); got.Outcome != api.OutcomeFailed || !strings.Contains(got.Text, "the model is away") {
		t.Errorf("an error: %+v", got)
	}
	got := r.next(orders(sig(1, 2, "stay\nstop refusal")))
	if got.Outcome != api.OutcomeDone || got.Attributes[api.AttrStopReason] != "refusal" || got.Text != "the agent refused to go on" {
		t.Errorf("a refusal: %+v", got)
	}
	got = r.next(orders(sig(2, 0, "prompt"), sig(3, 0, "say last")))
	if want := "Signal 1 of 2 from user:ada\n\nprompt|Signal 2 of 2 from user:ada\n\nsay lastlast"; !cmp.Equal(r.said(), []string{want}) || got.Outcome != api.OutcomeDone {
		t.Errorf("two signals: %q, %+v", r.said(), got)
	}
}

func TestCancelledConversation(t *testing.T) {
	r := newTalk(t, "")
	r.begin()
	r.door.Tell(r.id, orders(sig(1, 0, "say one moment\nwait"), sig(2, 0, "say two")))
	stream := ""
	r.eventually("the text while it is written", func() bool {
		r.h.mu.Lock()
		defer r.h.mu.Unlock()
		text := ""
		for _, d := range r.h.deltas {
			text += d.Text
			stream = d.Stream
		}
		return text == "one momentwaiting"
	})
	o := orders(sig(1, 0, ""), sig(2, 0, ""), sig(3, 0, "say three"), sig(4, 0, "say four"))
	o.Cancelled = api.Cancellation{UpTo: 3, Reason: "ada: enough"}
	record := r.next(o)
	if record.Outcome != api.OutcomeCancelled || record.Attributes["reason"] != "ada: enough" || !cmp.Equal(record.Signals, []uint64{1, 2}) {
		t.Errorf("turn record %+v", record)
	}
	r.await("the whole text", func(e api.Event) bool {
		return e.Type == api.EventMessage && e.Text == "one momentwaiting" && e.Attributes[api.AttrStream] == stream
	})
	records := r.records(3)
	if records[1].Outcome != api.OutcomeCancelled || !cmp.Equal(records[1].Signals, []uint64{3}) || checkpointOf(records[1]) == "" {
		t.Errorf("record of what waited: %+v", records[1])
	}
	if records[2].Outcome != api.OutcomeDone || !cmp.Equal(records[2].Signals, []uint64{4}) || r.count(api.EventTurn) != 2 {
		t.Errorf("the turn after it: %+v, %d turns began", records[2], r.count(api.EventTurn))
	}
}

// An agent that does not hear is killed; when a person wanted that its signals are consumed, when a signal interrupted it they
// come again.
func TestDeafConversation(t *testing.T) {
	r := newTalk(t, "")
	r.w.OnSignal = "interrupt"
	r.env = append(r.env, "NAVE_TEST_PATIENCE=100ms")
	r.begin()
	deaf := func(n int) {
		r.eventually("the agent is deaf", func() bool { return r.count(api.EventTurn) == n && len(r.deaf()) == n })
	}
	r.door.Tell(r.id, orders(sig(1, 0, "call x\ndeaf")))
	deaf(1)
	o := orders(sig(1, 0, ""))
	o.Cancelled = api.Cancellation{UpTo: 1, Reason: "enough"}
	if record := r.next(o); record.Outcome != api.OutcomeCancelled {
		t.Errorf("turn record %+v", record)
	}
	r.door.Tell(r.id, orders(sig(2, 0, "once\ncall x\ndeaf")))
	deaf(2)
	if record := r.next(orders(sig(2, 0, "once\ncall x\ndeaf"), sig(3, 0, "say three"))); record.Outcome != api.OutcomeCut || record.Text != "signal 3 interrupts" {
		t.Errorf("turn record %+v", record)
	}
	if record := r.records(3)[2]; record.Outcome != api.OutcomeDone || !cmp.Equal(record.Signals, []uint64{2, 3}) {
		t.Errorf("turn record %+v", record)
	}
}

// deaf are the deltas of agents that went deaf.
func (r *rig) deaf() []api.Delta {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	var out []api.Delta
	for _, d := range r.h.deltas {
		if strings.HasSuffix(d.Text, "deaf") {
			out = append(out, d)
		}
	}
	return out
}

func TestInterruptedConversation(t *testing.T) {
	r := newTalk(t, "")
	r.w.OnSignal = "interrupt"
	r.begin()
	r.door.Tell(r.id, orders(sig(1, 0, "wait")))
	r.eventually("the agent waits", func() bool { r.h.mu.Lock(); defer r.h.mu.Unlock(); return len(r.h.deltas) > 0 })
	if record := r.next(orders(sig(1, 0, "wait"), sig(2, 0, "history"))); record.Outcome != api.OutcomeCancelled || record.Text != "signal 2 interrupts" {
		t.Errorf("turn record %+v", record)
	}
	if record := r.records(2)[1]; record.Outcome != api.OutcomeDone || !cmp.Equal(record.Signals, []uint64{2}) {
		t.Errorf("turn record %+v", record)
	}
	if got := r.said(); !cmp.Equal(got, []string{"waiting", "wait,history"}) {
		t.Errorf("said %q: the agent is to have in mind what it was sent", got)
	}
}

// Signals that the agent sends get through when the hub is away for a while, and a turn that runs again sends none twice.
func TestSignalsOfTheAgent(t *testing.T) {
	r := newTalk(t, "")
	r.m.away = 1
	r.begin()
	work := "signal other k1 go\nsignal other k1 go\nsignal other k2 go\nemit half\nstate\n"
	if record := r.next(orders(sig(7, 0, work+"crash"))); record.Outcome != api.OutcomeFailed {
		t.Fatalf("turn record %+v", record)
	}
	if record := r.next(orders(sig(7, 1, work))); record.Outcome != api.OutcomeDone {
		t.Fatalf("turn record %+v", record)
	}
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	var keys []string
	for _, s := range r.m.signals {
		keys = append(keys, s.IdempotencyKey)
	}
	if len(keys) != 6 || !cmp.Equal(keys[:3], keys[3:]) || keys[0] == keys[1] || keys[0] == keys[2] || !strings.HasPrefix(keys[0], "turn/"+r.w.Session+"/7/") {
		t.Errorf("the idempotency keys are %q", keys)
	}
	if diff := cmp.Diff([]string{"sent other 1sent other 2sent other 3tester a key 2 [7] false", "sent other 4sent other 5sent other 6tester a key 2 [7] false"}, r.said()); diff != "" {
		t.Errorf("said (-want +got)\n%s", diff)
	}
	if n := r.count(api.EventNote); n != 2 {
		t.Errorf("%d notes", n)
	}
}

func TestCancelledCommand(t *testing.T) {
	r := newRig(t, `echo begun; trap 'exit 0' TERM; while :; do sleep 0.01; done`)
	r.begin()
	r.door.Tell(r.id, orders(sig(1, 0, "go")))
	r.message("begun")
	o := orders(sig(1, 0, "go"), sig(2, 0, "go"))
	o.Cancelled = api.Cancellation{UpTo: 2, Reason: "ada: enough"}
	r.door.Tell(r.id, o)
	for i, record := range r.records(2) {
		if record.Outcome != api.OutcomeCancelled || record.Text != "ada: enough" || !cmp.Equal(record.Signals, []uint64{uint64(i + 1)}) {
			t.Errorf("turn record %+v", record)
		}
	}
	if n := r.count(api.EventTurn); n != 1 {
		t.Errorf("%d turns began", n)
	}
}

// talkWithClock is a rig whose clock can be put forward.
func talkWithClock(t *testing.T) (*rig, func(time.Duration)) {
	r := newTalk(t, "")
	file := filepath.Join(r.dir, "clock")
	ahead := func(d time.Duration) {
		t.Helper()
		if err := errors.Join(os.WriteFile(file+".new", []byte(d.String()), 0o600), os.Rename(file+".new", file)); err != nil {
			t.Fatal(err)
		}
	}
	ahead(0)
	r.env = append(r.env, "NAVE_TEST_CLOCK="+file)
	return r, ahead
}

// asked waits for the nth request for permission.
func (r *rig) asked(n int) api.Event {
	r.t.Helper()
	var asked api.Event
	r.await("a request for permission", func(e api.Event) bool {
		if e.Type == api.EventAsked {
			asked, n = e, n-1
		}
		return n == 0
	})
	return asked
}

func allow(id api.ApprovalID, option string) api.ApprovalAnswer {
	return api.ApprovalAnswer{Approval: id, Allow: true, Option: option, By: "ada", Reason: "fine"}
}

func TestApprovals(t *testing.T) {
	r := newTalk(t, "")
	r.begin()
	o := orders(sig(5, 0, "ask push\nask push\nask drop"))
	r.door.Tell(r.id, o)
	first := r.asked(1)
	id := api.ApprovalID(first.Attributes[api.AttrApproval])
	if want := api.NewApprovalID(r.id.Session, 5, first.Attributes[api.AttrFingerprint], 0); id != want {
		t.Errorf("id %s, want %s", id, want)
	}
	wantOptions := `[{"id":"always","name":"Always","kind":"allow_always"},{"id":"yes","name":"Yes","kind":"allow_once"},{"id":"no","name":"No","kind":"reject_once"}]`
	if first.Attributes[api.AttrTitle] != "push" || first.Attributes[api.AttrHold] != "30m0s" || first.Attributes[api.AttrOptions] != wantOptions || !strings.Contains(first.Text, "push") {
		t.Errorf("request %+v", first)
	}
	if !slices.Equal(first.Signals, []uint64{5}) {
		t.Errorf("the request names signals %v, want those of its turn, 5", first.Signals)
	}
	o.Answers = append(o.Answers, allow(id, "always"))
	r.door.Tell(r.id, o)
	second := api.ApprovalID(r.asked(2).Attributes[api.AttrApproval])
	if want := api.NewApprovalID(r.id.Session, 5, first.Attributes[api.AttrFingerprint], 1); second != want {
		t.Errorf("the same again has the id %s, want %s", second, want)
	}
	o.Answers = append(o.Answers, allow(second, "gone")) // not an option any more
	r.door.Tell(r.id, o)
	third := api.ApprovalID(r.asked(3).Attributes[api.AttrApproval])
	o.Answers = append(o.Answers, api.ApprovalAnswer{Approval: third, Option: "no"})
	r.door.Tell(r.id, o)
	if record := r.records(1)[0]; record.Outcome != api.OutcomeDone {
		t.Errorf("turn record %+v", record)
	}
	if got := r.said(); !cmp.Equal(got, []string{"got always", "got yes", "got no"}) && !cmp.Equal(got, []string{"got alwaysgot yesgot no"}) {
		t.Errorf("said %q", got)
	}
	var taken []string
	r.await("the record", func(e api.Event) bool {
		if e.Type == api.EventTaken {
			taken = append(taken, e.Attributes[api.AttrApproval]+" "+e.Attributes[api.AttrDecision]+" "+e.Attributes[api.AttrOption])
		}
		return e.Type == api.EventTurnDone
	})
	if diff := cmp.Diff([]string{string(id) + " approved always", string(second) + " approved yes", string(third) + " denied no"}, taken); diff != "" {
		t.Errorf("taken (-want +got)\n%s", diff)
	}
}

// A turn that died with a request asks with the same id, and has its answer at once.
func TestApprovalOfAnAttemptThatDied(t *testing.T) {
	r := newTalk(t, "")
	r.begin()
	o := orders(sig(1, 0, "ask push"))
	r.door.Tell(r.id, o)
	id := api.ApprovalID(r.asked(1).Attributes[api.AttrApproval])
	r.killed()
	r.again("", "")
	o.Answers = []api.ApprovalAnswer{allow(id, "yes")}
	r.door.Tell(r.id, o)
	if record := r.records(1)[0]; record.Outcome != api.OutcomeDone || r.asked(1).Attributes[api.AttrApproval] != string(id) || r.count(api.EventTaken) != 1 {
		t.Errorf("turn record %+v", record)
	}
}

// Nobody answers while it is held: the turn ends, and the answer comes as a signal. The next turn gets it without asking.
func TestApprovalHold(t *testing.T) {
	r, ahead := talkWithClock(t)
	r.w.ApprovalHold = durationpb.New(time.Hour)
	r.begin()
	r.door.Tell(r.id, orders(sig(1, 0, "ask push")))
	asked := r.asked(1)
	id := asked.Attributes[api.AttrApproval]
	ahead(time.Hour - time.Minute)
	if n := len(r.turnRecords()); n != 0 {
		t.Fatalf("%d turn records while it is held", n)
	}
	ahead(time.Hour)
	record := r.records(1)[0]
	if want := "nobody answered approval " + id + " within 1h0m0s; the answer will come as a signal"; record.Outcome != api.OutcomeCancelled || record.Text != want {
		t.Errorf("turn record %+v", record)
	}
	answer := sig(2, 0, `{"approval":"`+id+`","decision":"approved","option":{"id":"yes","name":"Yes","kind":"allow_once"},"title":"push","fingerprint":"`+asked.Attributes[api.AttrFingerprint]+`","by":"ada","reason":"go"}`)
	answer.Approval = api.ApprovalID(id)
	if record = r.next(orders(answer, sig(3, 0, "prompt\nask push"))); record.Outcome != api.OutcomeDone {
		t.Errorf("turn record %+v", record)
	}
	said := r.said()
	want := "Your request for permission \"push\" was approved by ada, with \"Yes\". The reason given: go"
	if last := said[len(said)-1]; !strings.Contains(strings.Join(said, ""), want) || !strings.HasSuffix(last, "got yes") {
		t.Errorf("said %q", said)
	}
	if n := r.count(api.EventAsked); n != 1 || r.count(api.EventTaken) != 1 {
		t.Errorf("%d requests, %d taken", n, r.count(api.EventTaken))
	}
}

func (r *rig) turnRecords() []api.Event {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	var out []api.Event
	for _, e := range r.h.events {
		if e.Type == api.EventTurnDone {
			out = append(out, e)
		}
	}
	return out
}

// The limit does not count the time in which people think.
func TestTurnLimitOfConversations(t *testing.T) {
	r, ahead := talkWithClock(t)
	r.w.TurnLimit = durationpb.New(time.Minute)
	r.begin()
	o := orders(sig(1, 0, "ask push\nwait"))
	r.door.Tell(r.id, o)
	asked := r.asked(1)
	ahead(20 * time.Minute)
	o.Answers = []api.ApprovalAnswer{allow(api.ApprovalID(asked.Attributes[api.AttrApproval]), "yes")}
	r.door.Tell(r.id, o)
	r.await("the answer was taken", func(e api.Event) bool { return e.Type == api.EventTaken })
	r.eventually("the agent goes on", func() bool {
		r.h.mu.Lock()
		defer r.h.mu.Unlock()
		return len(r.h.deltas) > 0 && strings.HasSuffix(r.h.deltas[len(r.h.deltas)-1].Text, "waiting")
	})
	if n := len(r.turnRecords()); n != 0 {
		t.Fatalf("%d turn records within the limit", n)
	}
	ahead(21*time.Minute + time.Second)
	if record := r.records(1)[0]; record.Outcome != api.OutcomeFailed || !strings.HasPrefix(record.Text, "the turn took longer than its limit of 1m0s") {
		t.Errorf("turn record %+v", record)
	}
}

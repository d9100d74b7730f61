package federation_test

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
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/internal/federation"
)

// TestAskSignalCancel runs the scribe and agents of this test in one federation: permissions that outlive who asked and who
// was asked, cancelling, agents that signal agents, and texts while they are written.
func TestAskSignalCancel(t *testing.T) {
	w := newWorld(t)
	w.offers = []string{"--flavor", "small=32"}
	w.up("one")
	w.applyScribes()
	w.grant("scribe", "scribe")
	w.grant("controlled", "controlled")

	// First what needs the whole federation: everything that is open meanwhile goes through it.
	late, moved := w.asks("hasty", "late", "the answer was late"), w.asks("hasty", "moved", "the cluster is another")
	kept := w.asks("scribe", "kept", "the cat is grey")
	away, last := w.asks("scribe", "away", "the spoke was away"), w.asks("scribe", "last", "the hub ended with this")
	for _, r := range []request{late, moved} {
		w.ended(r.session, "[1] cancelled")
		w.phase(r.session, api.PhaseDormant)
	}
	w.withoutHub(last, kept, away, late, moved)
	w.withoutSpoke(kept, away)
	w.elsewhere(moved)

	parts := []struct {
		name string
		run  func(*world)
	}{
		{"a request outlives hub, spoke and harness", func(w *world) { w.outlives(kept) }},
		{"an answer while the spoke was away", func(w *world) { w.answered(away) }},
		{"an answer right before the hub was killed", func(w *world) { w.answered(last) }},
		{"an answer after the hold", func(w *world) { w.answeredLate(late) }},
		{"an answer between two attempts", (*world).answersBetween},
		{"a denial after the hold", (*world).deniesLate},
		{"answers as the hold ends", (*world).answersInTheLastMoment},
		{"nobody answers in time", (*world).expires},
		{"the turn that asked is cancelled", (*world).withdraws},
		{"the session that asked is terminated", (*world).terminates},
		{"the turn is cancelled", (*world).cancelsTurn},
		{"the turn is interrupted", (*world).interruptsTurn},
		{"all signals are cancelled", (*world).cancelsAll},
		{"a grant is missing, then there", (*world).signalsByGrant},
		{"a chain and a loop end", (*world).loops},
		{"a turn that is done again signals once", (*world).signalsOnce},
		{"texts while they are written", (*world).followsDeltas},
		{"a hostile agent", (*world).isHostile},
	}
	t.Run("together", func(t *testing.T) {
		for _, part := range parts {
			t.Run(part.name, func(t *testing.T) {
				t.Parallel()
				part.run(w.at(t))
			})
		}
	})
	w.asleep()
}

// asleep waits until every session sleeps: a workload outlives the spoke that made it.
func (w *world) asleep() {
	w.t.Helper()
	if w.t.Failed() {
		return // what is wrong need not end
	}
	var awake []string
	err := w.Await(w.within(), "all sleep", func() (bool, error) {
		res, err := w.client.Sessions.List(w.within(), &navev1.ListSessionsRequest{PageSize: 1000})
		awake = nil
		for _, s := range res.GetSessions() {
			if s.GetPhase() != string(api.PhaseDormant) {
				awake = append(awake, fmt.Sprint(s))
			}
		}
		return len(awake) == 0, err
	})
	if err != nil {
		w.t.Fatalf("%v: %s", err, strings.Join(awake, "\n"))
	}
}

// applyScribes applies the agents of the test.
func (w *world) applyScribes() {
	w.t.Helper()
	self, err := os.Executable()
	w.must(err)
	args := []string{"apply"}
	put := func(name string, document map[string]any) {
		w.t.Helper()
		document["apiVersion"] = "nave.dev/v1"
		b, err := json.Marshal(document)
		w.must(err)
		file := w.Path(name + ".json")
		w.must(os.WriteFile(file, b, 0o600))
		args = append(args, "-f", file)
	}
	agent := func(name string, spec map[string]any, command ...string) {
		w.t.Helper()
		spec["environment"], spec["idle_timeout"] = "local", "1s"
		spec["harness"] = map[string]any{"protocol": "acp", "command": command}
		put(name, map[string]any{"kind": "Agent", "metadata": map[string]any{"name": name}, "spec": spec})
	}
	scribe := w.Bin("scribe")
	agent("scribe", map[string]any{}, scribe)
	agent("hasty", map[string]any{"approval_hold": "1s"}, scribe)
	agent("restless", map[string]any{"on_signal": "interrupt"}, scribe)
	agent("brief", map[string]any{"approval_hold": "1s", "approval_expiry": "2s"}, scribe)
	agent("hostile", map[string]any{}, self, hostileArg)
	w.nave(args...)
}

// request is a permission that an agent asks for.
type request struct {
	session, id, text string
}

// asks lets a scribe ask whether it may remember a text, and waits until the hub lists it.
func (w *world) asks(agent, key, text string) request {
	w.t.Helper()
	r := request{session: w.tell(agent, key, "remember "+text), text: text}
	log := w.awaitLog(r.session, "it asks", func(log events) bool { return len(log.of(api.EventAsked)) > 0 })
	r.id = log.of(api.EventAsked)[0].GetAttributes()[api.AttrApproval]
	w.await("the hub lists it", func() (bool, error) { return len(w.approvals(r.session)) > 0, nil })
	w.one(r, api.ApprovalOpen)
	return r
}

// approvals lists everything that a session has asked for.
func (w *world) approvals(session string) []*navev1.Approval {
	w.t.Helper()
	res, err := w.client.Approvals.List(w.within(), &navev1.ListApprovalsRequest{SessionId: session, Closed: true})
	w.must(err)
	return res.GetApprovals()
}

// one fails unless a request is the only one of its session, and in a state.
func (w *world) one(r request, state api.ApprovalState) *navev1.Approval {
	w.t.Helper()
	all := w.approvals(r.session)
	if len(all) != 1 || all[0].GetId() != r.id || all[0].GetState() != string(state) {
		w.t.Fatalf("approvals of the session are %v, want %s alone, %s", all, r.id, state)
	}
	return all[0]
}

// scribeOf finds the process of the scribe that works for a session, and its harness.
func (w *world) scribeOf(session string) (agent, harness federation.Proc) {
	w.t.Helper()
	for _, p := range federation.Naming(w.Path()) {
		env, err := p.Env()
		if err != nil || filepath.Base(p.Args[0]) != "scribe" || env["NAVE_SESSION"] != session {
			continue
		}
		harness, alive := federation.Find(p.Parent)
		if !alive || filepath.Base(harness.Args[0]) != "nave-harness" {
			w.t.Fatalf("the parent of the scribe is %+v, want a harness", harness)
		}
		return p, harness
	}
	w.t.Fatalf("no scribe works for session %s:\n%s", session, w.log(session))
	return
}

// withoutHub answers one request, kills the hub at once, and starts it again: the others are as they were, and what an agent
// sends meanwhile arrives once.
func (w *world) withoutHub(answered request, asked ...request) {
	w.t.Helper()
	var before []*navev1.Approval
	for _, r := range asked {
		before = append(before, w.one(r, api.ApprovalOpen))
	}
	r := w.begin("hubless", 1, task{To: []string{"controlled", "after-hub"}, Text: "{}", Last: true})
	w.nave("approve", answered.id)
	w.hub.Kill()
	r.step(1) // the signal is sent now
	w.upHub()
	w.live("one")
	for i, r := range asked {
		if diff := cmp.Diff(before[i], w.one(r, api.ApprovalOpen), protocmp.Transform()); diff != "" {
			w.t.Errorf("the request after the hub was killed (-before +after):\n%s", diff)
		}
	}
	w.sentOnce(r, "after-hub")
}

// withoutSpoke kills the spoke and starts it again: the same processes wait. Meanwhile somebody answers the second request,
// and an agent sends a signal.
func (w *world) withoutSpoke(kept, away request) {
	w.t.Helper()
	agent, harness := w.scribeOf(kept.session)
	r := w.begin("spokeless", 1, task{To: []string{"controlled", "after-spoke"}, Text: "{}", Last: true})
	w.spokes["one"].Kill()
	w.nave("approve", away.id)
	r.step(1)
	w.upSpoke("one", w.offers...)
	w.live("one")
	if !agent.Alive() || !harness.Alive() {
		w.t.Fatalf("scribe %d alive: %t, harness %d alive: %t; want both", agent.ID, agent.Alive(), harness.ID, harness.Alive())
	}
	w.one(kept, api.ApprovalOpen)
	if log := w.log(kept.session); len(log.of(api.EventAsked)) != 1 || len(log.of(api.EventStarted)) != 1 {
		w.t.Errorf("it was asked or started anew:\n%s", log)
	}
	w.sentOnce(r, "after-spoke")
}

// sentOnce: the one turn of an agent sent one signal.
func (w *world) sentOnce(r *turn, key string) {
	w.t.Helper()
	w.said(r.session, "passed with 0: ")
	w.ended(r.session, "[1] done")
	if s := w.of("controlled", key); s.GetLastSequence() != 1 {
		w.t.Errorf("session %s is %v, want one signal", key, s)
	}
}

// elsewhere: the cluster that asked takes no sessions any more; the answer wakes the session in another one, and is used there.
func (w *world) elsewhere(r request) {
	w.t.Helper()
	w.must(w.Join(w.within(), "two"))
	w.upSpoke("two", w.offers...)
	w.live("two")
	w.nave("clusters", "cordon", "one")
	w.await("placement knows", func() (bool, error) {
		res, err := w.client.Sessions.Explain(w.within(), &navev1.ExplainRequest{SessionId: r.session, Present: true})
		return res.GetPresent().GetCluster() == "two", err
	})
	w.nave("approve", r.id)
	log := w.ended(r.session, "[1] cancelled", "[2] done")
	if ends := log.of(api.EventTurnDone); ends[0].GetCluster() != "one" || ends[1].GetCluster() != "two" {
		w.t.Errorf("the turns ended in clusters %s and %s, want one and two", ends[0].GetCluster(), ends[1].GetCluster())
	}
	w.remembers(r)
	if p := w.one(r, api.ApprovalApproved); p.GetTaken() || p.GetSignalId() == "" || len(log.of(api.EventAsked)) != 1 {
		w.t.Errorf("the approval is %v; the log:\n%s", p, log)
	}
	w.nave("clusters", "uncordon", "one")
	w.nave("clusters", "cordon", "two")
}

// outlives: the harness is killed too; the next attempt asks for the same, and its turn goes on with the answer.
func (w *world) outlives(r request) {
	agent, harness := w.scribeOf(r.session)
	harness.Kill()
	w.must(harness.Gone(w.within()))
	w.must(agent.Gone(w.within()))
	log := w.awaitLog(r.session, "the second attempt asks", func(log events) bool { return len(log.of(api.EventAsked)) == 2 })
	if again := log.of(api.EventAsked)[1].GetAttributes()[api.AttrApproval]; again != r.id {
		w.t.Errorf("the second attempt asks for %s, want %s", again, r.id)
	}
	w.one(r, api.ApprovalOpen)
	if there(w.memoryOf(r.session)) {
		w.t.Error("it wrote before anybody allowed it")
	}
	w.nave("approve", r.id, "--reason", "it is true")
	w.ended(r.session, "[1] failed", "[1] done")
	w.remembers(r)
	if code, said := w.refusedTo("deny", r.id); code != 6 || !strings.Contains(said, "admin") || !strings.Contains(said, "approved") {
		w.t.Errorf("the other answer: exit code %d, %s; want 6 and who answered what", code, said)
	}
	if said := w.nave("approve", r.id); !strings.Contains(said, "already") {
		w.t.Errorf("the same answer again says %q", said)
	}
	if p := w.taken(r); p.GetReason() != "it is true" {
		w.t.Errorf("the approval is %v", p)
	}
}

// answered: the turn that asked got the answer, whoever was away when it was given.
func (w *world) answered(r request) {
	w.ended(r.session, "[1] done")
	w.remembers(r)
	w.taken(r)
}

// taken fails unless the turn that asked got the answer, and no signal carries it.
func (w *world) taken(r request) *navev1.Approval {
	w.t.Helper()
	p := w.one(r, api.ApprovalApproved)
	if !p.GetTaken() || p.GetSignalId() != "" {
		w.t.Errorf("the approval is %v, want it taken", p)
	}
	return p
}

// answeredLate: nobody answered within the hold and the session slept; the answer wakes it, and nobody is asked again.
func (w *world) answeredLate(r request) {
	if log := w.log(r.session); len(log.of(api.EventAccepted)) != 1 {
		w.t.Fatalf("a signal came before the answer:\n%s", log)
	}
	w.nave("approve", r.id)
	log := w.ended(r.session, "[1] cancelled", "[2] done")
	w.remembers(r)
	if n := len(log.of(api.EventAsked)); n != 1 {
		w.t.Errorf("it asked %d times, want once; the log:\n%s", n, log)
	}
	accepted := log.of(api.EventAccepted)
	p := w.one(r, api.ApprovalApproved)
	if len(accepted) != 2 || p.GetSignalId() == "" || accepted[1].GetAttributes()["signal"] != p.GetSignalId() || p.GetTaken() {
		w.t.Errorf("the approval is %v, the log:\n%s", p, log)
	}
	// The signal's idempotency key is the hub's own: a client that tries it is refused and makes no second one.
	_, err := w.client.Sessions.Signal(w.within(), &navev1.SignalRequest{Agent: "hasty", Key: "late", Payload: []byte("{}"), IdempotencyKey: "nave.approval/" + r.id})
	if api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != "idempotency_key" {
		w.t.Errorf("a signal with the answer's key: %v, want CodeInvalid about idempotency_key", err)
	}
}

// remembers checks the log of an answered request and what the scribe wrote, and asks the scribe for it.
func (w *world) remembers(r request) {
	w.t.Helper()
	log := w.log(r.session)
	for _, typ := range []api.EventType{api.EventAnswered, api.EventTaken} {
		of := log.of(typ)
		if len(of) != 1 || of[0].GetAttributes()[api.AttrApproval] != r.id || of[0].GetAttributes()[api.AttrDecision] != "approved" {
			w.t.Errorf("events %s are %v, want one of %s; the log:\n%s", typ, of, r.id, log)
		}
	}
	want := "- " + r.text + "\n"
	if b, err := os.ReadFile(w.memoryOf(r.session)); string(b) != want {
		w.t.Errorf("the memory is %q, %v; want %q", b, err, want)
	}
	turns := len(log.outcomes())
	w.again(r.session, "recall")
	log = w.awaitLog(r.session, "it recalls", func(log events) bool { return len(log.outcomes()) > turns })
	if messages := log.messages(); !slices.Contains(messages, want) {
		w.t.Errorf("it recalls %q, want %q", messages[len(messages)-1], want)
	}
}

// again sends text to a session that is there.
func (w *world) again(session, text string) {
	w.t.Helper()
	s := w.session(session)
	if to := w.tell(s.GetAgent(), s.GetKey(), text); to != session {
		w.t.Fatalf("the signal went to session %s, want %s", to, session)
	}
}

// memoryOf is the file in which a session's scribe remembers.
func (w *world) memoryOf(session string) string {
	w.t.Helper()
	s := w.session(session)
	cluster := s.GetCluster()
	if cluster == "" {
		cluster = s.GetLastCluster()
	}
	return w.Path(cluster, "process", "sessions", strings.ToLower(session), "workspace", "memory.md")
}

// answersBetween: nobody waits when the answer is given, and the attempt that asks next gets it.
func (w *world) answersBetween() {
	r := w.asks("scribe", "between", "nobody was there")
	agent, harness := w.scribeOf(r.session)
	harness.Kill()
	_, err := w.client.Approvals.Answer(w.within(), &navev1.AnswerRequest{Id: r.id, Approve: true})
	w.must(err)
	w.must(harness.Gone(w.within()))
	w.must(agent.Gone(w.within()))
	w.ended(r.session, "[1] failed", "[1] done")
	w.remembers(r)
	w.taken(r)
}

// deniesLate: the refusal comes as a signal too, and the scribe is told.
func (w *world) deniesLate() {
	r := w.asks("hasty", "denied", "a secret")
	w.ended(r.session, "[1] cancelled")
	w.nave("deny", r.id, "--reason", "secrets are not for files")
	log := w.ended(r.session, "[1] cancelled", "[2] done")
	w.says(log, "I may not write memory.md")
	if p := w.one(r, api.ApprovalDenied); p.GetSignalId() == "" || p.GetTaken() || len(log.of(api.EventAsked)) != 1 || len(log.of(api.EventTaken)) != 1 {
		w.t.Errorf("the approval is %v; the log:\n%s", p, log)
	}
	if there(w.memoryOf(r.session)) {
		w.t.Error("it wrote though it was denied")
	}
}

// answersInTheLastMoment answers around the end of the hold: each answer reaches its agent in exactly one way.
func (w *world) answersInTheLastMoment() {
	for _, ms := range []int{-90, -60, -30, -10, 0, 10, 30, 60} {
		w.t.Run(fmt.Sprintf("%d ms", ms), func(t *testing.T) {
			t.Parallel()
			w.at(t).answersAt(time.Duration(ms) * time.Millisecond)
		})
	}
}

// answersAt answers at a time after the end of the hold.
func (w *world) answersAt(after time.Duration) {
	r := w.asks("hasty", "moment "+after.String(), "the moment "+after.String())
	at := w.approvals(r.session)[0].GetHeldUntil().AsTime().Add(after)
	w.must(federation.Await(w.within(), "the moment", func() (bool, error) { return !time.Now().Before(at), nil }))
	_, err := w.client.Approvals.Answer(w.within(), &navev1.AnswerRequest{Id: r.id, Approve: true})
	w.must(err)
	w.await("the answer is used", func() (bool, error) {
		return there(w.memoryOf(r.session)) && w.session(r.session).GetPending() == 0, nil
	})
	accepted := len(w.log(r.session).of(api.EventAccepted))
	w.remembers(r)
	p, asked := w.one(r, api.ApprovalApproved), len(w.log(r.session).of(api.EventAsked))
	if bySignal := p.GetSignalId() != ""; p.GetTaken() == bySignal || bySignal != (accepted == 2) || asked != 1 {
		w.t.Errorf("the approval is %v; the log:\n%s", p, w.log(r.session))
	}
	w.t.Logf("taken: %t, as a signal: %t", p.GetTaken(), p.GetSignalId() != "")
}

// expires: nobody answers; the session is not woken, and an answer is too late.
func (w *world) expires() {
	r := w.asks("brief", "unanswered", "nobody cares")
	log := w.awaitLog(r.session, "it expires", func(log events) bool { return len(log.of(api.EventExpired)) > 0 })
	if got := log.of(api.EventExpired); len(got) != 1 || got[0].GetAttributes()[api.AttrApproval] != r.id {
		w.t.Errorf("expired: %v", got)
	}
	if code, said := w.refusedTo("approve", r.id); code != 1 || !strings.Contains(said, "expired") {
		w.t.Errorf("the late answer: exit code %d, %s; want 1 and that it has expired", code, said)
	}
	w.phase(r.session, api.PhaseDormant)
	w.one(r, api.ApprovalExpired)
	log = w.ended(r.session, "[1] cancelled")
	if s := w.session(r.session); len(log.of(api.EventAccepted)) != 1 || len(log.of(api.EventAnswered)) != 0 || s.GetPending() != 0 || s.GetOpenApprovals() != 0 {
		w.t.Errorf("the session is %v; the log:\n%s", s, log)
	}
	if there(w.memoryOf(r.session)) {
		w.t.Error("it wrote though nobody allowed it")
	}
}

// withdraws: a request ends with its turn, if somebody cancels that.
func (w *world) withdraws() {
	r := w.asks("scribe", "withdrawn", "in vain")
	w.nave("cancel", r.session)
	w.ended(r.session, "[1] cancelled")
	w.withdrawn(r)
	w.one(r, api.ApprovalWithdrawn)
	if code, said := w.refusedTo("approve", r.id); code != 1 || !strings.Contains(said, "withdrawn") {
		w.t.Errorf("an answer after the turn was cancelled: exit code %d, %s; want 1 and that it was withdrawn", code, said)
	}
}

// terminates: a request ends with its session, and is removed with it; the log has it.
func (w *world) terminates() {
	r := w.asks("scribe", "terminated", "in vain")
	w.nave("terminate", "--yes", r.session)
	w.withdrawn(r)
	w.await("it is removed", func() (bool, error) { return len(w.approvals(r.session)) == 0, nil })
	if code, said := w.refusedTo("approve", r.id); code != 3 {
		w.t.Errorf("an answer after the session ended: exit code %d, %s; want 3", code, said)
	}
}

// withdrawn waits until a request is told to be withdrawn, and checks that nothing was done.
func (w *world) withdrawn(r request) {
	w.t.Helper()
	log := w.awaitLog(r.session, "it is withdrawn", func(log events) bool { return len(log.of(api.EventWithdrawn)) > 0 })
	if got := log.of(api.EventWithdrawn); len(got) != 1 || got[0].GetAttributes()[api.AttrApproval] != r.id || len(log.of(api.EventAccepted)) != 1 || len(log.of(api.EventTaken)) != 0 {
		w.t.Errorf("the log:\n%s", log)
	}
	if there(w.memoryOf(r.session)) {
		w.t.Error("it wrote though nobody allowed it")
	}
}

// refusedTo runs a command that is to fail, and returns its exit code and what it says, in lower case.
func (w *world) refusedTo(args ...string) (int, string) {
	w.t.Helper()
	_, err := w.Quiet(w.within(), args...)
	return exited(err), strings.ToLower(fmt.Sprint(err))
}

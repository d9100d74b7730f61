//go:build kindtests

package kindtests

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/internal/testcluster"
)

const imageOfScribe = testcluster.Registry + "/test/scribe:1"

// TestAnACPAgentInAPod runs the scribe, which keeps a conversation and asks before it writes, in an image that has nothing else.
// People answer by `nave`, while its pod waits and while there is none.
func TestAnACPAgentInAPod(t *testing.T) {
	w := federate(limited(t), t, 1)
	c := w.bed.Clusters[0]
	w.give(testcluster.Image{Name: imageOfScribe, Files: map[string]string{"/scribe": w.Bin("scribe")}})
	w.outside(c)
	w.live(c)
	for name, hold := range map[string]string{"scribe": "5m", "hasty": "1s"} {
		w.applyACP(name, imageOfScribe, []string{"/scribe"}, map[string]any{"approval_hold": hold})
	}
	t.Run("side by side", func(t *testing.T) {
		for _, test := range []struct {
			name string
			do   func(*federated, *testcluster.Cluster)
		}{
			{"allowed", (*federated).isAllowed},
			{"denied", (*federated).isDenied},
			{"answered while it sleeps", (*federated).isAnsweredAsleep},
			{"its pod is deleted while it asks", (*federated).asksAgain},
		} {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				test.do(w.at(t), c)
			})
		}
	})
}

// give gives an image to every node.
func (w *federated) give(i testcluster.Image) {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "image.tar")
	w.must(i.WriteArchive(file))
	for _, c := range w.bed.Clusters {
		w.must(c.LoadImage(w.ctx, file))
	}
}

// applyACP defines an agent that speaks ACP, in an image and an environment of its own.
func (w *federated) applyACP(agent, image string, command []string, more map[string]any) {
	w.t.Helper()
	spec := map[string]any{"harness": map[string]any{"protocol": "acp", "command": command}}
	for k, v := range more {
		spec[k] = v
	}
	w.apply(agent, image, "small", spec)
}

// request is a permission that an agent asks for.
type request struct {
	session, id, text string
}

// asks lets a scribe ask whether it may remember a text, and waits until the hub lists it.
func (w *federated) asks(agent, text string) request {
	w.t.Helper()
	session, accepted := w.signal(agent, strings.ReplaceAll(text, " ", "-"), "remember "+text)
	r := request{session: session, text: text}
	w.await("it asks, and the hub lists it", func() (bool, error) {
		all := w.approvals(session)
		if len(all) == 1 {
			r.id = all[0].GetId()
		}
		return len(all) == 1, fmt.Errorf("approvals: %v; the log:\n%s", all, w.log(session))
	})
	w.t.Logf("the hub lists the request %v after the signal", time.Since(accepted).Round(time.Millisecond))
	w.asked(r, api.ApprovalOpen)
	return r
}

// approvals lists everything that a session has asked for.
func (w *federated) approvals(session string) []*navev1.Approval {
	w.t.Helper()
	res, err := w.client.Approvals.List(w.ctx, &navev1.ListApprovalsRequest{SessionId: session, Closed: true})
	w.must(err)
	return res.GetApprovals()
}

// asked fails unless a request is the only one of its session, and in a state.
func (w *federated) asked(r request, state api.ApprovalState) *navev1.Approval {
	w.t.Helper()
	all := w.approvals(r.session)
	if len(all) != 1 || all[0].GetId() != r.id || all[0].GetState() != string(state) {
		w.t.Fatalf("approvals of the session are %v, want %s alone, %s", all, r.id, state)
	}
	return all[0]
}

// nave runs a command.
func (w *federated) nave(args ...string) string {
	w.t.Helper()
	out, err := w.Quiet(w.ctx, args...)
	w.must(err)
	return out
}

// ended waits until a session's turns ended like this, and returns its log.
func (w *federated) ended(session string, want ...string) eventLog {
	w.t.Helper()
	var log eventLog
	w.await(fmt.Sprintf("turns of session %s end as %q", session, want), func() (bool, error) {
		log = w.log(session)
		return len(log.outcomes()) >= len(want), fmt.Errorf("the log:\n%s", log)
	})
	if d := cmp.Diff(want, log.outcomes()); d != "" {
		w.t.Fatalf("turns (-want +got):\n%s\n%s", d, log)
	}
	return log
}

// again sends text to a session that is there, and returns its log when the turn is done.
func (w *federated) again(session, text string) eventLog {
	w.t.Helper()
	s, err := w.client.Sessions.Get(w.ctx, &navev1.GetSessionRequest{Id: session})
	w.must(err)
	turns := w.log(session).outcomes()
	a, err := w.client.Sessions.Signal(w.ctx, &navev1.SignalRequest{Agent: s.GetAgent(), Key: s.GetKey(), Payload: []byte(text)})
	w.must(err)
	if a.GetSessionId() != session {
		w.t.Fatalf("the signal went to session %s, want %s", a.GetSessionId(), session)
	}
	return w.ended(session, append(turns, fmt.Sprintf("[%d] done", a.GetSequence()))...)
}

// says fails unless an agent has said a text as often as that.
func (w *federated) says(log eventLog, text string, times int) {
	w.t.Helper()
	n := 0
	for _, m := range log.messages() {
		if strings.TrimSpace(m) == text {
			n++
		}
	}
	if n != times {
		w.t.Errorf("the agent says %q %d times, want %d:\n%s", text, n, times, log)
	}
}

// isAllowed: the pod waits for the answer, gets it, and what was written is there in the next pod.
func (w *federated) isAllowed(c *testcluster.Cluster) {
	r := w.asks("scribe", "tea at five")
	w.nave("approve", r.id, "--reason", "it is true")
	answered := time.Now()
	log := w.ended(r.session, "[1] done")
	w.t.Logf("the turn is done %v after the answer", time.Since(answered).Round(time.Millisecond))
	w.says(log, "I remember: tea at five", 1)
	if p := w.asked(r, api.ApprovalApproved); !p.GetTaken() || p.GetReason() != "it is true" || p.GetSignalId() != "" {
		w.t.Errorf("the approval is %v, want that the turn that asked took it", p)
	}
	if starts := log.of(api.EventStarted); len(starts) != 1 {
		w.t.Errorf("%d workloads were started, want the one that asked:\n%s", len(starts), log)
	}
	w.sleeps(c, r.session)
	log = w.again(r.session, "recall")
	w.says(log, "- tea at five", 1)
	if from := restores(log); !slices.Equal(from, []string{"empty", "bucket"}) {
		w.t.Errorf("the state came from %q, want nothing and then the bucket:\n%s", from, log)
	}
	w.says(w.again(r.session, "remember tea at five"), "I know that already.", 1)
	w.sleeps(c, r.session)
}

// isDenied: the agent is told, and nothing is written.
func (w *federated) isDenied(c *testcluster.Cluster) {
	r := w.asks("scribe", "a secret")
	w.nave("deny", r.id, "--reason", "secrets are not for files")
	w.says(w.ended(r.session, "[1] done"), "I may not write memory.md, so I wrote nothing.", 1)
	if p := w.asked(r, api.ApprovalDenied); !p.GetTaken() {
		w.t.Errorf("the approval is %v, want that the turn that asked took it", p)
	}
	w.sleeps(c, r.session)
	w.says(w.again(r.session, "recall"), "I remember nothing.", 1)
	w.sleeps(c, r.session)
}

// isAnsweredAsleep: nobody answers within the hold, the session sleeps without a pod, and the answer wakes it.
func (w *federated) isAnsweredAsleep(c *testcluster.Cluster) {
	r := w.asks("hasty", "milk at six")
	w.ended(r.session, "[1] cancelled")
	w.sleeps(c, r.session)
	w.nave("approve", r.id)
	log := w.ended(r.session, "[1] cancelled", "[2] done")
	w.says(log, "I remember: milk at six", 1)
	if p := w.asked(r, api.ApprovalApproved); p.GetTaken() || p.GetSignalId() == "" || len(log.of(api.EventAsked)) != 1 {
		w.t.Errorf("the approval is %v, want that a signal carried it and nobody was asked again:\n%s", p, log)
	}
	w.sleeps(c, r.session)
	w.says(w.again(r.session, "recall"), "- milk at six", 1)
	w.sleeps(c, r.session)
}

// asksAgain: somebody deletes the pod that waits. The next one asks for the same, and people see one request.
func (w *federated) asksAgain(c *testcluster.Cluster) {
	r := w.asks("scribe", "coffee at one")
	was := w.onlyPod(c, r.session)
	w.must(c.Client.CoreV1().Pods(namespaceOfOrg).Delete(w.ctx, was.Name, metav1.DeleteOptions{}))
	w.await("the next pod asks", func() (bool, error) {
		log := w.log(r.session)
		return len(log.of(api.EventAsked)) == 2, fmt.Errorf("the log:\n%s", log)
	})
	w.asked(r, api.ApprovalOpen)
	w.nave("approve", r.id)
	w.await("it remembers", func() (bool, error) {
		log := w.log(r.session)
		o := log.outcomes()
		return len(o) > 0 && o[len(o)-1] == "[1] done", fmt.Errorf("the log:\n%s", log)
	})
	log := w.log(r.session)
	w.says(log, "I remember: coffee at one", 1)
	for _, e := range log.of(api.EventAsked) {
		if id := e.GetAttributes()[api.AttrApproval]; id != r.id {
			w.t.Errorf("a pod asked for %s, want %s:\n%s", id, r.id, log)
		}
	}
	if p := w.asked(r, api.ApprovalApproved); !p.GetTaken() {
		w.t.Errorf("the approval is %v, want that the turn took it", p)
	}
	w.sleeps(c, r.session)
	w.says(w.again(r.session, "recall"), "- coffee at one", 1)
	w.sleeps(c, r.session)
}

// restores say where the state of each attempt came from.
func restores(log eventLog) (from []string) {
	for _, e := range log.of(api.EventState) {
		from = append(from, e.GetAttributes()[api.AttrFrom])
	}
	return from
}

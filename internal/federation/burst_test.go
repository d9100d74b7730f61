package federation_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/archive"
)

// TestLoadAndFailures: a burst over a small federation, and a signal that its agent cannot work on. In the end, with every
// program gone, the archive says how each signal ended.
func TestLoadAndFailures(t *testing.T) {
	w := newWorld(t)
	w.up("one", "two")
	settled := map[hub.KeyScope]string{} // what the archive is to say
	for _, c := range []struct {
		name string
		test func(*world, func(key, idempotency, outcome string))
	}{
		{"failing agent", failingAgent},
		{"burst", burst},
	} {
		ok := t.Run(c.name, func(t *testing.T) {
			c.test(w.at(t), func(key, idempotency, outcome string) {
				settled[hub.KeyScope{SessionKey: key, Key: idempotency}] = outcome
			})
		})
		if !ok {
			return
		}
	}
	agent, err := w.client.Agents.Get(w.within(), &navev1.GetRequest{Name: w.agent})
	w.must(err)
	w.must(w.Stop())
	w.archived(api.ObjectID(agent.GetMeta().GetId()), settled)
}

// archived compares the archive with what is to be in it.
func (w *world) archived(agent api.ObjectID, want map[hub.KeyScope]string) {
	w.t.Helper()
	a, err := archive.Open(w.within(), archive.Config{File: w.Path("hub", "archive", "nave.db")})
	w.must(err)
	defer a.Close()
	for scope, outcome := range want {
		scope.Agent = agent
		got, err := a.Keys(w.within(), api.DefaultOrg, []hub.KeyScope{scope})
		w.must(err)
		if row, ok := got[scope]; !ok || row.Outcome != outcome {
			w.t.Errorf("signal with key %s of session %s is settled %t as %q, want %q", scope.Key, scope.SessionKey, ok, row.Outcome, outcome)
		}
	}
}

// failingAgent: after max_deliveries failures a signal is a dead letter, and the next one gets its turn.
func failingAgent(w *world, settled func(key, idempotency, outcome string)) {
	session := w.signal("failing", "bad", task{Fail: true}).GetSessionId()
	w.signal("failing", "good", task{Say: "good"})
	settled("failing", "bad", "dead")
	settled("failing", "good", "done")
	if s := w.phase(session, api.PhaseDormant); s.GetPending() != 0 || s.GetLastSequence() != 2 {
		w.t.Errorf("asleep with %d of %d signals pending, want 0 of 2", s.GetPending(), s.GetLastSequence())
	}
	log := w.log(session)
	var got []string
	for _, text := range log.messages() {
		if strings.HasPrefix(text, "signal ") {
			got = append(got, text)
		}
	}
	// The first turn may have both signals; after a failure they come one at a time, in order.
	want := []string{"signal 1 delivery 1 ", "signal 1 delivery 2 ", "signal 1 delivery 3 ", "signal 2 delivery 1 good"}
	if len(log.outcomes()) == 4 && log.outcomes()[0] == "[1 2] failed" {
		want[3] = "signal 2 delivery 2 good"
	}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		w.t.Errorf("the agent got %q, want %q; the log:\n%s", got, want, log)
	}
	outcomes := log.outcomes()
	if len(outcomes) != 4 || outcomes[1] != "[1] failed" || outcomes[2] != "[1] failed" || outcomes[3] != "[2] done" {
		w.t.Errorf("turns ended %q, want three failed with signal 1, then [2] done", outcomes)
	}
}

// Size of the burst, and what the two clusters of it have room for.
const (
	burstSessions = 20
	burstSignals  = 10 // of each session
	burstRoom     = 8
)

// burst sends more than fits at a time. Sessions wait with a reason and run when there is room.
func burst(w *world, settled func(key, idempotency, outcome string)) {
	sessions := map[string]string{}
	for n := 1; n <= burstSignals; n++ {
		for i := range burstSessions {
			key := fmt.Sprintf("burst-%d", i)
			idempotency := fmt.Sprintf("%s-%d", key, n)
			a := w.signal(key, idempotency, task{Say: idempotency})
			if a.GetSequence() != uint64(n) || a.GetDuplicate() {
				w.t.Fatalf("signal %s was accepted as %v, want sequence %d", idempotency, a, n)
			}
			sessions[key] = a.GetSessionId()
			settled(key, idempotency, "done")
		}
	}
	waiting := 0
	for key, id := range sessions {
		s := w.phase(id, api.PhaseDormant)
		if s.GetPending() != 0 || s.GetLastSequence() != burstSignals {
			w.t.Errorf("%s sleeps with %d of %d signals pending", key, s.GetPending(), s.GetLastSequence())
		}
		log := w.log(id)
		var got, want []string
		for _, text := range log.messages() {
			if strings.HasPrefix(text, "signal ") {
				got = append(got, text)
			}
		}
		for n := 1; n <= burstSignals; n++ {
			want = append(want, fmt.Sprintf("signal %d delivery 1 %s-%d", n, key, n))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			w.t.Errorf("%s: the agent got\n%q\nwant\n%q\nthe log:\n%s", key, got, want, log)
		}
		if waits := log.of(api.EventWaiting); len(waits) > 0 {
			waiting++
			if text := waits[0].GetText(); !strings.Contains(text, "capacity") {
				w.t.Errorf("%s waited because of %q, want a reason that names capacity", key, text)
			}
		}
	}
	if waiting == 0 {
		w.t.Errorf("no session waited, although %d came to %d places", burstSessions, burstRoom)
	}
	w.t.Logf("%d of %d sessions waited for room", waiting, burstSessions)
	used := map[string]bool{}
	list, err := w.client.Sessions.List(context.Background(), &navev1.ListSessionsRequest{PageSize: 100})
	w.must(err)
	for _, s := range list.GetSessions() {
		used[s.GetLastCluster()] = true
	}
	if !used["one"] || !used["two"] {
		w.t.Errorf("sessions ran in %v, want both clusters", used)
	}
}

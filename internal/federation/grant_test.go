package federation_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

// grant applies a grant: one agent may signal another.
func (w *world) grant(subject, object string) {
	w.t.Helper()
	party := func(name string) map[string]any { return map[string]any{"kind": "Agent", "name": name} }
	b, err := json.Marshal(map[string]any{"apiVersion": "nave.dev/v1", "kind": "Grant", "metadata": map[string]any{"name": subject + "-" + object},
		"spec": map[string]any{"subject": party(subject), "relation": "can_signal", "object": party(object)}})
	w.must(err)
	file := w.Path("grant-" + subject + "-" + object + ".json")
	w.must(os.WriteFile(file, b, 0o600))
	w.nave("apply", "-f", file)
}

// of returns the session of an agent and a key; nil when there is none.
func (w *world) of(agent, key string) *navev1.Session {
	w.t.Helper()
	res, err := w.client.Sessions.List(w.within(), &navev1.ListSessionsRequest{Agent: agent, PageSize: 1000})
	w.must(err)
	for _, s := range res.GetSessions() {
		if s.GetKey() == key {
			return s
		}
	}
	return nil
}

// signalsByGrant: without a grant nothing arrives and the agent is told which is missing; with one it arrives as the agent's.
func (w *world) signalsByGrant() {
	const payload = `{"say":"the tea is ready"}`
	session := w.tell("scribe", "granted", "signal controlled post "+payload)
	log := w.ended(session, "[1] done")
	w.says(log, "The signal was not sent (exit status 4)")
	if said := strings.Join(log.messages(), ""); !strings.Contains(said, "can_signal") || !strings.Contains(said, "scribe") || !strings.Contains(said, "controlled") || !strings.Contains(said, "rant") {
		w.t.Errorf("the refusal does not name the grant that is missing: %q", said)
	}
	if s := w.of("controlled", "post"); s != nil {
		w.t.Errorf("what was refused arrived: %v", s)
	}
	w.grant("scribe", "controlled")
	// The hub goes by what it read of the grants at most a second ago.
	turns := 1
	w.await("the signal is sent", func() (bool, error) {
		w.again(session, "signal controlled post "+payload)
		turns++
		w.awaitLog(session, "the turn has ended", func(log events) bool { return len(log.outcomes()) == turns })
		return w.of("controlled", "post") != nil, nil
	})
	post := w.of("controlled", "post").GetId()
	log = w.ended(post, "[1] done")
	accepted := log.of(api.EventAccepted)
	if len(accepted) != 1 || accepted[0].GetAttributes()["sender"] != "agent:scribe" {
		w.t.Errorf("accepted: %v, want one of agent:scribe", accepted)
	}
	w.says(log, "from agent:scribe by granted: "+payload)
	w.says(log, "signal 1 delivery 1 the tea is ready")
	w.says(w.log(session), "Sent: session "+post+" sequence 1")
}

// maxChain is how many sessions a signal can reach by agents alone: the first is told by a person.
const maxChain = api.MaxOrigin + 1

var limitSaid = regexp.MustCompile(`(?i)\b(limit|chain|at most)\b`)

// loops: a chain of sessions, and two sessions that signal each other for ever, both end at the same depth.
func (w *world) loops() {
	text := "recall"
	for n := maxChain + 2; n > 1; n-- {
		text = fmt.Sprintf("signal scribe chain-%d %s", n, text)
	}
	w.tell("scribe", "chain-1", text)
	ping, pong := []string{"controlled", "ping"}, []string{"controlled", "pong"}
	w.signal("ping", "", task{To: pong, Back: ping})

	last := fmt.Sprintf("chain-%d", maxChain)
	w.await("the chain reaches its last session", func() (bool, error) { return w.of("scribe", last) != nil, nil })
	log := w.ended(w.of("scribe", last).GetId(), "[1] done")
	if said := strings.Join(log.messages(), ""); !strings.Contains(said, "was not sent (exit status 1)") || !limitSaid.MatchString(said) {
		w.t.Errorf("the last session of the chain says %q, want that the limit is reached", said)
	}
	if s := w.of("scribe", fmt.Sprintf("chain-%d", maxChain+1)); s != nil {
		w.t.Errorf("the chain goes on to %v", s)
	}
	for n := 1; n <= maxChain; n++ {
		if s := w.of("scribe", fmt.Sprintf("chain-%d", n)); s.GetLastSequence() != 1 {
			w.t.Errorf("session %d of the chain is %v, want one signal", n, s)
		}
	}

	w.await("the loop ends", func() (bool, error) {
		s := w.of("controlled", "ping")
		return s.GetLastSequence() == (maxChain+1)/2 && s.GetPending() == 0 && w.of("controlled", "pong").GetPending() == 0, nil
	})
	log = w.log(w.of("controlled", "ping").GetId())
	said := strings.Join(log.messages(), "\n")
	if n := w.of("controlled", "pong").GetLastSequence(); n != maxChain/2 || !strings.Contains(said, "passed with 1: ") || !limitSaid.MatchString(said) {
		w.t.Errorf("pong got %d signals, want %d; the log of ping:\n%s", n, maxChain/2, log)
	}
	w.says(log, "from agent:controlled by ping,pong,ping,pong,ping,pong,ping,pong: ")
}

// signalsOnce: a turn sends a signal, its harness is killed, and the turn is done again: the signal is there once.
func (w *world) signalsOnce() {
	once := w.Path("signal-once")
	r := w.begin("sender", 1, task{To: []string{"controlled", "receiver"}, Text: `{"say":"once"}`, Once: once})
	first := w.said(r.session, "passed with 0: ")
	w.must(touch(once)) // the second delivery finds it and waits for nothing
	r.harness.Kill()
	w.must(r.harness.Gone(w.within()))
	w.must(r.agent.Gone(w.within()))
	log := w.ended(r.session, "[1] failed", "[1] done")
	w.says(log, "passed with 0: "+first+" (duplicate)")
	receiver := w.of("controlled", "receiver")
	log = w.ended(receiver.GetId(), "[1] done")
	if s := w.session(receiver.GetId()); s.GetLastSequence() != 1 || len(log.of(api.EventAccepted)) != 1 {
		w.t.Errorf("the receiver is %v, want one signal; its log:\n%s", s, log)
	}
}

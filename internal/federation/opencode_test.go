package federation_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/federation"
	"github.com/nave-dev/nave/internal/modelserver"
	"github.com/nave-dev/nave/internal/realpart"
)

// coders is a federation whose agent is OpenCode, which nobody here wrote.
type coders struct {
	*world
	model *modelserver.Server
}

// TestOpenCode runs the example of OpenCode against a scripted model: signal, hub, overlay, spoke, harness, agent, events.
// Each part is a session of its own; two run at the same time, because a start of OpenCode takes five seconds of a processor.
func TestOpenCode(t *testing.T) {
	program := realpart.Path(t, realpart.OpenCode)
	w := newWorld(t)
	c := coders{w, w.runModel()}
	w.upHub()
	w.must(w.Join(w.within(), "one"))
	w.upSpoke("one", "--flavor", "small=8")
	w.live("one")
	c.apply(program)
	for _, part := range []struct {
		name string
		run  func(coders)
	}{
		{"remembers while it sleeps", coders.remembers},
		{"is killed", coders.isKilled},
		{"asks a person", coders.asks},
		{"is cancelled", coders.isCancelled},
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			part.run(coders{c.at(t), c.model})
		})
	}
}

// apply applies the example as it is but for the address of its model, the file with the key and the times, and two more
// agents whose models speak other APIs.
func (c coders) apply(program string) {
	c.t.Helper()
	key := c.Path("key")
	c.must(os.WriteFile(key, []byte(modelKey), 0o600))
	b, err := os.ReadFile(filepath.Join("..", "..", "examples", "agents", "opencode", "agent.yaml"))
	c.must(err)
	example := string(b)
	put := func(document, old, with string) string {
		c.t.Helper()
		if !strings.Contains(document, old) {
			c.t.Fatalf("the example has no %q any more", old)
		}
		return strings.ReplaceAll(document, old, with)
	}
	example = put(example, "https://models.example.com/v1", c.model.URL())
	example = put(example, "/etc/nave/keys/models", key)
	example = put(example, "[opencode, acp]", "["+program+", acp]")
	example = put(example, "idle_timeout: 60s", "idle_timeout: 1s")
	args := []string{"apply"}
	for name, provider := range map[string]string{"opencode": "@ai-sdk/openai-compatible", "responses": "@ai-sdk/openai", "messages": "@ai-sdk/anthropic"} {
		document := put(example, "@ai-sdk/openai-compatible", provider)
		document = put(document, "name: opencode", "name: "+name)
		document = put(document, "environment: opencode", "environment: "+name)
		file := c.Path(name + ".yaml")
		c.must(os.WriteFile(file, []byte(document), 0o600))
		args = append(args, "-f", file)
	}
	c.nave(args...)

	args = []string{"apply", "--dry-run"}
	for _, name := range []string{"codex", "claude-code", "gemini-cli"} {
		args = append(args, "-f", filepath.Join("..", "..", "examples", "agents", name, "agent.yaml"))
	}
	c.nave(args...) // the examples that no test runs are accepted at least
}

// agentOf finds the process of OpenCode that works for a session.
func (c coders) agentOf(session string) (federation.Proc, bool) {
	for _, p := range federation.Naming(c.Path()) {
		env, err := p.Env()
		if err == nil && filepath.Base(p.Args[0]) == "opencode" && strings.Contains(env["HOME"], strings.ToLower(session)) {
			return p, true
		}
	}
	return federation.Proc{}, false
}

// workspace is a file in a session's workspace, which is on this machine.
func (c coders) workspace(session, name string) string {
	return c.Path("one", "process", "sessions", strings.ToLower(session), "workspace", name)
}

// remembers: what was said and written before the session slept is there in the turn after it, because the agent sends it.
func (c coders) remembers() {
	session := c.tell("opencode", "memory", sayFact)
	log := c.ended(session, "[1] done")
	c.says(log, "I write it down.")
	c.says(log, "It is written.")
	call, result := log.of(api.EventTool), log.of(api.EventResult)
	if len(call) == 0 || !strings.Contains(call[len(call)-1].GetText(), `"content":"teal\n"`) || len(result) != 1 || result[0].GetAttributes()[api.AttrStatus] != "completed" {
		c.t.Errorf("calls %v and results %v, want one of write; the log:\n%s", call, result, log)
	}
	if usage := log.of(api.EventUsage); len(usage) == 0 {
		c.t.Errorf("no usage is told; the log:\n%s", log)
	}
	if b, err := os.ReadFile(c.workspace(session, "fact.txt")); string(b) != "teal\n" {
		c.t.Errorf("the file holds %q, %v", b, err)
	}
	c.phase(session, api.PhaseDormant)
	if p, runs := c.agentOf(session); runs {
		c.t.Errorf("process %d (%s) runs while the session sleeps", p.ID, strings.Join(p.Args, " "))
	}

	c.tell("opencode", "memory", askFact)
	log = c.ended(session, "[1] done", "[2] done")
	c.says(log, "You named teal")
	c.says(log, "The file says: ")
	if n := len(log.of(api.EventStarted)); n != 2 {
		c.t.Errorf("%d workloads were started, want 2: it did not sleep; the log:\n%s", n, log)
	}
	again := asked(c.model, askFact)
	if len(again) != 1 || again[0].API != modelserver.Chat || !again[0].Said(modelserver.User, sayFact) || !again[0].Said(modelserver.Assistant, "It is written.") ||
		!again[0].Said(modelserver.Results, "Wrote file") {
		c.t.Errorf("after its sleep the agent sent %+v, want all of the turn before", again)
	}
	if last := log.of(api.EventResult); !strings.Contains(last[len(last)-1].GetText(), "teal") {
		c.t.Errorf("the file was read as %q", last[len(last)-1].GetText())
	}
	c.phase(session, api.PhaseDormant)
}

// asks: the agent waits for a person before it runs a command, and runs it when they allow it. Its model speaks Responses.
func (c coders) asks() {
	session := c.tell("responses", "permission", runIt)
	log := c.awaitLog(session, "it asks", func(log events) bool { return len(log.of(api.EventAsked)) > 0 })
	id := log.of(api.EventAsked)[0].GetAttributes()[api.AttrApproval]
	c.await("the hub lists it", func() (bool, error) { return strings.Contains(c.nave("approvals", "-o", "json"), id), nil })
	if out := c.nave("approvals", "show", id); !strings.Contains(out, "touch ran && echo it ran") {
		c.t.Errorf("it is shown as\n%s", out)
	}
	if there(c.workspace(session, "ran")) {
		c.t.Error("it ran before anybody allowed it")
	}
	c.nave("approve", id, "--reason", "the test may")
	log = c.ended(session, "[1] done")
	c.says(log, "The command says: it ran")
	if !there(c.workspace(session, "ran")) || len(log.of(api.EventAnswered)) != 1 || len(log.of(api.EventTaken)) != 1 {
		c.t.Errorf("ran: %t; the log:\n%s", there(c.workspace(session, "ran")), log)
	}
	c.spoken(runIt, modelserver.Responses)
	c.phase(session, api.PhaseDormant)
}

// isCancelled: a turn whose model talks for ever ends when a person says so, and its signal is settled.
func (c coders) isCancelled() {
	session := c.tell("opencode", "cancel", talkOn)
	c.await("the model talks", func() (bool, error) { return len(asked(c.model, talkOn)) == 1, nil })
	c.awaitLog(session, "the hub knows of the turn", func(log events) bool { return len(log.of(api.EventTurn)) == 1 })
	c.nave("cancel", session, "--note", "that will do")
	log := c.ended(session, "[1] cancelled")
	end := log.of(api.EventTurnDone)[0]
	if !strings.Contains(end.GetText(), "that will do") || len(log.of(api.EventCancelled)) != 1 {
		c.t.Errorf("the turn's record is %v; the log:\n%s", end, log)
	}
	c.await("it is settled", func() (bool, error) { return c.session(session).GetPending() == 0, nil })
	c.phase(session, api.PhaseDormant)
	if n := len(asked(c.model, talkOn)); n != 1 {
		c.t.Errorf("the model was asked %d times, want once", n)
	}
}

// isKilled: a turn whose agent is killed fails and says so, and the signal is delivered again. Its model speaks Messages.
func (c coders) isKilled() {
	session := c.tell("messages", "crash", hangOnce)
	c.await("the model thinks", func() (bool, error) { return len(asked(c.model, hangOnce)) == 1, nil })
	p, runs := c.agentOf(session)
	if !runs {
		c.t.Fatalf("no process of OpenCode works for session %s", session)
	}
	p.Kill()
	log := c.ended(session, "[1] failed", "[1] done")
	if text := log.of(api.EventTurnDone)[0].GetText(); !strings.Contains(text, "killed") {
		c.t.Errorf("the turn failed with %q", text)
	}
	c.says(log, doneAgain)
	c.says(log, "It is written.")
	if !there(c.workspace(session, "fact.txt")) {
		c.t.Errorf("no file was written; the log:\n%s", log)
	}
	c.spoken(hangOnce, modelserver.Messages)
	c.phase(session, api.PhaseDormant)
}

// spoken fails unless the model was asked by an API.
func (c coders) spoken(text string, by modelserver.API) {
	c.t.Helper()
	all := asked(c.model, text)
	if len(all) == 0 || slices.ContainsFunc(all, func(q modelserver.Conversation) bool { return q.API != by }) {
		c.t.Errorf("the model was asked %d times, want at least once and by %s alone: %+v", len(all), by, all)
	}
}

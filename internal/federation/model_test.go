package federation_test

import (
	"context"
	"net"
	"slices"
	"strings"

	"github.com/nave-dev/nave/internal/modelserver"
	"github.com/nave-dev/nave/internal/run"
)

// modelKey is what the model asks for: that it gets it shows that the agent read the file that holds it.
const modelKey = "the-models-key"

// What is said to the agent, and what the model does then. Each is a conversation of its own.
const (
	sayFact   = "Remember: the colour is teal. Write it down."
	askFact   = "Which colour did I name? And what does the file say?"
	runIt     = "Run the command."
	talkOn    = "Talk for ever."
	hangOnce  = "Think until you are killed."
	doneAgain = "I am here again."
)

// script is the model. It is a function of what the agent sends: what it recalls, the agent has kept.
var script = modelserver.Rules(
	modelserver.Rule{When: modelserver.NoTools, Then: modelserver.Say("A title")}, // OpenCode names its sessions
	modelserver.Rule{When: modelserver.Asked(sayFact), Then: also(
		modelserver.Say("I write ", "it down."), modelserver.Use("write", map[string]any{"filePath": "fact.txt", "content": "teal\n"}))},
	modelserver.Rule{When: modelserver.After("write"), Then: modelserver.Say("It is written.")},
	modelserver.Rule{When: modelserver.Asked(askFact), Then: also(
		modelserver.Recall("You named ", "colour is ", "."), modelserver.Use("read", map[string]any{"filePath": "fact.txt"}))},
	modelserver.Rule{When: modelserver.After("read"), Then: modelserver.Tell("The file says: ")},
	modelserver.Rule{When: modelserver.Asked(runIt), Then: modelserver.Use("bash", map[string]any{"command": "touch ran && echo it ran", "description": "Shows that it runs"})},
	modelserver.Rule{When: modelserver.After("bash"), Then: modelserver.Tell("The command says: ")},
	modelserver.Rule{When: modelserver.Asked(talkOn), Then: func(modelserver.Conversation) modelserver.Answer {
		return modelserver.Answer{Endless: true}
	}},
	modelserver.Rule{When: modelserver.All(modelserver.Asked(hangOnce), askedTwice(hangOnce)), Then: also(
		modelserver.Say(doneAgain), modelserver.Use("write", map[string]any{"filePath": "fact.txt", "content": "alive\n"}))},
	modelserver.Rule{When: modelserver.Asked(hangOnce), Then: func(modelserver.Conversation) modelserver.Answer {
		return modelserver.Answer{Text: []string{"I think."}, Endless: true}
	}},
)

// also says what one answer says and calls what another one calls.
func also(say, use func(modelserver.Conversation) modelserver.Answer) func(modelserver.Conversation) modelserver.Answer {
	return func(c modelserver.Conversation) modelserver.Answer {
		a := say(c)
		a.Calls = use(c).Calls
		return a
	}
}

// askedTwice holds when the user has said it at least twice, in one message or in several.
func askedTwice(text string) func(modelserver.Conversation) bool {
	return func(c modelserver.Conversation) bool {
		n := 0
		for _, m := range c.Messages {
			if m.Role == modelserver.User {
				n += strings.Count(m.Text, text)
			}
		}
		return n >= 2
	}
}

// runModel runs the model for the time of the test.
func (w *world) runModel() *modelserver.Server {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	s, err := modelserver.New(modelserver.Config{Script: script, Listener: l, Key: modelKey})
	w.must(err)
	g := run.NewGroup(context.Background())
	g.Go("model", s.Run)
	w.t.Cleanup(func() {
		g.Stop()
		if err := g.Wait(); err != nil {
			w.t.Error(err)
		}
		if refused := s.Refused(); len(refused) > 0 {
			w.t.Errorf("the model did not understand: %q", refused)
		}
	})
	return s
}

// asked returns the conversations in which the user said something last, in order.
func asked(s *modelserver.Server, text string) (out []modelserver.Conversation) {
	for _, r := range s.Requests() {
		if len(r.Conversation.Tools) > 0 && modelserver.Asked(text)(r.Conversation) {
			out = append(out, r.Conversation)
		}
	}
	return slices.Clip(out)
}

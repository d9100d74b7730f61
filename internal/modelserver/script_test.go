package modelserver_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/internal/modelserver"
)

func user(text string) modelserver.Message {
	return modelserver.Message{Role: modelserver.User, Text: text}
}

// TestScript: which rule counts, and what it says, depends on the conversation alone.
func TestScript(t *testing.T) {
	script := modelserver.Rules(
		modelserver.Rule{When: modelserver.NoTools, Then: modelserver.Say("title")},
		modelserver.Rule{When: modelserver.After("write"), Then: modelserver.Tell("Tool: ")},
		modelserver.Rule{When: modelserver.All(modelserver.Asked("write"), modelserver.Asked("now")), Then: modelserver.Use("write", map[string]any{"path": "a"})},
		modelserver.Rule{When: modelserver.Asked("which"), Then: modelserver.Recall("It is ", "colour is ", ".")},
	)
	result := modelserver.Message{Role: modelserver.Results, Results: []modelserver.Result{{Tool: "write", Text: "written"}}}
	system := modelserver.Message{Role: modelserver.System, Text: "colour is red. write now"}
	for _, c := range []struct {
		name     string
		messages []modelserver.Message
		offered  bool
		want     string
	}{
		{"no tools", []modelserver.Message{user("write now")}, false, "title"},
		{"both conditions", []modelserver.Message{user("write now")}, true, `write {"path":"a"}`},
		{"one of two", []modelserver.Message{user("write")}, true, "501"},
		{"result", []modelserver.Message{user("write now"), result}, true, "Tool: written"},
		{"asked before the result only", []modelserver.Message{result, user("which?")}, true, modelserver.Unknown},
		{"recalled", []modelserver.Message{user("The colour is teal."), user("which?")}, true, "It is teal"},
		{"not in what was said", []modelserver.Message{user("The colour is"), user("which?")}, true, modelserver.Unknown},
		{"not in the question itself", []modelserver.Message{user("which? colour is blue.")}, true, modelserver.Unknown},
		{"not by the system", []modelserver.Message{system, user("which?")}, true, modelserver.Unknown},
		{"a system message behind", []modelserver.Message{user("The colour is teal."), user("which?"), system}, true, "It is teal"},
		{"nothing at all", nil, true, "501"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conversation := modelserver.Conversation{Messages: c.messages}
			if c.offered {
				conversation.Tools = []string{"write"}
			}
			a := script(conversation)
			got := strings.Join(a.Text, "")
			for _, call := range a.Calls {
				got += call.Tool + " " + string(call.Args)
			}
			if a.Status == 501 {
				got = "501"
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("answer differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSaid(t *testing.T) {
	c := modelserver.Conversation{Messages: []modelserver.Message{user("teal"), {Role: modelserver.Results, Results: []modelserver.Result{{Text: "blue"}}}}}
	for _, q := range []struct {
		role modelserver.Role
		text string
		want bool
	}{
		{modelserver.User, "tea", true}, {modelserver.User, "blue", false}, {modelserver.Results, "blue", true}, {modelserver.System, "teal", false},
	} {
		if got := c.Said(q.role, q.text); got != q.want {
			t.Errorf("Said(%s, %s) = %t", q.role, q.text, got)
		}
	}
}

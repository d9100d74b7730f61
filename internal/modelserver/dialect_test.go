package modelserver_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/internal/modelserver"
)

// asked is one conversation as the four dialects write it: a user, a call with its result, and what the user asks next.
var asked = map[modelserver.API]string{
	modelserver.Chat: `{"model": "m", "stream": true, "tools": [{"type": "function", "function": {"name": "write"}}, {"type": "function", "function": {"name": "bash"}}],
		"messages": [{"role": "system", "content": "Be brief."},
		{"role": "user", "content": [{"type": "text", "text": "The colour is teal."}, {"type": "text", "text": "Write it."}]},
		{"role": "assistant", "content": "I write.", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "write", "arguments": "{\"a\":1}"}}, {"id": "c2", "type": "function", "function": {"name": "bash", "arguments": "{}"}}]},
		{"role": "tool", "tool_call_id": "c1", "content": "written"},
		{"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "ran"}]},
		{"role": "assistant", "content": "Done."},
		{"role": "user", "content": "Which?"}]}`,
	modelserver.Responses: `{"model": "m", "stream": true, "instructions": "Be brief.", "tools": [{"type": "function", "name": "write"}, {"type": "function", "name": "bash"}],
		"input": [{"role": "user", "content": [{"type": "input_text", "text": "The colour is teal."}, {"type": "input_text", "text": "Write it."}]},
		{"type": "reasoning", "summary": []},
		{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I write."}]},
		{"type": "function_call", "call_id": "c1", "name": "write", "arguments": "{\"a\":1}"},
		{"type": "function_call", "call_id": "c2", "name": "bash", "arguments": "{}"},
		{"type": "function_call_output", "call_id": "c1", "output": "written"},
		{"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "ran"}]},
		{"role": "assistant", "content": "Done."},
		{"role": "user", "content": "Which?"}]}`,
	modelserver.Messages: `{"model": "m", "stream": true, "system": [{"type": "text", "text": "Be brief."}], "tools": [{"name": "write"}, {"name": "bash"}],
		"messages": [{"role": "user", "content": [{"type": "text", "text": "The colour is teal."}, {"type": "text", "text": "Write it."}]},
		{"role": "assistant", "content": [{"type": "text", "text": "I write."}, {"type": "tool_use", "id": "c1", "name": "write", "input": {"a":1}}, {"type": "tool_use", "id": "c2", "name": "bash", "input": {}}]},
		{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "written"}, {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "ran"}]}]},
		{"role": "assistant", "content": "Done."},
		{"role": "user", "content": "Which?"}]}`,
	modelserver.Google: `{"systemInstruction": {"parts": [{"text": "Be brief."}]}, "tools": [{"functionDeclarations": [{"name": "write"}, {"name": "bash"}]}],
		"contents": [{"role": "user", "parts": [{"text": "The colour is teal."}, {"text": "Write it."}]},
		{"role": "model", "parts": [{"text": "I write."}, {"functionCall": {"id": "c1", "name": "write", "args": {"a":1}}}, {"functionCall": {"id": "c2", "name": "bash", "args": {}}}]},
		{"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "write", "response": {"output": "written"}}}, {"functionResponse": {"id": "c2", "name": "bash", "response": {"output": "ran"}}}]},
		{"role": "model", "parts": [{"text": "Done."}]},
		{"role": "user", "parts": [{"text": "Which?"}]}]}`,
}

// TestDecode: the four doors understand the same conversation in the same way.
func TestDecode(t *testing.T) {
	want := modelserver.Conversation{Model: "m", Tools: []string{"bash", "write"}, Messages: []modelserver.Message{
		{Role: modelserver.System, Text: "Be brief."},
		{Role: modelserver.User, Text: "The colour is teal.\nWrite it."},
		{Role: modelserver.Assistant, Text: "I write.", Calls: []modelserver.Call{{ID: "c1", Tool: "write", Args: json.RawMessage(`{"a":1}`)}, {ID: "c2", Tool: "bash", Args: json.RawMessage(`{}`)}}},
		{Role: modelserver.Results, Results: []modelserver.Result{{ID: "c1", Tool: "write", Text: "written"}, {ID: "c2", Tool: "bash", Text: "ran"}}},
		{Role: modelserver.Assistant, Text: "Done."},
		{Role: modelserver.User, Text: "Which?"},
	}}
	for api, body := range asked {
		t.Run(string(api), func(t *testing.T) {
			s := serve(t, modelserver.Config{Script: modelserver.Rules(modelserver.Rule{When: modelserver.Asked("Which"), Then: modelserver.Recall("It is ", "colour is ", ".")})})
			door := string(api)
			if api == modelserver.Google {
				door = "models/m:streamGenerateContent"
			}
			status, _, text := post(t, s, door, body)
			if status != 200 || !strings.Contains(text, "It is ") || !strings.Contains(text, "teal") {
				t.Errorf("answered %d %s", status, text)
			}
			want.API = api
			got := s.Requests()
			if len(got) != 1 || !got[0].Stream || got[0].Body != body {
				t.Fatalf("recorded %+v", got)
			}
			if diff := cmp.Diff(want, got[0].Conversation); diff != "" {
				t.Errorf("the conversation differs (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTextBesideResults: what some agents write beside the results of tools is not what the user asks next.
func TestTextBesideResults(t *testing.T) {
	s := serve(t, modelserver.Config{Script: modelserver.Rules(modelserver.Rule{When: modelserver.After("write"), Then: modelserver.Tell("")})})
	for door, body := range map[string]string{
		"messages": `{"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "write", "input": {}}]},
			{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "written"}, {"type": "text", "text": "<reminder>"}]}]}`,
		"models/m:generateContent": `{"contents": [{"role": "user", "parts": [{"functionResponse": {"name": "write", "response": {"output": "written"}}}, {"text": "<reminder>"}]}]}`,
	} {
		if status, _, text := post(t, s, door, body); status != 200 || !strings.Contains(text, "written") || strings.Contains(text, "reminder") {
			t.Errorf("%s answered %d %s", door, status, text)
		}
	}
}

// TestWire shows every dialect's answers byte by byte, with all that clients of it rely on.
func TestWire(t *testing.T) {
	answer := modelserver.Answer{Text: []string{"I ", "write."}, Calls: []modelserver.Call{
		{Tool: "write", Args: json.RawMessage(`{"path":"a"}`)}, {Tool: "bash", Args: json.RawMessage(`{}`)}}}
	datadriven.RunTest(t, "testdata/wire", func(t *testing.T, d *datadriven.TestData) string {
		a := answer
		switch {
		case d.HasArg("calls"):
			a.Text = nil
		case d.HasArg("error"):
			a = modelserver.Answer{Status: 529, Error: "overloaded"}
		case !d.HasArg("both"):
			a.Calls = nil
		}
		s := serve(t, modelserver.Config{Script: func(modelserver.Conversation) modelserver.Answer { return a }, Now: func() time.Time { return time.Unix(7, 0) }})
		status, kind, text := post(t, s, d.Cmd, d.Input)
		var out strings.Builder
		fmt.Fprintf(&out, "%d %s\n", status, kind)
		for line := range strings.Lines(text) {
			if strings.TrimSpace(line) != "" {
				out.WriteString(line)
			}
		}
		return out.String()
	})
}

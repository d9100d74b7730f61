package modelserver

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// google is the Gemini API (https://ai.google.dev/api/generate-content). Model and manner are in its path.
type google struct {
	model    string
	streamed bool
}

// googleDoor finds the dialect by a path behind the version: models/MODEL:METHOD.
func googleDoor(path string) (google, bool) {
	name, method, ok := strings.Cut(strings.TrimPrefix(path, "models/"), ":")
	if !ok || !strings.HasPrefix(path, "models/") || method != "generateContent" && method != "streamGenerateContent" {
		return google{}, false
	}
	return google{model: name, streamed: method == "streamGenerateContent"}, true
}

type googleContent struct {
	Role  string `json:"role"`
	Parts []struct {
		Text string `json:"text"`
		Call *struct {
			ID   string          `json:"id"`
			Name string          `json:"name"`
			Args json.RawMessage `json:"args"`
		} `json:"functionCall"`
		Response *struct {
			ID       string          `json:"id"`
			Name     string          `json:"name"`
			Response json.RawMessage `json:"response"`
		} `json:"functionResponse"`
	} `json:"parts"`
}

func (g google) decode(body []byte) (question, error) {
	var in struct {
		Contents []googleContent `json:"contents"`
		System   googleContent   `json:"systemInstruction"`
		Tools    []struct {
			Functions []struct {
				Name string `json:"name"`
			} `json:"functionDeclarations"`
		} `json:"tools"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return question{}, err
	}
	q := question{conversation: Conversation{API: Google, Model: g.model}, stream: g.streamed}
	in.System.Role = string(System)
	for i, c := range append([]googleContent{in.System}, in.Contents...) {
		role := Role(cmp.Or(c.Role, string(User)))
		switch role {
		case "model":
			role = Assistant
		case User, System, "function":
		default:
			return question{}, fmt.Errorf("contents[%d].role is %q", i-1, c.Role)
		}
		c.add(&q.conversation, role)
	}
	var names []string
	for _, t := range in.Tools {
		for _, f := range t.Functions {
			names = append(names, f.Name)
		}
	}
	q.conversation.offer(names)
	return q, nil
}

// add puts the parts into the conversation. The id of a call is optional here; the name tells as much.
func (c googleContent) add(to *Conversation, role Role) {
	var texts []string
	results := false
	for _, p := range c.Parts {
		texts = append(texts, p.Text)
		if r := p.Response; r != nil {
			to.result(cmp.Or(r.ID, r.Name), googleText(r.Response))
			last := to.Messages[len(to.Messages)-1].Results
			last[len(last)-1].Tool = r.Name
			results = true
		}
	}
	if text := joined(texts); results {
		to.Messages[len(to.Messages)-1].Text = text
	} else {
		to.text(role, text)
	}
	for _, p := range c.Parts {
		if p.Call != nil {
			to.call(Call{ID: cmp.Or(p.Call.ID, p.Call.Name), Tool: p.Call.Name, Args: p.Call.Args})
		}
	}
}

// googleText is the text of a result: its output or error where it has one, as the documentation recommends, else all of it.
func googleText(response json.RawMessage) string {
	var r struct {
		Output *string `json:"output"`
		Error  *string `json:"error"`
	}
	if json.Unmarshal(response, &r) == nil {
		if text := cmp.Or(r.Output, r.Error); text != nil {
			return *text
		}
	}
	return string(response)
}

func (google) fault(status int, message string) object {
	kind := "INTERNAL"
	switch status {
	case http.StatusBadRequest:
		kind = "INVALID_ARGUMENT"
	case http.StatusUnauthorized:
		kind = "UNAUTHENTICATED"
	case http.StatusNotFound:
		kind = "NOT_FOUND"
	case http.StatusTooManyRequests:
		kind = "RESOURCE_EXHAUSTED"
	}
	return object{"error": object{"code": status, "message": message, "status": kind}}
}

// googleAnswer is the response object with some parts; s is nil as long as more comes.
func googleAnswer(m meta, parts []object, s *spoken) object {
	candidate := object{"index": 0, "content": object{"role": "model", "parts": parts}}
	a := object{"candidates": []object{candidate}, "modelVersion": m.model, "responseId": fmt.Sprintf("answer-%d", m.n)}
	if s != nil {
		candidate["finishReason"] = "STOP" // also of an answer that calls tools
		a["usageMetadata"] = object{"promptTokenCount": m.in, "candidatesTokenCount": s.tokens(), "totalTokenCount": m.in + s.tokens()}
	}
	return a
}

func googleCall(c Call) object {
	return object{"functionCall": object{"id": c.ID, "name": c.Tool, "args": c.Args}}
}

func (google) whole(m meta, a Answer) object {
	s := of(a)
	parts := []object{}
	if s.said.Len() > 0 {
		parts = append(parts, object{"text": s.said.String()})
	}
	for _, c := range a.Calls {
		parts = append(parts, googleCall(c))
	}
	return googleAnswer(m, parts, s)
}

func (google) stream(e *events, m meta) voice { return &googleVoice{e: e, m: m} }

// googleVoice writes one response object a piece, without names. A call is never cut.
type googleVoice struct {
	e *events
	m meta
	spoken
}

func (v *googleVoice) begin() {}

func (v *googleVoice) text(piece string) {
	v.said.WriteString(piece)
	v.e.data("", googleAnswer(v.m, []object{{"text": piece}}, nil))
}

func (v *googleVoice) call(c Call) {
	v.calls = append(v.calls, c)
	v.e.data("", googleAnswer(v.m, []object{googleCall(c)}, nil))
}

func (v *googleVoice) end() {
	v.e.data("", googleAnswer(v.m, []object{{"text": ""}}, &v.spoken))
}

package modelserver

import (
	"encoding/json"
	"fmt"
)

// chat is OpenAI Chat Completions (https://platform.openai.com/docs/api-reference/chat).
type chat struct{}

func (chat) decode(body []byte) (question, error) {
	var in struct {
		Model    string `json:"model"`
		Stream   bool   `json:"stream"`
		Messages []struct {
			Role      string  `json:"role"`
			Content   content `json:"content"`
			CallID    string  `json:"tool_call_id"`
			ToolCalls []struct {
				ID       string `json:"id"`
				Function struct {
					Name      string `json:"name"`
					Arguments string `json:"arguments"`
				} `json:"function"`
			} `json:"tool_calls"`
		} `json:"messages"`
		Tools []struct {
			Function struct {
				Name string `json:"name"`
			} `json:"function"`
		} `json:"tools"`
		StreamOptions struct {
			IncludeUsage bool `json:"include_usage"`
		} `json:"stream_options"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return question{}, err
	}
	q := question{conversation: Conversation{API: Chat, Model: in.Model}, stream: in.Stream, usage: in.StreamOptions.IncludeUsage}
	for i, m := range in.Messages {
		text, err := m.Content.all()
		if err != nil {
			return question{}, fmt.Errorf("messages[%d].content: %w", i, err)
		}
		switch m.Role {
		case "tool":
			q.conversation.result(m.CallID, text)
			continue
		case "system", "developer":
			q.conversation.text(System, text)
		case "user", "assistant":
			q.conversation.text(Role(m.Role), text)
		default:
			return question{}, fmt.Errorf("messages[%d].role is %q", i, m.Role)
		}
		for _, c := range m.ToolCalls {
			if !json.Valid([]byte(c.Function.Arguments)) {
				return question{}, fmt.Errorf("messages[%d].tool_calls: the arguments of %s are no JSON", i, c.Function.Name)
			}
			q.conversation.call(Call{ID: c.ID, Tool: c.Function.Name, Args: json.RawMessage(c.Function.Arguments)})
		}
	}
	names := make([]string, 0, len(in.Tools))
	for _, t := range in.Tools {
		names = append(names, t.Function.Name)
	}
	q.conversation.offer(names)
	return q, nil
}

func (chat) fault(status int, message string) object { return openAIFault(status, message) }

func openAIFault(status int, message string) object {
	kind := "invalid_request_error"
	if status >= 500 {
		kind = "server_error"
	}
	return object{"error": object{"message": message, "type": kind, "param": nil, "code": nil}}
}

func chatUsage(m meta, s *spoken) object {
	return object{"prompt_tokens": m.in, "completion_tokens": s.tokens(), "total_tokens": m.in + s.tokens()}
}

func chatFinish(s *spoken) string {
	if len(s.calls) > 0 {
		return "tool_calls"
	}
	return "stop"
}

func chatCall(c Call, args string) object {
	return object{"id": c.ID, "type": "function", "function": object{"name": c.Tool, "arguments": args}}
}

func (chat) whole(m meta, a Answer) object {
	s := of(a)
	message := object{"role": "assistant", "content": nil, "refusal": nil}
	if s.said.Len() > 0 {
		message["content"] = s.said.String()
	}
	calls := []object{}
	for _, c := range a.Calls {
		calls = append(calls, chatCall(c, string(c.Args)))
	}
	if len(calls) > 0 {
		message["tool_calls"] = calls
	}
	return object{"id": fmt.Sprintf("chatcmpl-%d", m.n), "object": "chat.completion", "created": m.created, "model": m.model,
		"choices": []object{{"index": 0, "message": message, "logprobs": nil, "finish_reason": chatFinish(s)}}, "usage": chatUsage(m, s)}
}

func (chat) stream(e *events, m meta) voice { return &chatVoice{e: e, m: m} }

// chatVoice writes chunks without names, and [DONE] at the end.
type chatVoice struct {
	e *events
	m meta
	spoken
}

func (v *chatVoice) chunk(choices []object, usage any) {
	c := object{"id": fmt.Sprintf("chatcmpl-%d", v.m.n), "object": "chat.completion.chunk", "created": v.m.created, "model": v.m.model, "choices": choices}
	if v.m.withUsage {
		c["usage"] = usage
	}
	v.e.data("", c)
}

func (v *chatVoice) delta(d object, finish any) {
	v.chunk([]object{{"index": 0, "delta": d, "logprobs": nil, "finish_reason": finish}}, nil)
}

func (v *chatVoice) begin() { v.delta(object{"role": "assistant", "content": ""}, nil) }

func (v *chatVoice) text(piece string) {
	v.said.WriteString(piece)
	v.delta(object{"content": piece}, nil)
}

func (v *chatVoice) call(c Call) {
	i := len(v.calls)
	v.calls = append(v.calls, c)
	first := chatCall(c, "")
	first["index"] = i
	v.delta(object{"tool_calls": []object{first}}, nil)
	for _, half := range halves(c.Args) {
		v.delta(object{"tool_calls": []object{{"index": i, "function": object{"arguments": half}}}}, nil)
	}
}

func (v *chatVoice) end() {
	v.delta(object{}, chatFinish(&v.spoken))
	if v.m.withUsage {
		v.chunk([]object{}, chatUsage(v.m, &v.spoken))
	}
	v.e.line("", "[DONE]")
}

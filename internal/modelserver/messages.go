package modelserver

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// messages is Anthropic Messages (https://docs.anthropic.com/en/api/messages).
type messages struct{}

func (messages) decode(body []byte) (question, error) {
	var in struct {
		Model    string  `json:"model"`
		Stream   bool    `json:"stream"`
		System   content `json:"system"`
		Messages []struct {
			Role    string  `json:"role"`
			Content content `json:"content"`
		} `json:"messages"`
		Tools []struct {
			Name string `json:"name"`
		} `json:"tools"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return question{}, err
	}
	q := question{conversation: Conversation{API: Messages, Model: in.Model}, stream: in.Stream}
	system, err := in.System.all()
	if err != nil {
		return question{}, fmt.Errorf("system: %w", err)
	}
	q.conversation.text(System, system)
	for i, m := range in.Messages {
		if m.Role != "user" && m.Role != "assistant" && m.Role != "system" {
			return question{}, fmt.Errorf("messages[%d].role is %q", i, m.Role)
		}
		if err := addBlocks(&q.conversation, Role(m.Role), m.Content); err != nil {
			return question{}, fmt.Errorf("messages[%d].content: %w", i, err)
		}
	}
	var names []string
	for _, t := range in.Tools {
		names = append(names, t.Name)
	}
	q.conversation.offer(names)
	return q, nil
}

// addBlocks puts the content of one message into the conversation. Results of tools come in a message of the user's; the
// text beside them is not what the user asks next, and stays with them.
func addBlocks(c *Conversation, role Role, of content) error {
	texts := []string{of.text}
	var calls []Call
	results := false
	for i, raw := range of.parts {
		var b struct {
			part
			ID        string          `json:"id"`
			Name      string          `json:"name"`
			Input     json.RawMessage `json:"input"`
			ToolUseID string          `json:"tool_use_id"`
			Content   content         `json:"content"`
		}
		if err := json.Unmarshal(raw, &b); err != nil {
			return fmt.Errorf("[%d]: %w", i, err)
		}
		switch b.Type {
		case "text":
			texts = append(texts, b.Text)
		case "tool_use":
			calls = append(calls, Call{ID: b.ID, Tool: b.Name, Args: b.Input})
		case "tool_result":
			text, err := b.Content.all()
			if err != nil {
				return fmt.Errorf("[%d].content: %w", i, err)
			}
			c.result(b.ToolUseID, text)
			results = true
		case "thinking", "redacted_thinking", "image", "document": // nothing that was said in words
		default:
			return fmt.Errorf("[%d].type is %q", i, b.Type)
		}
	}
	if text := joined(texts); results {
		c.Messages[len(c.Messages)-1].Text = text
	} else {
		c.text(role, text)
	}
	for _, call := range calls {
		c.call(call)
	}
	return nil
}

func (messages) fault(status int, message string) object {
	kind := "api_error"
	switch status {
	case http.StatusBadRequest:
		kind = "invalid_request_error"
	case http.StatusUnauthorized:
		kind = "authentication_error"
	case http.StatusNotFound:
		kind = "not_found_error"
	case http.StatusTooManyRequests:
		kind = "rate_limit_error"
	case 529:
		kind = "overloaded_error"
	}
	return object{"type": "error", "error": object{"type": kind, "message": message}}
}

// message is the message object; s is nil when it begins.
func message(m meta, s *spoken) object {
	blocks := []object{}
	stop, out := any(nil), 1
	if s != nil {
		if s.said.Len() > 0 {
			blocks = append(blocks, object{"type": "text", "text": s.said.String()})
		}
		for _, c := range s.calls {
			blocks = append(blocks, object{"type": "tool_use", "id": c.ID, "name": c.Tool, "input": c.Args})
		}
		stop, out = stopReason(s), s.tokens()
	}
	return object{"id": fmt.Sprintf("msg_%d", m.n), "type": "message", "role": "assistant", "model": m.model, "content": blocks,
		"stop_reason": stop, "stop_sequence": nil, "usage": messageUsage(m, out)}
}

func messageUsage(m meta, out int) object {
	return object{"input_tokens": m.in, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": out}
}

func stopReason(s *spoken) string {
	if len(s.calls) > 0 {
		return "tool_use"
	}
	return "end_turn"
}

func (messages) whole(m meta, a Answer) object { return message(m, of(a)) }

func (messages) stream(e *events, m meta) voice { return &messageVoice{e: e, m: m} }

// messageVoice writes named events, block by block.
type messageVoice struct {
	e      *events
	m      meta
	open   bool // the text block was begun and not finished
	blocks int
	spoken
}

func (v *messageVoice) event(kind string, fields object) {
	fields["type"] = kind
	v.e.data(kind, fields)
}

func (v *messageVoice) begin() {
	v.event("message_start", object{"message": message(v.m, nil)})
	v.event("ping", object{})
}

func (v *messageVoice) text(piece string) {
	if !v.open {
		v.open = true
		v.event("content_block_start", object{"index": v.blocks, "content_block": object{"type": "text", "text": ""}})
	}
	v.said.WriteString(piece)
	v.event("content_block_delta", object{"index": v.blocks, "delta": object{"type": "text_delta", "text": piece}})
}

func (v *messageVoice) finish() {
	if v.open {
		v.open = false
		v.event("content_block_stop", object{"index": v.blocks})
		v.blocks++
	}
}

func (v *messageVoice) call(c Call) {
	v.finish()
	v.calls = append(v.calls, c)
	v.event("content_block_start", object{"index": v.blocks, "content_block": object{"type": "tool_use", "id": c.ID, "name": c.Tool, "input": object{}}})
	for _, half := range halves(c.Args) {
		v.event("content_block_delta", object{"index": v.blocks, "delta": object{"type": "input_json_delta", "partial_json": half}})
	}
	v.event("content_block_stop", object{"index": v.blocks})
	v.blocks++
}

func (v *messageVoice) end() {
	v.finish()
	v.event("message_delta", object{"delta": object{"stop_reason": stopReason(&v.spoken), "stop_sequence": nil}, "usage": messageUsage(v.m, v.tokens())})
	v.event("message_stop", object{})
}

package modelserver

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
)

// responses is OpenAI Responses (https://platform.openai.com/docs/api-reference/responses).
type responses struct{}

// responseItem is an item of the input, of any type.
type responseItem struct {
	Type      string  `json:"type"`
	Role      string  `json:"role"`
	Content   content `json:"content"`
	CallID    string  `json:"call_id"`
	Name      string  `json:"name"`
	Arguments string  `json:"arguments"`
	Input     string  `json:"input"` // of a custom tool's call
	Output    content `json:"output"`

	Tools []responseTool `json:"tools"` // of additional_tools
}

// responseTool is a tool that is offered; the maker's own have no name.
type responseTool struct {
	Type string `json:"type"`
	Name string `json:"name"`
}

func (responses) decode(body []byte) (question, error) {
	var in struct {
		Model        string          `json:"model"`
		Stream       bool            `json:"stream"`
		Instructions string          `json:"instructions"`
		Previous     string          `json:"previous_response_id"`
		Input        json.RawMessage `json:"input"`
		Tools        []responseTool  `json:"tools"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return question{}, err
	}
	if in.Previous != "" {
		return question{}, errors.New("previous_response_id: this server stores no responses; send the whole input")
	}
	q := question{conversation: Conversation{API: Responses, Model: in.Model}, stream: in.Stream}
	q.conversation.text(System, in.Instructions)
	var text string
	var items []responseItem
	if json.Unmarshal(in.Input, &text) == nil {
		q.conversation.text(User, text)
	} else if err := json.Unmarshal(in.Input, &items); err != nil {
		return question{}, fmt.Errorf("input: %w", err)
	}
	tools := in.Tools
	for i, item := range items {
		tools = append(tools, item.Tools...)
		if err := item.add(&q.conversation); err != nil {
			return question{}, fmt.Errorf("input[%d]: %w", i, err)
		}
	}
	var names []string
	for _, t := range tools {
		names = append(names, cmp.Or(t.Name, t.Type))
	}
	q.conversation.offer(names)
	return q, nil
}

// add puts the item into the conversation.
func (item responseItem) add(c *Conversation) error {
	switch item.Type {
	case "", "message":
		text, err := item.Content.all()
		if err != nil {
			return fmt.Errorf("content: %w", err)
		}
		switch item.Role {
		case "system", "developer":
			c.text(System, text)
		case "user", "assistant":
			c.text(Role(item.Role), text)
		default:
			return fmt.Errorf("role is %q", item.Role)
		}
	case "function_call":
		if !json.Valid([]byte(item.Arguments)) {
			return fmt.Errorf("the arguments of %s are no JSON", item.Name)
		}
		c.call(Call{ID: item.CallID, Tool: item.Name, Args: json.RawMessage(item.Arguments)})
	case "custom_tool_call":
		args, err := json.Marshal(item.Input)
		if err != nil {
			return err
		}
		c.call(Call{ID: item.CallID, Tool: item.Name, Args: args})
	case "function_call_output", "custom_tool_call_output":
		text, err := item.Output.all()
		if err != nil {
			return fmt.Errorf("output: %w", err)
		}
		c.result(item.CallID, text)
	case "reasoning", "additional_tools": // nothing that was said
	case "item_reference":
		return errors.New("item_reference: this server stores no items; send them with store set to false")
	default:
		return fmt.Errorf("type is %q", item.Type)
	}
	return nil
}

func (responses) fault(status int, message string) object { return openAIFault(status, message) }

func responseMessage(m meta, status, text string) object {
	parts := []object{}
	if status == "completed" {
		parts = append(parts, outputText(text))
	}
	return object{"id": fmt.Sprintf("msg_%d", m.n), "type": "message", "status": status, "role": "assistant", "content": parts}
}

func outputText(text string) object {
	return object{"type": "output_text", "text": text, "annotations": []any{}, "logprobs": []any{}}
}

func responseCall(m meta, c Call, status, args string) object {
	return object{"id": fmt.Sprintf("fc_%d_%s", m.n, c.ID), "type": "function_call", "status": status, "call_id": c.ID, "name": c.Tool, "arguments": args}
}

// response is the response object; s is nil as long as it is not complete.
func response(m meta, s *spoken) object {
	output := []object{}
	status, usage := "in_progress", any(nil)
	if s != nil {
		status = "completed"
		if s.said.Len() > 0 {
			output = append(output, responseMessage(m, status, s.said.String()))
		}
		for _, c := range s.calls {
			output = append(output, responseCall(m, c, status, string(c.Args)))
		}
		usage = object{"input_tokens": m.in, "input_tokens_details": object{"cached_tokens": 0}, "output_tokens": s.tokens(),
			"output_tokens_details": object{"reasoning_tokens": 0}, "total_tokens": m.in + s.tokens()}
	}
	return object{"id": fmt.Sprintf("resp_%d", m.n), "object": "response", "created_at": m.created, "status": status, "model": m.model,
		"output": output, "usage": usage, "error": nil, "incomplete_details": nil, "instructions": nil, "metadata": object{},
		"parallel_tool_calls": true, "temperature": 1, "top_p": 1, "tool_choice": "auto", "tools": []any{}, "store": false}
}

func (responses) whole(m meta, a Answer) object { return response(m, of(a)) }

func (responses) stream(e *events, m meta) voice { return &responseVoice{e: e, m: m} }

// responseVoice writes numbered events. A message, if there is one, is the first item of the output.
type responseVoice struct {
	e      *events
	m      meta
	number int
	open   bool // the message's item was begun and not finished
	items  int
	spoken
}

func (v *responseVoice) event(kind string, fields object) {
	fields["type"], fields["sequence_number"] = kind, v.number
	v.number++
	v.e.data(kind, fields)
}

func (v *responseVoice) begin() {
	v.event("response.created", object{"response": response(v.m, nil)})
	v.event("response.in_progress", object{"response": response(v.m, nil)})
}

// inMessage are the fields of events about the message's one part.
func (v *responseVoice) inMessage(fields object) object {
	fields["item_id"], fields["output_index"], fields["content_index"] = fmt.Sprintf("msg_%d", v.m.n), 0, 0
	return fields
}

func (v *responseVoice) text(piece string) {
	if !v.open {
		v.open = true
		v.items++
		v.event("response.output_item.added", object{"output_index": 0, "item": responseMessage(v.m, "in_progress", "")})
		v.event("response.content_part.added", v.inMessage(object{"part": outputText("")}))
	}
	v.said.WriteString(piece)
	v.event("response.output_text.delta", v.inMessage(object{"delta": piece, "logprobs": []any{}}))
}

// finish ends the message's item.
func (v *responseVoice) finish() {
	if !v.open {
		return
	}
	v.open = false
	v.event("response.output_text.done", v.inMessage(object{"text": v.said.String(), "logprobs": []any{}}))
	v.event("response.content_part.done", v.inMessage(object{"part": outputText(v.said.String())}))
	v.event("response.output_item.done", object{"output_index": 0, "item": responseMessage(v.m, "completed", v.said.String())})
}

func (v *responseVoice) call(c Call) {
	v.finish()
	at := v.items
	v.items++
	v.calls = append(v.calls, c)
	item := responseCall(v.m, c, "in_progress", "")
	v.event("response.output_item.added", object{"output_index": at, "item": item})
	for _, half := range halves(c.Args) {
		v.event("response.function_call_arguments.delta", object{"item_id": item["id"], "output_index": at, "delta": half})
	}
	v.event("response.function_call_arguments.done", object{"item_id": item["id"], "output_index": at, "name": c.Tool, "arguments": string(c.Args)})
	v.event("response.output_item.done", object{"output_index": at, "item": responseCall(v.m, c, "completed", string(c.Args))})
}

func (v *responseVoice) end() {
	v.finish()
	v.event("response.completed", object{"response": response(v.m, &v.spoken)})
}

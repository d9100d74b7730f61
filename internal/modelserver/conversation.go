package modelserver

import (
	"encoding/json"
	"slices"
	"strings"
)

// API is one of the four doors.
type API string

// The doors, by the path behind the base URL.
const (
	Chat      API = "chat/completions"
	Responses API = "responses"
	Messages  API = "messages"
	Google    API = "models" // behind /v1beta
)

// Role says who speaks in a message.
type Role string

// The roles. A developer message is a system message; results of tools have a role of their own in every dialect.
const (
	System    Role = "system"
	User      Role = "user"
	Assistant Role = "assistant"
	Results   Role = "results"
)

// Conversation is what a request carries, the same for every dialect.
type Conversation struct {
	API      API
	Model    string
	Messages []Message // in order; the results of calls that were made together are one message
	Tools    []string  // names of the tools that are offered, sorted
}

// Message is one step of a conversation.
type Message struct {
	Role    Role
	Text    string   // all text of the message; parts are joined by a line feed
	Calls   []Call   // of an assistant
	Results []Result // of role Results
}

// Call is a call of a tool.
type Call struct {
	ID   string // set by the server in answers
	Tool string
	Args json.RawMessage // an object
}

// Result is what a tool answered.
type Result struct {
	ID   string
	Tool string // by the call with the same id; empty when the conversation has none
	Text string
}

// Last is what was said last, or an empty message. What a system message adds behind it does not count: some agents put
// one behind each of the user's.
func (c Conversation) Last() Message {
	if i := c.last(); i >= 0 {
		return c.Messages[i]
	}
	return Message{}
}

func (c Conversation) last() int {
	for i := len(c.Messages) - 1; i >= 0; i-- {
		if c.Messages[i].Role != System {
			return i
		}
	}
	return -1
}

// Offers reports whether a tool is offered.
func (c Conversation) Offers(tool string) bool { return slices.Contains(c.Tools, tool) }

// Said reports whether some message of a role has the text in it, or some result of a tool.
func (c Conversation) Said(role Role, text string) bool {
	return slices.ContainsFunc(c.Messages, func(m Message) bool {
		return m.Role == role && (strings.Contains(m.Text, text) ||
			slices.ContainsFunc(m.Results, func(r Result) bool { return strings.Contains(r.Text, text) }))
	})
}

// calls is how many calls the conversation has had.
func (c Conversation) calls() (n int) {
	for _, m := range c.Messages {
		n += len(m.Calls)
	}
	return n
}

// text appends a message. Nothing is added for a message without content.
func (c *Conversation) text(role Role, text string) {
	if text != "" {
		c.Messages = append(c.Messages, Message{Role: role, Text: text})
	}
}

// call adds a call to the assistant's message, which is begun if it is not the last one.
func (c *Conversation) call(call Call) {
	if n := len(c.Messages); n == 0 || c.Messages[n-1].Role != Assistant {
		c.Messages = append(c.Messages, Message{Role: Assistant})
	}
	last := &c.Messages[len(c.Messages)-1]
	last.Calls = append(last.Calls, call)
}

// result adds a result to those that came before it, and finds the tool that it is of.
func (c *Conversation) result(id, text string) {
	r := Result{ID: id, Text: text}
	for _, m := range c.Messages {
		for _, call := range m.Calls {
			if call.ID == id {
				r.Tool = call.Tool
			}
		}
	}
	if n := len(c.Messages); n == 0 || c.Messages[n-1].Role != Results {
		c.Messages = append(c.Messages, Message{Role: Results})
	}
	last := &c.Messages[len(c.Messages)-1]
	last.Results = append(last.Results, r)
}

// offer notes the names of the tools.
func (c *Conversation) offer(names []string) {
	slices.Sort(names)
	c.Tools = slices.Compact(names)
}

// part is a piece of content in any dialect.
type part struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// content is text, or a list of parts: every dialect allows both.
type content struct {
	text  string
	parts []json.RawMessage
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *content) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, &c.parts)
	}
	return json.Unmarshal(b, &c.text) // null leaves it empty
}

// all is the text of all parts that have text.
func (c content) all() (string, error) {
	texts := []string{c.text}
	for _, raw := range c.parts {
		var p part
		if err := json.Unmarshal(raw, &p); err != nil {
			return "", err
		}
		texts = append(texts, p.Text)
	}
	return joined(texts), nil
}

// joined joins what is not empty.
func joined(texts []string) string {
	return strings.Join(slices.DeleteFunc(texts, func(s string) bool { return s == "" }), "\n")
}

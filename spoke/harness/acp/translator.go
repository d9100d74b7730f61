package acp

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	sdk "github.com/coder/acp-go-sdk"

	"github.com/nave-dev/nave/api"
)

const (
	// maxText is how much of what the agent says becomes one event, in bytes.
	maxText = 16 << 10
	// maxDelta bounds a delta, in bytes.
	maxDelta = 4 << 10
)

// said is one thing that goes to the sink: an event or a delta.
type said struct {
	event *Event
	delta *Delta
}

// translator makes events and deltas of the updates of one turn. It is pure: updates in, events and deltas out.
//
// What the agent writes in chunks comes out at once as deltas, and as one event when something else comes, when it has 16
// KiB, and at the end. A tool call is told when it is known what it is called with, and before anything that comes after it.
// Usage breaks no text: the last one is told before the next thing that does.
type translator struct {
	prefix string // of the names of streams
	out    []said

	text     text           // what is being written
	written  map[string]int // how many streams there were, by their letter
	calls    []*toolCall    // that have no end yet, in the order of their beginning; bound: maxCalls
	over     []string       // ids of the last calls that ended; bound: maxOver
	plan     string         // as it was told last
	usage    *Event         // that is still to be told
	lastUsed string         // its text as it was told last
}

// text is a message or a thought that is being written. Its type is empty when there is none.
type text struct {
	kind    api.EventType
	stream  string
	message string // the agent's id of the message; empty when it gives none
	body    []byte
}

func newTranslator(prefix string) *translator {
	return &translator{prefix: prefix, written: make(map[string]int)}
}

// update translates one update. The error says that it is not one of the protocol; nothing is told then.
func (t *translator) update(raw json.RawMessage) ([]said, error) {
	var head struct {
		Kind string `json:"sessionUpdate"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, err
	}
	switch head.Kind {
	case "agent_message_chunk", "agent_thought_chunk", "tool_call", "tool_call_update", "plan", "usage_update":
	default:
		return nil, nil // what it says is for the agent's own screen, or is newer than this
	}
	var u sdk.SessionUpdate
	if err := json.Unmarshal(raw, &u); err != nil {
		return nil, err
	}
	switch {
	case u.AgentMessageChunk != nil:
		t.chunk(api.EventMessage, u.AgentMessageChunk.MessageId, u.AgentMessageChunk.Content)
	case u.AgentThoughtChunk != nil:
		t.chunk(api.EventThought, u.AgentThoughtChunk.MessageId, u.AgentThoughtChunk.Content)
	case u.ToolCall != nil, u.ToolCallUpdate != nil:
		if err := t.tool(raw); err != nil {
			return nil, err
		}
	case u.Plan != nil:
		t.planned(u.Plan.Entries)
	case u.UsageUpdate != nil:
		t.used(contextUsage(u.UsageUpdate))
	}
	return t.take(), nil
}

// end tells what is open: the turn is over.
func (t *translator) end(usage *sdk.Usage) []said {
	t.settle()
	for _, c := range t.calls {
		t.finish(c, statusUnfinished)
	}
	t.calls = nil
	if usage != nil {
		t.used(turnUsage(usage))
	}
	t.settle()
	return t.take()
}

// note tells a line of the harness's own about what the agent sent.
func (t *translator) note(text string) []said {
	t.settle()
	t.tell(Event{Type: api.EventLog, Text: text, Attributes: map[string]string{api.AttrBy: "harness"}})
	return t.take()
}

func (t *translator) take() []said {
	out := t.out
	t.out = nil
	return out
}

func (t *translator) tell(e Event) { t.out = append(t.out, said{event: &e}) }

// settle tells what is held back, because something else comes.
func (t *translator) settle() {
	t.flush(false)
	for _, c := range t.calls {
		t.announce(c)
	}
	if t.usage != nil {
		t.tell(*t.usage)
		t.usage = nil
	}
}

// stream makes the name of the next stream of a letter.
func (t *translator) stream(letter string) string {
	t.written[letter]++
	return t.prefix + letter + strconv.Itoa(t.written[letter])
}

// chunk takes a piece of a message or a thought.
func (t *translator) chunk(kind api.EventType, message *string, content sdk.ContentBlock) {
	piece, whole := block(content)
	if piece == "" {
		return
	}
	id := ""
	if message != nil {
		id = cut(*message, maxName)
	}
	if t.text.kind != kind || id != t.text.message {
		t.settle()
		t.text = text{kind: kind, message: id}
	}
	if !whole {
		if n := len(t.text.body); n > 0 && t.text.body[n-1] != '\n' {
			piece = "\n" + piece
		}
		piece += "\n"
	}
	t.write(piece)
}

// write adds to what is being written, and tells it as deltas.
func (t *translator) write(piece string) {
	for piece != "" {
		n := wholeRunes(piece, min(maxDelta, maxText-len(t.text.body)))
		if n == 0 {
			t.flush(true)
			continue
		}
		if t.text.stream == "" {
			t.text.stream = t.stream(string(t.text.kind[0])) // m for messages, t for thoughts
		}
		t.out = append(t.out, said{delta: &Delta{
			Stream: t.text.stream, Type: t.text.kind, Offset: uint64(len(t.text.body)), Text: piece[:n],
		}})
		t.text.body = append(t.text.body, piece[:n]...)
		piece = piece[n:]
	}
}

// flush makes what is written an event. When more of the same follows, the event says so and the writing goes on.
func (t *translator) flush(more bool) {
	if t.text.stream != "" {
		e := Event{Type: t.text.kind, Text: string(t.text.body), Attributes: map[string]string{api.AttrStream: t.text.stream}}
		if more {
			e.Attributes["continued"] = "true"
		}
		t.tell(e)
	}
	if !more {
		t.text = text{}
		return
	}
	t.text.stream, t.text.body = "", t.text.body[:0]
}

// planned tells the agent's plan when it has changed.
func (t *translator) planned(entries []sdk.PlanEntry) {
	l := limited{limit: maxContent}
	for _, e := range entries {
		l.line()
		switch e.Status {
		case sdk.PlanEntryStatusCompleted:
			l.add("[x] ")
		case sdk.PlanEntryStatusInProgress:
			l.add("[~] ")
		default:
			l.add("[ ] ")
		}
		l.add(strings.ReplaceAll(e.Content, "\n", " "))
	}
	if text := l.String(); text != t.plan {
		t.settle()
		t.plan = text
		t.tell(Event{Type: api.EventPlan, Text: text})
	}
}

// used keeps what the agent reports of tokens and money until it is told.
func (t *translator) used(e Event) {
	if e.Text == t.lastUsed {
		return
	}
	t.lastUsed = e.Text
	t.usage = &e
}

// contextUsage is what an agent reports of its context while it works.
func contextUsage(u *sdk.SessionUsageUpdate) Event {
	e := Event{Type: api.EventUsage, Text: fmt.Sprintf("%d of %d tokens of the context", u.Used, u.Size), Attributes: map[string]string{
		"used": strconv.Itoa(u.Used), "size": strconv.Itoa(u.Size),
	}}
	if u.Cost != nil {
		amount, currency := strconv.FormatFloat(u.Cost.Amount, 'f', -1, 64), cut(u.Cost.Currency, maxName)
		e.Text += fmt.Sprintf(", %s %s", amount, currency)
		e.Attributes["amount"], e.Attributes["currency"] = amount, currency
	}
	return e
}

// turnUsage is what an agent reports of the turn at its end.
func turnUsage(u *sdk.Usage) Event {
	e := Event{
		Type:       api.EventUsage,
		Text:       fmt.Sprintf("%d tokens in, %d out, %d in all", u.InputTokens, u.OutputTokens, u.TotalTokens),
		Attributes: make(map[string]string),
	}
	for name, n := range map[string]*int{
		"inputTokens": &u.InputTokens, "outputTokens": &u.OutputTokens, "totalTokens": &u.TotalTokens,
		"thoughtTokens": u.ThoughtTokens, "cachedReadTokens": u.CachedReadTokens, "cachedWriteTokens": u.CachedWriteTokens,
	} {
		if n != nil {
			e.Attributes[name] = strconv.Itoa(*n)
		}
	}
	return e
}

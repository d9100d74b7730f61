package acp

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	sdk "github.com/coder/acp-go-sdk"

	"github.com/nave-dev/nave/api"
)

const (
	// maxCalls bounds the tool calls without an end. One more ends the oldest as unfinished.
	maxCalls = 256
	// maxOver is of how many calls that ended it is known that they have.
	maxOver = 1024
)

// statusUnfinished is the status of a tool call that has no end when the turn does. The protocol has no word for it.
const statusUnfinished = "unfinished"

// toolCall is what is known of a tool call. What can be large is kept as it is told, and as a hash.
type toolCall struct {
	id      string // at most maxName bytes
	title   string // at most api.MaxApprovalTitle bytes
	kind    string // at most maxName bytes
	places  string
	input   string // at most maxInput bytes
	content string // at most maxContent bytes
	output  string // likewise: the raw one, which counts when there is no content

	titleHash, inputHash, contentHash [sha256.Size]byte // of all of it; zero when there is none

	told   string // how it was announced
	stream string // of its content; empty while it has none
	shown  string // what its deltas told
}

// change is what a tool call and an update of one say. Raw values are kept as they came, so that no digit is lost.
type change struct {
	ID        string                 `json:"toolCallId"`
	Title     *string                `json:"title"`
	Kind      string                 `json:"kind"`
	Status    sdk.ToolCallStatus     `json:"status"`
	Content   json.RawMessage        `json:"content"`
	Locations []sdk.ToolCallLocation `json:"locations"`
	RawInput  json.RawMessage        `json:"rawInput"`
	RawOutput json.RawMessage        `json:"rawOutput"`
}

// tool takes a tool call or an update of one; agents use the two freely.
func (t *translator) tool(raw json.RawMessage) error {
	var ch change
	if err := json.Unmarshal(raw, &ch); err != nil {
		return err
	}
	if slices.Contains(t.over, cut(ch.ID, maxName)) {
		return nil // it has been told as a whole
	}
	c, err := t.apply(ch)
	if err != nil {
		return err
	}
	switch ch.Status {
	case sdk.ToolCallStatusCompleted, sdk.ToolCallStatusFailed:
		t.settle()
		t.finish(c, string(ch.Status))
		t.calls = slices.DeleteFunc(t.calls, func(o *toolCall) bool { return o == c })
	case sdk.ToolCallStatusInProgress:
		t.announce(c)
		t.show(c)
	default:
		if c.content != "" {
			t.announce(c)
			t.show(c)
		}
	}
	return nil
}

// apply makes what is known of a call what a change says. A call that is not known begins.
func (t *translator) apply(ch change) (*toolCall, error) {
	if len(ch.Kind) > maxName {
		return nil, errors.New("its kind is too long")
	}
	var all []sdk.ToolCallContent
	if present(ch.Content) {
		if err := json.Unmarshal(ch.Content, &all); err != nil {
			return nil, err
		}
	}
	id := cut(ch.ID, maxName)
	i := slices.IndexFunc(t.calls, func(c *toolCall) bool { return c.id == id })
	if i < 0 {
		t.settle()
		if len(t.calls) == maxCalls {
			t.finish(t.calls[0], statusUnfinished)
			t.calls = t.calls[1:]
		}
		i = len(t.calls)
		t.calls = append(t.calls, &toolCall{id: id})
	}
	c := t.calls[i]
	if ch.Title != nil && *ch.Title != "" {
		c.title, c.titleHash = cut(*ch.Title, api.MaxApprovalTitle), sha256.Sum256([]byte(*ch.Title))
	}
	if ch.Kind != "" {
		c.kind = ch.Kind
	}
	if len(ch.Locations) > 0 {
		c.places = places(ch.Locations)
	}
	if present(ch.RawInput) {
		c.input, c.inputHash = compact(ch.RawInput, maxInput), canonical(ch.RawInput)
	}
	if len(all) > 0 {
		c.content, c.contentHash = contents(all), canonical(ch.Content)
	}
	if present(ch.RawOutput) {
		c.output = compact(ch.RawOutput, maxContent)
	}
	return c, nil
}

// announce tells a call, and tells it again when what it is called with has changed.
func (t *translator) announce(c *toolCall) {
	text := c.title
	if text == "" {
		text = c.id
	}
	for _, part := range []string{c.places, c.input} {
		if part != "" {
			text += "\n" + strings.TrimSuffix(part, "\n")
		}
	}
	if text == c.told {
		return
	}
	c.told = text
	t.flush(false)
	t.tell(Event{Type: api.EventTool, Text: text, Attributes: c.attributes()})
}

// show tells what is new of a call's content. Content that was taken back is told by the result alone.
func (t *translator) show(c *toolCall) {
	fresh, more := strings.CutPrefix(c.content, c.shown)
	if !more || fresh == "" {
		return
	}
	if c.stream == "" {
		c.stream = t.stream("c")
	}
	for at := len(c.shown); fresh != ""; {
		n := wholeRunes(fresh, maxDelta)
		t.out = append(t.out, said{delta: &Delta{Stream: c.stream, Type: api.EventResult, Offset: uint64(at), Text: fresh[:n]}})
		fresh, at = fresh[n:], at+n
	}
	c.shown = c.content
}

// finish tells how a call ended. The caller has settled what comes before, and takes it out of the calls.
func (t *translator) finish(c *toolCall, status string) {
	e := Event{Type: api.EventResult, Text: c.content, Attributes: c.attributes()}
	if e.Text == "" {
		e.Text = c.output
	}
	e.Attributes[api.AttrStatus] = status
	if c.stream != "" {
		e.Attributes[api.AttrStream] = c.stream
	}
	t.tell(e)
	if t.over = append(t.over, c.id); len(t.over) > maxOver {
		t.over = slices.Delete(t.over, 0, maxOver/2)
	}
}

func (c *toolCall) attributes() map[string]string {
	a := map[string]string{api.AttrTool: c.id}
	if c.kind != "" {
		a[api.AttrToolKind] = c.kind
	}
	return a
}

// fingerprint tells what the call would do: its kind, its title and its input, or its content for one without input.
func (c *toolCall) fingerprint() string {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(c.kind)))
	h.Write(n[:])
	h.Write([]byte(c.kind))
	h.Write(c.titleHash[:])
	h.Write(c.inputHash[:])
	if c.input == "" {
		h.Write(c.contentHash[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// canonical is a hash of a JSON value that does not depend on white space and on the order of names. Numbers count as they
// are written.
func canonical(raw json.RawMessage) [sha256.Size]byte {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err == nil {
		if sorted, err := json.Marshal(v); err == nil {
			return sha256.Sum256(sorted)
		}
	}
	return sha256.Sum256(raw)
}

// compact is a JSON value on one line, of at most limit bytes.
func compact(raw json.RawMessage, limit int) string {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return ""
	}
	return cut(strings.ToValidUTF8(b.String(), "\uFFFD"), limit)
}

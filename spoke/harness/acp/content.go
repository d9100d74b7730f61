package acp

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	sdk "github.com/coder/acp-go-sdk"
)

// cut makes a text at most limit bytes long; a cut one ends with a note of its size.
func cut(text string, limit int) string { return shorten(text, len(text), limit) }

// shorten is cut for a text of which only the beginning is at hand: size is how long it is as a whole.
func shorten(text string, size, limit int) string {
	if size <= limit {
		return text
	}
	note := fmt.Sprintf("… [%d bytes]", size)
	return text[:wholeRunes(text, max(0, min(len(text), limit-len(note))))] + note
}

// wholeRunes is the largest length up to n that cuts no character.
func wholeRunes(text string, n int) int {
	if n >= len(text) {
		return len(text)
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return n
}

// limited gathers text up to a limit and counts what it is as a whole.
type limited struct {
	b     strings.Builder
	limit int
	size  int
}

func (l *limited) add(text string) {
	if l.size == l.b.Len() { // nothing was left out so far
		l.b.WriteString(text[:wholeRunes(text, l.limit-l.b.Len())])
	}
	l.size += len(text)
}

// line begins a new line unless one has just begun.
func (l *limited) line() {
	if l.size > 0 && !strings.HasSuffix(l.b.String(), "\n") {
		l.add("\n")
	}
}

func (l *limited) String() string { return shorten(l.b.String(), l.size, l.limit) }

// maxName bounds names, addresses and ids that the agent gives, in bytes.
const maxName = 256

// block makes a block of content a text. Whole is false for one that is told as a line of its own.
func block(b sdk.ContentBlock) (text string, whole bool) {
	switch {
	case b.Text != nil && (b.Text.Type == "text" || b.Text.Text != ""): // the SDK takes what it does not know for text
		return b.Text.Text, true
	case b.Image != nil:
		return fmt.Sprintf("[image %s %d bytes]", cut(b.Image.MimeType, maxName), decoded(b.Image.Data)), false
	case b.Audio != nil:
		return fmt.Sprintf("[audio %s %d bytes]", cut(b.Audio.MimeType, maxName), decoded(b.Audio.Data)), false
	case b.ResourceLink != nil:
		return fmt.Sprintf("[link %s]", cut(b.ResourceLink.Uri, maxName)), false
	case b.Resource != nil && b.Resource.Resource.TextResourceContents != nil:
		r := b.Resource.Resource.TextResourceContents
		return fmt.Sprintf("[resource %s %d bytes]", cut(r.Uri, maxName), len(r.Text)), false
	case b.Resource != nil && b.Resource.Resource.BlobResourceContents != nil:
		r := b.Resource.Resource.BlobResourceContents
		return fmt.Sprintf("[resource %s %d bytes]", cut(r.Uri, maxName), decoded(r.Blob)), false
	}
	return "[content of a kind that is not known]", false
}

// decoded is how many bytes a text in base64 stands for.
func decoded(base64 string) int { return len(strings.TrimRight(base64, "=")) * 3 / 4 }

// maxContent bounds the content of a tool call, in bytes. It leaves room in an event for a note of the size.
const maxContent = 60 << 10

// contents makes the content of a tool call one text.
func contents(all []sdk.ToolCallContent) string {
	l := limited{limit: maxContent}
	for _, c := range all {
		l.line()
		switch {
		case c.Content != nil:
			text, _ := block(c.Content.Content)
			l.add(text)
		case c.Diff != nil:
			diff(&l, c.Diff)
		case c.Terminal != nil:
			l.add(fmt.Sprintf("[terminal %s]", cut(c.Terminal.TerminalId, maxName)))
		}
	}
	return l.String()
}

// diff tells a change of a file: its path, where the change is, what goes and what comes. Lines that are the same at the
// beginning and at the end are left out.
func diff(l *limited, d *sdk.ToolCallContentDiff) {
	var was []string
	if d.OldText != nil {
		was = split(*d.OldText)
	}
	is := split(d.NewText)
	from := 0
	for from < len(was) && from < len(is) && was[from] == is[from] {
		from++
	}
	for len(was) > from && len(is) > from && was[len(was)-1] == is[len(is)-1] {
		was, is = was[:len(was)-1], is[:len(is)-1]
	}
	l.add(cut(d.Path, maxPath))
	l.add(fmt.Sprintf("\n@@ -%d,%d +%d,%d @@", from+1, len(was)-from, from+1, len(is)-from))
	for _, line := range was[from:] {
		l.add("\n-" + line)
	}
	for _, line := range is[from:] {
		l.add("\n+" + line)
	}
}

// maxPath bounds a path, in bytes.
const maxPath = 4 << 10

func split(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// maxPlaces bounds the places that are told of a tool call.
const maxPlaces = 20

// places tells where a tool call works, a place a line.
func places(all []sdk.ToolCallLocation) string {
	var b strings.Builder
	for i, p := range all {
		if i == maxPlaces {
			fmt.Fprintf(&b, "… [%d places]\n", len(all))
			break
		}
		b.WriteString(cut(p.Path, maxName))
		if p.Line != nil {
			fmt.Fprintf(&b, ":%d", *p.Line)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// maxInput bounds what is told of the input of a tool call, in bytes.
const maxInput = 16 << 10

// present reports whether a value was given that says something.
func present(raw json.RawMessage) bool {
	s := strings.TrimSpace(string(raw[:min(len(raw), 16)]))
	return s != "" && s != "null" && s != "{}"
}

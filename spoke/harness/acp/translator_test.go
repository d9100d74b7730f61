package acp

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cockroachdb/datadriven"
	sdk "github.com/coder/acp-go-sdk"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
)

// TestTranslator runs the transcripts in testdata/translator. Their commands:
//
//	turn [prefix=P]   begins a turn
//	update            one update a line
//	permission        the params of a request for permission
//	note              a line of the harness's own
//	end               the end of the turn; the usage of the answer, if any
//
// {{ab*3}} stands for ababab. Long texts are shown by their ends and their length in bytes.
func TestTranslator(t *testing.T) {
	datadriven.Walk(t, "testdata/translator", func(t *testing.T, path string) {
		tr := newTranslator("")
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var b strings.Builder
			switch d.Cmd {
			case "turn":
				prefix := ""
				d.MaybeScanArgs(t, "prefix", &prefix)
				tr = newTranslator(prefix)
			case "update":
				for line := range strings.Lines(d.Input) {
					all, err := tr.update(json.RawMessage(spread(line)))
					show(&b, all)
					if err != nil {
						fmt.Fprintf(&b, "error: %v\n", err)
					}
				}
			case "permission":
				all, r, err := tr.permission(json.RawMessage(spread(d.Input)))
				show(&b, all)
				if err != nil {
					return b.String() + fmt.Sprintf("error: %v\n", err)
				}
				fmt.Fprintf(&b, "asks %s, kind %q, tool %q, fingerprint %.8s\n  detail %s\n", brief(r.Title), r.Kind, r.Tool, r.Fingerprint, brief(r.Detail))
				for _, o := range r.Options {
					fmt.Fprintf(&b, "  option %s %q %s\n", o.ID, o.Name, o.Kind)
				}
			case "note":
				show(&b, tr.note(d.Input))
			case "end":
				var usage *sdk.Usage
				if d.Input != "" {
					if err := json.Unmarshal([]byte(d.Input), &usage); err != nil {
						d.Fatalf(t, "usage: %v", err)
					}
				}
				show(&b, tr.end(usage))
			default:
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			return b.String()
		})
	})
}

var repeated = regexp.MustCompile(`\{\{(.+?)\*(\d+)\}\}`)

func spread(text string) string {
	return repeated.ReplaceAllStringFunc(text, func(m string) string {
		part := repeated.FindStringSubmatch(m)
		n, err := strconv.Atoi(part[2])
		if err != nil {
			panic(err)
		}
		return strings.Repeat(part[1], n)
	})
}

func show(b *strings.Builder, all []said) {
	for _, s := range all {
		if s.delta != nil {
			fmt.Fprintf(b, "  delta %s %s at %d: %s\n", s.delta.Type, s.delta.Stream, s.delta.Offset, brief(s.delta.Text))
			continue
		}
		fmt.Fprintf(b, "%s: %s", s.event.Type, brief(s.event.Text))
		for _, k := range slices.Sorted(maps.Keys(s.event.Attributes)) {
			fmt.Fprintf(b, " %s=%s", k, brief(s.event.Attributes[k]))
		}
		b.WriteString("\n")
	}
}

func brief(text string) string {
	if len(text) <= 400 {
		return strconv.Quote(text)
	}
	return fmt.Sprintf("%q...%q (%d bytes)", text[:wholeRunes(text, 30)], text[len(text)-30:], len(text))
}

// TestTranslatorKeepsItsPromises feeds anything to it. What the deltas of a stream tell, put together, is how the text of the
// event begins that names the stream; offsets have no gaps; nothing is over its bound; every call that was told has an end.
func TestTranslatorKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr := newTranslator("p")
		var all []said
		for range rapid.IntRange(1, 40).Draw(t, "updates") {
			one, err := tr.update(anyUpdate(t))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, one...)
		}
		all = append(all, tr.end(nil)...)

		streams, open := make(map[string]string), make(map[string]bool)
		for _, s := range all {
			if d := s.delta; d != nil {
				if len(d.Text) > maxDelta || d.Text == "" || !utf8.ValidString(d.Text) || d.Offset != uint64(len(streams[d.Stream])) {
					t.Fatalf("delta %+v after %d bytes", d, len(streams[d.Stream]))
				}
				streams[d.Stream] += d.Text
				continue
			}
			e := s.event
			if len(e.Text) > api.MaxEventBytes || !utf8.ValidString(e.Text) {
				t.Fatalf("%s of %d bytes", e.Type, len(e.Text))
			}
			name := e.Attributes[api.AttrStream]
			switch e.Type {
			case api.EventMessage, api.EventThought:
				if e.Text == "" || len(e.Text) > maxText || e.Text != streams[name] {
					t.Fatalf("%s %q of stream %s, which told %q", e.Type, e.Text, name, streams[name])
				}
			case api.EventTool:
				open[e.Attributes[api.AttrTool]] = true
			case api.EventResult:
				if !open[e.Attributes[api.AttrTool]] {
					t.Fatalf("end of a call that never began: %+v", e)
				}
				delete(open, e.Attributes[api.AttrTool])
			}
			delete(streams, name)
		}
		if len(open) > 0 || len(streams) > 0 {
			t.Fatalf("without an end: calls %v, streams %v", open, streams)
		}
	})
}

// TestOpenCallsAreBounded: one call more than may be open ends the oldest, and no other.
func TestOpenCallsAreBounded(t *testing.T) {
	tr := newTranslator("")
	var ended []string
	for n := range maxCalls + 1 {
		all, err := tr.update(json.RawMessage(fmt.Sprintf(`{"sessionUpdate":"tool_call","toolCallId":"%d","title":"t"}`, n)))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			if s.event != nil && s.event.Type == api.EventResult {
				ended = append(ended, s.event.Attributes[api.AttrTool]+" "+s.event.Attributes[api.AttrStatus])
			}
		}
	}
	if !slices.Equal(ended, []string{"0 unfinished"}) || len(tr.calls) != maxCalls {
		t.Errorf("ended %q; %d are open", ended, len(tr.calls))
	}
}

// anyUpdate is one update of a kind that is told.
func anyUpdate(t *rapid.T) json.RawMessage {
	word := rapid.OneOf(rapid.StringN(0, 8, 20), rapid.SampledFrom([]string{strings.Repeat("é", 3000), strings.Repeat("long ", 5000)}))
	m := map[string]any{"sessionUpdate": rapid.SampledFrom([]string{"agent_message_chunk", "agent_thought_chunk", "tool_call", "tool_call_update", "plan"}).Draw(t, "kind")}
	switch m["sessionUpdate"] {
	case "plan":
		m["entries"] = []any{map[string]any{"content": word.Draw(t, "entry"), "priority": "low", "status": "pending"}}
	case "tool_call", "tool_call_update":
		m["toolCallId"] = rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "id")
		m["title"] = word.Draw(t, "title")
		if rapid.Bool().Draw(t, "has content") {
			m["content"] = []any{map[string]any{"type": "content", "content": map[string]any{"type": "text", "text": word.Draw(t, "content")}}}
		}
		if s := rapid.SampledFrom([]string{"", "pending", "in_progress", "completed", "failed"}).Draw(t, "status"); s != "" {
			m["status"] = s
		}
	default:
		m["content"] = map[string]any{"type": "text", "text": word.Draw(t, "text")}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

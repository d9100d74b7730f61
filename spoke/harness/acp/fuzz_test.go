package acp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/acp"
)

// swallow is the standard input of an agent that reads everything and cares for nothing.
type swallow struct{ io.Writer }

func (swallow) Close() error { return nil }

// judge is a sink that looks at the bounds of what it hears.
type judge struct {
	t    *testing.T
	open map[string]bool // tool calls without an end
}

func (j *judge) Event(e acp.Event) {
	if len(e.Text) > api.MaxEventBytes || !utf8.ValidString(e.Text) {
		j.t.Errorf("%s of %d bytes", e.Type, len(e.Text))
	}
	switch e.Type {
	case api.EventTool:
		j.open[e.Attributes[api.AttrTool]] = true
	case api.EventResult:
		delete(j.open, e.Attributes[api.AttrTool])
	}
}

func (j *judge) Delta(d acp.Delta) {
	if d.Text == "" || len(d.Text) > 4<<10 || !utf8.ValidString(d.Text) {
		j.t.Errorf("delta of %d bytes", len(d.Text))
	}
}

// FuzzConversation: whatever an agent writes, every call ends, nothing stays behind, and what is told keeps its bounds. The
// stream is everything that the agent writes, whatever it is asked.
func FuzzConversation(f *testing.F) {
	begin := `{"id":1,"result":` + greeting + "}\n" + `{"id":2,"result":{"sessionId":"s"}}` + "\n"
	f.Add([]byte(""))
	f.Add([]byte("not a message\n"))
	f.Add([]byte(begin + `{"id":3,"result":` + stopped + "}\n"))
	update := func(u string) string {
		return `{"method":"session/update","params":{"sessionId":"s","update":` + u + "}}\n"
	}
	f.Add([]byte(begin + update(`{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"hi"}}`) +
		update(`{"sessionUpdate":"tool_call","toolCallId":"1","title":"t","rawInput":{"a":1},"content":[{"type":"diff","path":"p","oldText":"a","newText":"b"}]}`) +
		update(`{"sessionUpdate":"tool_call_update","toolCallId":"1","status":"completed","rawOutput":[1]}`) +
		update(`{"sessionUpdate":"plan","entries":[{"content":"c","priority":"low","status":"pending"}]}`) +
		update(`{"sessionUpdate":"usage_update","used":1,"size":2,"cost":{"amount":1,"currency":"EUR"}}`) +
		`{"id":9,"method":"session/request_permission","params":{"sessionId":"s","toolCall":{"toolCallId":"1"},"options":[{"optionId":"yes","name":"Y","kind":"allow_once"}]}}` + "\n" +
		`{"method":"$/cancel_request","params":{"requestId":9}}` + "\n" + `{"id":10,"method":"fs/read_text_file"}` + "\n" + "garbage\n" +
		`{"id":3,"error":{"code":-32000,"message":"m","data":{"d":1}}}`))
	f.Fuzz(func(t *testing.T, stream []byte) {
		synctest.Test(t, func(t *testing.T) {
			j := &judge{t: t, open: make(map[string]bool)}
			ctx, stop := context.WithTimeout(context.Background(), time.Minute)
			defer stop()
			// An answer that is read before its request was made is dropped: the agent has to wait.
			c := acp.Config{
				In: swallow{io.Discard}, Out: io.NopCloser(&paced{lines: bytes.SplitAfter(stream, []byte("\n"))}),
				Dir: "/work", Sink: j,
			}
			conv, err := acp.Open(ctx, c, "")
			var start *acp.StartError
			if err != nil {
				if !errors.As(err, &start) {
					t.Errorf("Open = %v", err)
				}
				return
			}
			defer conv.Close()
			s, err := conv.Prompt(ctx, []string{"go"}, func(ctx context.Context, r acp.PermissionRequest) (acp.Choice, error) {
				if r.Title == "" || len(r.Title) > api.MaxApprovalTitle || len(r.Detail) > api.MaxApprovalDetail || len(r.Options) == 0 || len(r.Options) > api.MaxApprovalOptions {
					t.Errorf("asked for %+v", r)
				}
				return acp.Choice{Option: r.Options[0].ID}, nil
			})
			if err == nil && s.Reason == "" {
				t.Error("a turn without an end")
			}
			if len(j.open) > 0 {
				t.Errorf("calls without an end: %v", j.open)
			}
		})
	})
}

// paced gives a line whenever everybody else waits.
type paced struct{ lines [][]byte }

func (p *paced) Read(b []byte) (int, error) {
	time.Sleep(time.Millisecond)
	if len(p.lines) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.lines[0])
	if p.lines[0] = p.lines[0][n:]; len(p.lines[0]) == 0 {
		p.lines = p.lines[1:]
	}
	return n, nil
}

// TestFuzzSeedsGetFar: the seeds of the fuzz test are worth nothing when they fail at the greeting.
func TestFuzzSeedsGetFar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := `{"id":1,"result":` + greeting + "}\n" + `{"id":2,"result":{"sessionId":"s"}}` + "\n" + `{"id":3,"result":` + stopped + "}\n"
		c := acp.Config{
			In: swallow{io.Discard}, Out: io.NopCloser(&paced{lines: bytes.SplitAfter([]byte(stream), []byte("\n"))}),
			Dir: "/work", Sink: &judge{t: t, open: make(map[string]bool)},
		}
		if s, err := prompted(t, c, nobody); err != nil || s.Reason != "end_turn" {
			t.Errorf("Prompt = %+v, %v", s, err)
		}
	})
}

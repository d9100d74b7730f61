package acp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/harness/acp"
)

// hostile is an agent that writes whatever a test wants. Its writes fail when the conversation is over; tests need not care.
type hostile struct {
	stdin  *io.PipeReader
	stdout *io.PipeWriter
	lines  *bufio.Reader
}

// heardMessage is what it was sent.
type heardMessage struct {
	ID     json.RawMessage
	Method string
	Params json.RawMessage
	Result json.RawMessage
	Error  *struct{ Code int }
}

// read waits for a message; an empty one says that there is none any more.
func (h *hostile) read() (m heardMessage) {
	line, err := h.lines.ReadBytes('\n')
	if err == nil {
		_ = json.Unmarshal(line, &m) // a test sees by what is missing
	}
	return m
}

func (h *hostile) say(format string, args ...any) bool {
	_, err := fmt.Fprintf(h.stdout, format+"\n", args...)
	return err == nil
}

func (h *hostile) answer(m heardMessage, result string) {
	h.say(`{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
}

func (h *hostile) chunk(text string) bool {
	return h.say(`{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":%q}}}}`, text)
}

// permit asks for a permission.
func (h *hostile) permit(id, session string) bool {
	return h.say(`{"jsonrpc":"2.0","id":%s,"method":"session/request_permission","params":{"sessionId":%q,"toolCall":{"toolCallId":"c","title":"act"},"options":[{"optionId":"yes","name":"Yes","kind":"allow_once"}]}}`, id, session)
}

const (
	greeting = `{"protocolVersion":1,"agentCapabilities":{"loadSession":true}}`
	stopped  = `{"stopReason":"end_turn"}`
)

// greet does what a good agent does until the prompt, which it returns.
func (h *hostile) greet() heardMessage {
	h.answer(h.read(), greeting)
	h.answer(h.read(), `{"sessionId":"s"}`)
	return h.read()
}

// against runs a test with a hostile agent, in a bubble: there time passes only while everybody waits, and a goroutine that
// is left behind fails the test.
func against(t *testing.T, behave func(h *hostile), test func(t *testing.T, c acp.Config, rec *record)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		inR, inW := io.Pipe()
		outR, outW := io.Pipe()
		h := &hostile{stdin: inR, stdout: outW, lines: bufio.NewReader(inR)}
		g := run.NewGroup(context.Background())
		g.Go("agent", func(context.Context) error {
			defer outW.Close()
			behave(h)
			return nil
		})
		rec := &record{}
		test(t, acp.Config{In: inW, Out: outR, Dir: "/work", Sink: rec}, rec)
		inR.Close()
		outW.Close()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// prompted opens a conversation, does one turn and closes it. The turn has a minute.
func prompted(t *testing.T, c acp.Config, ask acp.Permission) (acp.Stop, error) {
	t.Helper()
	conv, err := acp.Open(context.Background(), c, "")
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer conv.Close()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	return conv.Prompt(ctx, []string{"go"}, ask)
}

func TestStartsThatFail(t *testing.T) {
	for _, tt := range []struct {
		name   string
		behave func(h *hostile)
		kind   api.StartFailure
		says   string
	}{
		{"it ends before it says anything", func(*hostile) {}, api.StartFailureCrash, "initialize has no answer: the agent's output ended"},
		{"it ends within its first message", func(h *hostile) { h.read(); h.stdout.Write([]byte(`{"jsonrpc":`)) }, api.StartFailureCrash, "ended within a message"},
		{"it ends after the greeting", func(h *hostile) { h.answer(h.read(), greeting) }, api.StartFailureCrash, "session/new has no answer"},
		{"it is silent", func(h *hostile) { io.Copy(io.Discard, h.stdin) }, api.StartFailureCrash, "within 2m0s: initialize has no answer"},
		{"it reads nothing", func(h *hostile) { time.Sleep(time.Hour) }, api.StartFailureCrash, "within 2m0s: initialize has no answer"},
		{"it closes its input", func(h *hostile) { h.stdin.Close(); time.Sleep(time.Hour) }, api.StartFailureCrash, "does not read its standard input"},
		{"it is another program", func(h *hostile) { h.say("usage: tool [flags]") }, api.StartFailureCrash, `it printed "usage: tool [flags]", which is no message`},
		{"it prints for ever", func(h *hostile) {
			for h.say("y") {
			}
		}, api.StartFailureConfig, "more than 100 lines"},
		{"it prints one line for ever", func(h *hostile) {
			for part := strings.Repeat("y", 1<<20); ; {
				if _, err := io.WriteString(h.stdout, part); err != nil {
					return
				}
			}
		}, api.StartFailureConfig, "message of more than 16 MiB"},
		{"another version", func(h *hostile) { h.answer(h.read(), `{"protocolVersion":2}`) }, api.StartFailureConfig, "speaks version 2 "},
		{"no version", func(h *hostile) { h.answer(h.read(), `{}`) }, api.StartFailureConfig, "speaks version "},
		{"a greeting that is none", func(h *hostile) { h.answer(h.read(), `[1]`) }, api.StartFailureConfig, "its answer to initialize is [1]"},
		{"no greeting", func(h *hostile) {
			h.say(`{"id":%s,"error":{"code":-32601,"message":"unknown"}}`, h.read().ID)
		}, api.StartFailureConfig, "the agent refused initialize: unknown"},
		{"a defect", func(h *hostile) {
			h.say(`{"id":%s,"error":{"code":-32603,"message":"Internal error","data":{"details":"no model"}}}`, h.read().ID)
		}, api.StartFailureCrash, `Internal error: {"details":"no model"}`},
		{"no session", func(h *hostile) { h.answer(h.read(), greeting); h.answer(h.read(), `{}`) }, api.StartFailureConfig, "its answer to session/new is {}"},
		{"credentials", func(h *hostile) {
			h.answer(h.read(), `{"protocolVersion":1,"authMethods":[{"id":"key","name":"API key"},{"id":"login"}]}`)
			h.say(`{"id":%s,"error":{"code":-32000,"message":"Authentication required"}}`, h.read().ID)
		}, api.StartFailureConfig, "the agent offers: key (API key), login; give it credentials by the environment's env or files"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			against(t, tt.behave, func(t *testing.T, c acp.Config, _ *record) {
				_, err := acp.Open(context.Background(), c, "")
				var start *acp.StartError
				if !errors.As(err, &start) || start.Kind != tt.kind || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("Open = %v (%+v)", err, start)
				}
			})
		})
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	why := errors.New("somebody else wants it")
	against(t, func(h *hostile) { io.Copy(io.Discard, h.stdin) }, func(t *testing.T, c acp.Config, _ *record) {
		ctx, stop := context.WithTimeoutCause(context.Background(), time.Second, why)
		defer stop()
		if _, err := acp.Open(ctx, c, ""); !errors.Is(err, why) {
			t.Errorf("Open = %v", err)
		}
	})
}

func TestTurnsThatFail(t *testing.T) {
	for _, tt := range []struct {
		name   string
		behave func(h *hostile, prompt heardMessage)
		is     error
		says   string
		told   []string // events
	}{
		{"it ends", func(h *hostile, _ heardMessage) { h.chunk("so far") }, acp.ErrEnded, "the agent's output ended", []string{`message "so far"`}},
		{"it ends within a message", func(h *hostile, _ heardMessage) {
			h.chunk("so far")
			io.WriteString(h.stdout, `{"jsonrpc":"2.0","id":3,"result":{"stopRea`)
		}, acp.ErrEnded, "within a message", []string{`message "so far"`}},
		{"it is silent", func(h *hostile, _ heardMessage) { h.chunk("so far"); io.Copy(io.Discard, h.stdin) }, context.DeadlineExceeded, "", []string{`message "so far"`}},
		{"it talks and never ends", func(h *hostile, _ heardMessage) {
			for h.chunk("") {
				time.Sleep(100 * time.Millisecond)
			}
		}, context.DeadlineExceeded, "", nil},
		{"it prints one line for ever", func(h *hostile, _ heardMessage) {
			h.chunk("so far")
			for part := strings.Repeat("y", 1<<20); ; {
				if _, err := io.WriteString(h.stdout, part); err != nil {
					return
				}
			}
		}, acp.ErrProtocol, "message of more than 16 MiB", []string{`message "so far"`}},
		{"it answers an error", func(h *hostile, p heardMessage) {
			h.say(`{"id":%s,"error":{"code":-32603,"message":"Internal error","data":"no money"}}`, p.ID)
		}, nil, "Internal error: no money", nil},
		{"it wants to be authenticated", func(h *hostile, p heardMessage) {
			h.say(`{"id":%s,"error":{"code":-32000,"message":"Authentication required"}}`, p.ID)
		}, nil, "the agent names no way to authenticate; give it credentials", nil},
		{"it answers nothing", func(h *hostile, p heardMessage) { h.answer(p, `null`) }, acp.ErrProtocol, "it answered the prompt with null", nil},
		{"it answers something else", func(h *hostile, p heardMessage) { h.answer(p, `{"stopReason":7}`) }, acp.ErrProtocol, "it answered the prompt with", nil},
		{"it asks and does not read", func(h *hostile, _ heardMessage) {
			for n := 1; h.say(`{"id":%d,"method":"fs/read_text_file","params":{}}`, n); n++ {
			}
		}, context.DeadlineExceeded, "", nil},
		{"it asks for permissions and does not read", func(h *hostile, _ heardMessage) {
			for n := 1; n < 2000 && h.permit(fmt.Sprint(n), "s"); n++ {
				synctest.Wait() // each is taken as far as it can be before the next
			}
		}, context.DeadlineExceeded, "", []string{`tool.call "act"`, `tool.result ""`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			against(t, func(h *hostile) { tt.behave(h, h.greet()) }, func(t *testing.T, c acp.Config, rec *record) {
				var asked atomic.Int32
				_, err := prompted(t, c, func(ctx context.Context, _ acp.PermissionRequest) (acp.Choice, error) {
					asked.Add(1)
					return acp.Choice{}, nil
				})
				if n := asked.Load(); n > 500 {
					t.Errorf("%d requests were taken of an agent that reads no answer", n)
				}
				if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("Prompt = %v", err)
				}
				var refused *acp.AgentError
				if errors.As(err, &refused) != (tt.is == nil) {
					t.Errorf("Prompt = %v; an error of the agent: %+v", err, refused)
				}
				if d := cmp.Diff(tt.told, rec.events()); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

func TestWhatDoesNotEndATurn(t *testing.T) {
	for _, tt := range []struct {
		name   string
		behave func(h *hostile, prompt heardMessage)
		told   []string // events
	}{
		{"the end of the output right after the answer", func(h *hostile, p heardMessage) { h.chunk("done"); h.answer(p, stopped) }, []string{`message "done"`}},
		{"an answer without the end of its line", func(h *hostile, p heardMessage) {
			fmt.Fprintf(h.stdout, `{"id":%s,"result":%s}`, p.ID, stopped)
		}, nil},
		{"updates after the answer", func(h *hostile, p heardMessage) { h.answer(p, stopped); h.chunk("late") }, nil},
		{"a second answer", func(h *hostile, p heardMessage) { h.answer(p, stopped); h.answer(p, `{"stopReason":"refusal"}`) }, nil},
		{"answers to nothing", func(h *hostile, p heardMessage) {
			for _, id := range []string{"99", "0", "-1", `"3"`, "3.5", "1e0", "18446744073709551616"} {
				h.say(`{"id":%s,"result":{"stopReason":"refusal"}}`, id)
			}
			h.answer(p, stopped)
		}, nil},
		{"lines that are no messages", func(h *hostile, p heardMessage) {
			h.say("debug: on")
			h.say("{")
			h.say("\xff\xfe")
			h.say(`{"jsonrpc":"2.0"}`)
			h.say(`{"id":{"a":1},"method":"session/update"}`)
			h.say(`{"id":%s,"method":"x"}`, strings.Repeat("1", 300))
			h.say("  ")
			h.answer(p, stopped)
		}, []string{
			`log "the agent printed a line that is no message: debug: on"`, `log "the agent printed a line that is no message: {"`,
			"log \"the agent printed a line that is no message: \uFFFD\"", `log "the agent printed a line that is no message: {\"jsonrpc\":\"2.0\"}"`,
			`log "the agent printed a line that is no message: {\"id\":{\"a\":1},\"method\":\"session/update\"}"`,
			`log "the agent printed a line that is no message: {\"id\":` + strings.Repeat("1", 300) + `,\"method\":\"x\"}"`,
		}},
		{"updates that are none", func(h *hostile, p heardMessage) {
			h.say(`{"method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"plan","entries":1}}}`)
			h.say(`{"method":"session/update","params":{"sessionId":"s"}}`)
			h.say(`{"method":"session/update","params":[]}`)
			h.say(`{"method":"session/update"}`)
			h.answer(p, stopped)
		}, []string{
			`log "the agent sent an update that is none: {\"sessionUpdate\":\"plan\",\"entries\":1}"`, `log "the agent sent an update that is none: "`,
			`log "the agent sent an update that is none: []"`, `log "the agent sent an update that is none: "`,
		}},
		{"updates of another session", func(h *hostile, p heardMessage) {
			h.say(`{"method":"session/update","params":{"sessionId":"other","update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"x"}}}}`)
			h.answer(p, stopped)
		}, nil},
		{"methods that nobody knows", func(h *hostile, p heardMessage) {
			h.say(`{"method":"of/tomorrow","params":{}}`)
			h.say(`{"method":"$/cancel_request","params":{"requestId":"none"}}`)
			h.say(`{"method":"$/cancel_request","params":7}`)
			h.say(`{"method":"session/request_permission","params":{}}`)
			h.answer(p, stopped)
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			against(t, func(h *hostile) { tt.behave(h, h.greet()) }, func(t *testing.T, c acp.Config, rec *record) {
				stop, err := prompted(t, c, nobody)
				if err != nil || stop.Reason != "end_turn" {
					t.Errorf("Prompt = %+v, %v", stop, err)
				}
				if d := cmp.Diff(tt.told, rec.events()); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

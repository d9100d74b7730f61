package acp_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/harness/acp"
)

// reply is what the agent was answered: the option, "cancelled", or the code of an error.
func reply(m heardMessage) string {
	if m.Error != nil {
		return fmt.Sprintf("%s: error %d", m.ID, m.Error.Code)
	}
	return fmt.Sprintf("%s: %s", m.ID, m.Result)
}

const (
	cancelled = `{"outcome":{"outcome":"cancelled"}}`
	yes       = `{"outcome":{"optionId":"yes","outcome":"selected"}}`
)

func TestRequestsOfTheAgent(t *testing.T) {
	allow := func(context.Context, acp.PermissionRequest) (acp.Choice, error) {
		return acp.Choice{Option: "yes"}, nil
	}
	wait := func(ctx context.Context, _ acp.PermissionRequest) (acp.Choice, error) {
		<-ctx.Done()
		return acp.Choice{Option: "yes"}, nil // too late
	}
	for _, tt := range []struct {
		name string
		ask  acp.Permission
		send func(h *hostile)
		want []string
	}{
		{"a permission", allow, func(h *hostile) { h.permit("7", "s") }, []string{"7: " + yes}},
		{"with a text as its id", allow, func(h *hostile) { h.permit(`"a-b"`, "s") }, []string{`"a-b": ` + yes}},
		{"for another session", allow, func(h *hostile) { h.permit("7", "other") }, []string{"7: error -32602"}},
		{"with params that are none", allow, func(h *hostile) { h.say(`{"id":7,"method":"session/request_permission","params":[]}`) }, []string{"7: error -32602"}},
		{"without options", allow, func(h *hostile) {
			h.say(`{"id":7,"method":"session/request_permission","params":{"sessionId":"s","toolCall":{"toolCallId":"c"}}}`)
		}, []string{"7: error -32602"}},
		{"that is taken back", wait, func(h *hostile) {
			h.permit("7", "s")
			h.say(`{"method":"$/cancel_request","params":{"requestId":7}}`)
		}, []string{"7: " + cancelled}},
		{"with the id of one that is open", wait, func(h *hostile) {
			h.permit("7", "s")
			h.permit("7", "s")
			h.say(`{"method":"$/cancel_request","params":{"requestId":7}}`)
		}, []string{"7: " + cancelled, "7: " + cancelled}},
		{"that nobody can answer", func(context.Context, acp.PermissionRequest) (acp.Choice, error) {
			return acp.Choice{}, errors.New("no")
		},
			func(h *hostile) { h.permit("7", "s") }, []string{"7: " + cancelled}},
		{"whose asking has a defect", func(context.Context, acp.PermissionRequest) (acp.Choice, error) { panic("defect") },
			func(h *hostile) { h.permit("7", "s") }, []string{"7: " + cancelled}},
		{"for a file", allow, func(h *hostile) { h.say(`{"id":7,"method":"fs/read_text_file","params":{"path":"/etc/passwd"}}`) }, []string{"7: error -32601"}},
		{"for a terminal", allow, func(h *hostile) { h.say(`{"id":7,"method":"terminal/create"}`) }, []string{"7: error -32601"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			against(t, func(h *hostile) {
				p := h.greet()
				tt.send(h)
				for range tt.want {
					got = append(got, reply(h.read()))
				}
				h.answer(p, stopped)
				h.read()
			}, func(t *testing.T, c acp.Config, _ *record) {
				if stop, err := prompted(t, c, tt.ask); err != nil || stop.Reason != "end_turn" {
					t.Errorf("Prompt = %+v, %v", stop, err)
				}
			})
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestPermissionOutsideATurn(t *testing.T) {
	var got []string
	against(t, func(h *hostile) {
		h.answer(h.read(), greeting)
		h.answer(h.read(), `{"sessionId":"s"}`)
		h.permit("7", "s")
		got = append(got, reply(h.read()))
		h.answer(h.read(), stopped)
	}, func(t *testing.T, c acp.Config, _ *record) {
		conv, err := acp.Open(context.Background(), c, "")
		if err != nil {
			t.Fatal(err)
		}
		defer conv.Close()
		synctest.Wait() // the request has been heard
		if _, err := conv.Prompt(context.Background(), nil, nobody); err != nil {
			t.Error(err)
		}
	})
	if d := cmp.Diff([]string{"7: " + cancelled}, got); d != "" {
		t.Error(d)
	}
}

func TestOpenPermissionsAreBounded(t *testing.T) {
	var got string
	asked := make(chan struct{}, 2*api.MaxOpenApprovals)
	against(t, func(h *hostile) {
		p := h.greet()
		for n := range api.MaxOpenApprovals + 1 {
			h.permit(fmt.Sprint(n+1), "s")
		}
		got = reply(h.read())
		h.answer(p, stopped)
		for h.read().ID != nil { // the others come with the end of the turn
		}
	}, func(t *testing.T, c acp.Config, _ *record) {
		if _, err := prompted(t, c, func(ctx context.Context, _ acp.PermissionRequest) (acp.Choice, error) {
			asked <- struct{}{}
			<-ctx.Done()
			return acp.Choice{}, ctx.Err()
		}); err != nil {
			t.Error(err)
		}
	})
	if want := fmt.Sprintf("%d: %s", api.MaxOpenApprovals+1, cancelled); got != want || len(asked) != api.MaxOpenApprovals {
		t.Errorf("asked %d times, and the first answer is %s, want %s", len(asked), got, want)
	}
}

// gate is a sink that blocks until it is opened.
type gate struct {
	record
	open chan struct{}
}

func (g *gate) Delta(d acp.Delta) {
	<-g.open
	g.record.Delta(d)
}

// TestFlood: while the sink blocks, the agent cannot say more than the pipe and the reader hold; then nothing is missing.
func TestFlood(t *testing.T) {
	const chunks = 20_000
	g := &gate{}
	written := 0
	against(t, func(h *hostile) {
		p := h.greet()
		for ; written < chunks && h.chunk(fmt.Sprintf("%06d", written)); written++ {
		}
		h.answer(p, stopped)
	}, func(t *testing.T, c acp.Config, _ *record) {
		g.open = make(chan struct{}) // of the bubble
		c.Sink = g
		conv, err := acp.Open(context.Background(), c, "")
		if err != nil {
			t.Fatal(err)
		}
		defer conv.Close()
		turn := run.NewGroup(context.Background())
		turn.Go("prompt", func(ctx context.Context) error {
			_, err := conv.Prompt(ctx, []string{"go"}, nobody)
			return err
		})
		synctest.Wait()
		if written == 0 || written > 2000 {
			t.Errorf("the agent wrote %d updates while nobody took them", written)
		}
		close(g.open)
		if err := turn.Wait(); err != nil {
			t.Error(err)
		}
	})
	var want strings.Builder
	for n := range chunks {
		fmt.Fprintf(&want, "%06d", n)
	}
	var got strings.Builder
	for _, line := range g.events() {
		var text string
		if _, err := fmt.Sscanf(line, "message %q", &text); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got.WriteString(text)
	}
	if got.String() != want.String() {
		t.Errorf("%d of %d bytes arrived, or in another order", got.Len(), want.Len())
	}
}

func TestCloseEndsWhatWaits(t *testing.T) {
	against(t, func(h *hostile) {
		h.greet()
		h.permit("7", "s")
		h.read()
	}, func(t *testing.T, c acp.Config, rec *record) {
		conv, err := acp.Open(context.Background(), c, "")
		if err != nil {
			t.Fatal(err)
		}
		turn := run.NewGroup(context.Background())
		turn.Go("prompt", func(ctx context.Context) error {
			_, err := conv.Prompt(ctx, []string{"go"}, func(ctx context.Context, _ acp.PermissionRequest) (acp.Choice, error) {
				<-ctx.Done()
				return acp.Choice{}, ctx.Err()
			})
			return err
		})
		synctest.Wait()
		if _, err := conv.Prompt(context.Background(), []string{"go"}, nobody); api.CodeOf(err) != api.CodeFailed {
			t.Errorf("a second Prompt beside the first = %v", err)
		}
		conv.Close()
		conv.Close()
		if err := turn.Wait(); err == nil || !strings.Contains(err.Error(), "the conversation is closed") {
			t.Errorf("Prompt = %v", err)
		}
		if d := cmp.Diff([]string{`tool.call "act"`, `tool.result ""`}, rec.events()); d != "" {
			t.Error(d)
		}
		if _, err := conv.Prompt(context.Background(), []string{"go"}, nobody); err == nil {
			t.Error("Prompt after Close succeeds")
		}
	})
}

// TestCancelOfAnAgentThatReadsNothing: Cancel ends with its context, and what was asked is answered nobody.
func TestCancelOfAnAgentThatReadsNothing(t *testing.T) {
	against(t, func(h *hostile) {
		h.greet()
		for n := 1; h.permit(fmt.Sprint(n), "other"); n++ { // until the answers fill the queue
		}
	}, func(t *testing.T, c acp.Config, _ *record) {
		conv, err := acp.Open(context.Background(), c, "")
		if err != nil {
			t.Fatal(err)
		}
		turn, stop := context.WithTimeout(context.Background(), time.Minute)
		defer stop()
		g := run.NewGroup(turn)
		g.Go("prompt", func(ctx context.Context) error {
			_, err := conv.Prompt(ctx, []string{"go"}, nobody)
			return err
		})
		synctest.Wait()
		short, stop2 := context.WithTimeout(context.Background(), time.Second)
		defer stop2()
		if err := conv.Cancel(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Cancel = %v", err)
		}
		if err := g.Wait(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Prompt = %v", err)
		}
		conv.Close()
	})
}

func TestConfigIsChecked(t *testing.T) {
	against(t, func(*hostile) {}, func(t *testing.T, c acp.Config, _ *record) {
		for field, bad := range map[string]acp.Config{
			"acp":     {In: c.In, Out: c.Out, Dir: "/work"},
			"dir":     {In: c.In, Out: c.Out, Sink: c.Sink, Dir: "work"},
			"start":   {In: c.In, Out: c.Out, Sink: c.Sink, Dir: "/work", Start: -1},
			"servers": {In: c.In, Out: c.Out, Sink: c.Sink, Dir: "/work", Servers: []acp.Server{{Name: "x"}}},
		} {
			_, err := acp.Open(context.Background(), bad, "")
			var e *api.Error
			if !errors.As(err, &e) || e.Code != api.CodeInvalid || e.Field != field {
				t.Errorf("%s: Open = %v", field, err)
			}
		}
	})
}

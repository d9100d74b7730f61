package acp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/coder/acp-go-sdk"
	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/acp"
)

// patience bounds every wait of these tests.
const patience = 10 * time.Second

// record is a sink that keeps what it hears, a line each.
type record struct {
	mu    sync.Mutex
	lines []string
	calls int // that run at this moment
}

func (r *record) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if r.calls > 1 {
		r.lines = append(r.lines, "two calls at once")
	}
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
	r.calls--
}

func (r *record) Event(e acp.Event) { r.add("%s %q", e.Type, e.Text) }
func (r *record) Delta(d acp.Delta) { r.add("delta %s %d %q", d.Stream, d.Offset, d.Text) }

func (r *record) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.lines...)
}

// events are the lines that are no deltas.
func (r *record) events() []string {
	var all []string
	for _, line := range r.all() {
		if !strings.HasPrefix(line, "delta ") {
			all = append(all, line)
		}
	}
	return all
}

// agent is made with the SDK's side of an agent; tests replace what it does with a prompt.
type agent struct {
	conn    *sdk.AgentSideConnection
	prompt  func(ctx context.Context, p sdk.PromptRequest) (sdk.PromptResponse, error)
	load    func(p sdk.LoadSessionRequest) error // nil: not announced
	http    bool                                 // MCP servers over HTTP are announced
	servers []acp.Server                         // nil: one that the agent starts
	opened  chan sdk.NewSessionRequest
	cancels chan string
}

func (a *agent) Initialize(context.Context, sdk.InitializeRequest) (sdk.InitializeResponse, error) {
	return sdk.InitializeResponse{
		ProtocolVersion:   sdk.ProtocolVersionNumber,
		AgentCapabilities: sdk.AgentCapabilities{LoadSession: a.load != nil, McpCapabilities: sdk.McpCapabilities{Http: a.http}},
		AgentInfo:         &sdk.Implementation{Name: "tester", Version: "3"},
		AuthMethods:       []sdk.AuthMethod{},
	}, nil
}

func (a *agent) NewSession(_ context.Context, p sdk.NewSessionRequest) (sdk.NewSessionResponse, error) {
	a.opened <- p
	return sdk.NewSessionResponse{SessionId: "made"}, nil
}

func (a *agent) LoadSession(ctx context.Context, p sdk.LoadSessionRequest) (sdk.LoadSessionResponse, error) {
	a.say(ctx, sdk.UpdateAgentMessageText("what was said before"))
	return sdk.LoadSessionResponse{}, a.load(p)
}

func (a *agent) Prompt(ctx context.Context, p sdk.PromptRequest) (sdk.PromptResponse, error) {
	return a.prompt(ctx, p)
}

func (a *agent) Cancel(_ context.Context, p sdk.CancelNotification) error {
	a.cancels <- string(p.SessionId)
	return nil
}

func (a *agent) Authenticate(context.Context, sdk.AuthenticateRequest) (sdk.AuthenticateResponse, error) {
	return sdk.AuthenticateResponse{}, errors.New("not offered")
}

func (a *agent) CloseSession(context.Context, sdk.CloseSessionRequest) (sdk.CloseSessionResponse, error) {
	return sdk.CloseSessionResponse{}, errors.New("not offered")
}

func (a *agent) ListSessions(context.Context, sdk.ListSessionsRequest) (sdk.ListSessionsResponse, error) {
	return sdk.ListSessionsResponse{}, errors.New("not offered")
}

func (a *agent) ResumeSession(context.Context, sdk.ResumeSessionRequest) (sdk.ResumeSessionResponse, error) {
	return sdk.ResumeSessionResponse{}, errors.New("not offered")
}

func (a *agent) SetSessionConfigOption(context.Context, sdk.SetSessionConfigOptionRequest) (sdk.SetSessionConfigOptionResponse, error) {
	return sdk.SetSessionConfigOptionResponse{}, errors.New("not offered")
}

func (a *agent) SetSessionMode(context.Context, sdk.SetSessionModeRequest) (sdk.SetSessionModeResponse, error) {
	return sdk.SetSessionModeResponse{}, errors.New("not offered")
}

func (a *agent) say(ctx context.Context, u sdk.SessionUpdate) {
	// A write that fails ends the test's own calls.
	_ = a.conn.SessionUpdate(ctx, sdk.SessionNotification{SessionId: "made", Update: u})
}

// open begins a conversation with the agent.
func open(t *testing.T, a *agent, session string) (*acp.Conversation, *record, error) {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	a.opened, a.cancels = make(chan sdk.NewSessionRequest, 1), make(chan string, 4)
	a.conn = sdk.NewAgentSideConnection(a, outW, inR)
	a.conn.SetLogger(slog.New(slog.DiscardHandler))
	rec := &record{}
	if a.servers == nil {
		a.servers = []acp.Server{{Name: "tools", Command: []string{"serve", "-v"}, Env: []api.EnvVar{{Name: "A", Value: "b"}}}}
	}
	c, err := acp.Open(limited(t), acp.Config{
		In: inW, Out: outR, Dir: "/work", Version: "1", Sink: rec, Prefix: "7.",
		Servers: a.servers,
	}, session)
	if err == nil {
		t.Cleanup(func() {
			c.Close()
			<-a.conn.Done()
		})
	}
	return c, rec, err
}

func limited(t *testing.T) context.Context {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	t.Cleanup(stop)
	return ctx
}

func nobody(context.Context, acp.PermissionRequest) (acp.Choice, error) {
	return acp.Choice{}, errors.New("nobody is asked here")
}

func TestTurn(t *testing.T) {
	var a agent
	a.prompt = func(ctx context.Context, p sdk.PromptRequest) (sdk.PromptResponse, error) {
		a.say(ctx, sdk.UpdateAgentThoughtText("hm"))
		for _, b := range p.Prompt {
			a.say(ctx, sdk.UpdateAgentMessageText("heard "+b.Text.Text+"; "))
		}
		a.say(ctx, sdk.StartToolCall("call-1", "list", sdk.WithStartKind(sdk.ToolKindRead)))
		a.say(ctx, sdk.UpdateToolCall("call-1", sdk.WithUpdateStatus(sdk.ToolCallStatusCompleted)))
		a.say(ctx, sdk.StartToolCall("call-2", "wait"))
		return sdk.PromptResponse{StopReason: sdk.StopReasonEndTurn, Usage: &sdk.Usage{InputTokens: 1, OutputTokens: 2, TotalTokens: 3}}, nil
	}
	c, rec, err := open(t, &a, "")
	if err != nil {
		t.Fatal(err)
	}
	if c.Session() != "made" || c.Loaded() || c.CanLoad() || c.Agent() != "tester/3" {
		t.Errorf("session %q, loaded %v, can load %v, agent %q", c.Session(), c.Loaded(), c.CanLoad(), c.Agent())
	}
	told := <-a.opened
	if told.Cwd != "/work" || len(told.McpServers) != 1 || told.McpServers[0].Stdio == nil || told.McpServers[0].Stdio.Command != "serve" {
		t.Errorf("session/new said %+v", told)
	}
	stop, err := c.Prompt(limited(t), []string{"one", "two"}, nobody)
	if err != nil || stop.Reason != "end_turn" {
		t.Fatalf("Prompt = %+v, %v", stop, err)
	}
	want := []string{
		`delta 7.t1 0 "hm"`, `thought "hm"`,
		`delta 7.m1 0 "heard one; "`, `delta 7.m1 11 "heard two; "`, `message "heard one; heard two; "`,
		`tool.call "list"`, `tool.result ""`, `tool.call "wait"`, `tool.result ""`, `usage "1 tokens in, 2 out, 3 in all"`,
	}
	if d := cmp.Diff(want, rec.all()); d != "" {
		t.Error(d)
	}
}

func TestPermission(t *testing.T) {
	var a agent
	var outcomes []string
	a.prompt = func(ctx context.Context, p sdk.PromptRequest) (sdk.PromptResponse, error) {
		a.say(ctx, sdk.UpdateAgentMessageText("I want to write"))
		for range 2 {
			r, err := a.conn.RequestPermission(ctx, sdk.RequestPermissionRequest{
				SessionId: p.SessionId,
				ToolCall: sdk.ToolCallUpdate{
					ToolCallId: "w", Title: sdk.Ptr("write memory.md"), Kind: sdk.Ptr(sdk.ToolKindEdit), RawInput: map[string]any{"text": "tea"},
				},
				Options: []sdk.PermissionOption{
					{OptionId: "yes", Name: "Allow", Kind: sdk.PermissionOptionKindAllowOnce},
					{OptionId: "no", Name: "Reject", Kind: sdk.PermissionOptionKindRejectOnce},
				},
			})
			switch {
			case err != nil:
				outcomes = append(outcomes, err.Error())
			case r.Outcome.Selected != nil:
				outcomes = append(outcomes, string(r.Outcome.Selected.OptionId))
			default:
				outcomes = append(outcomes, "cancelled")
			}
		}
		return sdk.PromptResponse{StopReason: sdk.StopReasonEndTurn}, nil
	}
	c, rec, err := open(t, &a, "")
	if err != nil {
		t.Fatal(err)
	}
	var asked []acp.PermissionRequest
	answers := []string{"no", "what was not offered"}
	stop, err := c.Prompt(limited(t), []string{"go"}, func(_ context.Context, r acp.PermissionRequest) (acp.Choice, error) {
		rec.add("asked %q", r.Title)
		asked = append(asked, r)
		return acp.Choice{Option: answers[len(asked)-1]}, nil
	})
	if err != nil || stop.Reason != "end_turn" {
		t.Fatalf("Prompt = %+v, %v", stop, err)
	}
	if d := cmp.Diff([]string{"no", "cancelled"}, outcomes); d != "" {
		t.Errorf("what the agent was answered: %s", d)
	}
	want := []string{
		`message "I want to write"`, `tool.call "write memory.md\n{\"text\":\"tea\"}"`,
		`asked "write memory.md"`, `asked "write memory.md"`, `tool.result ""`,
	}
	if d := cmp.Diff(want, rec.events()); d != "" {
		t.Error(d)
	}
	if asked[0].Fingerprint != asked[1].Fingerprint || len(asked[0].Fingerprint) != 64 || asked[0].Detail != `{"text":"tea"}` || asked[0].Kind != "edit" ||
		len(asked[0].Options) != 2 || asked[0].Options[1] != (api.ApprovalOption{ID: "no", Name: "Reject", Kind: api.OptionRejectOnce}) {
		t.Errorf("asked %+v", asked)
	}
}

func TestCancelAnswersWhatIsOpen(t *testing.T) {
	var a agent
	outcomes := make(chan bool, 2)
	a.prompt = func(ctx context.Context, p sdk.PromptRequest) (sdk.PromptResponse, error) {
		for range 2 { // the second comes after the cancellation
			r, err := a.conn.RequestPermission(context.Background(), sdk.RequestPermissionRequest{
				SessionId: p.SessionId, ToolCall: sdk.ToolCallUpdate{ToolCallId: "w"},
				Options: []sdk.PermissionOption{{OptionId: "yes", Name: "Allow", Kind: sdk.PermissionOptionKindAllowOnce}},
			})
			outcomes <- err == nil && r.Outcome.Cancelled != nil
		}
		<-a.cancels
		return sdk.PromptResponse{StopReason: sdk.StopReasonCancelled}, nil
	}
	c, _, err := open(t, &a, "")
	if err != nil {
		t.Fatal(err)
	}
	asks := 0
	stop, err := c.Prompt(limited(t), []string{"go"}, func(ctx context.Context, _ acp.PermissionRequest) (acp.Choice, error) {
		asks++
		if err := c.Cancel(limited(t)); err != nil {
			t.Error(err)
		}
		<-ctx.Done()
		return acp.Choice{Option: "yes"}, nil
	})
	if err != nil || stop.Reason != "cancelled" || !<-outcomes || !<-outcomes || asks != 1 {
		t.Fatalf("Prompt = %+v, %v; asked %d times", stop, err, asks)
	}
	if err := c.Cancel(limited(t)); err != nil || len(a.cancels) != 0 {
		t.Errorf("Cancel without a turn = %v, and the agent heard of it: %d", err, len(a.cancels))
	}
}

func TestLoad(t *testing.T) {
	var loaded string
	a := agent{load: func(p sdk.LoadSessionRequest) error { loaded = string(p.SessionId); return nil }}
	c, rec, err := open(t, &a, "made")
	if err != nil {
		t.Fatal(err)
	}
	if loaded != "made" || !c.Loaded() || !c.CanLoad() || c.Session() != "made" || len(a.opened) != 0 {
		t.Errorf("loaded %q; Loaded %v, CanLoad %v, Session %q", loaded, c.Loaded(), c.CanLoad(), c.Session())
	}
	if d := cmp.Diff([]string(nil), rec.all()); d != "" {
		t.Errorf("the replay of the history was told: %s", d)
	}
}

func TestStartErrors(t *testing.T) {
	a := agent{load: func(sdk.LoadSessionRequest) error { return errors.New("no such conversation") }}
	_, _, err := open(t, &a, "gone")
	var start *acp.StartError
	if !errors.As(err, &start) || start.Kind != api.StartFailureRestore || !strings.Contains(err.Error(), "no such conversation") {
		t.Errorf("Open = %v", err)
	}
	a = agent{} // cannot load
	c, _, err := open(t, &a, "gone")
	if err != nil || c.Loaded() || c.Session() != "made" {
		t.Errorf("Open of an agent that cannot load = %v", err)
	}
}

// A server that runs beside the agent is told to an agent that can use it, when its session is made and when it is loaded.
func TestServersOverHTTP(t *testing.T) {
	servers := []acp.Server{{Name: "tools", Command: []string{"serve"}}, {Name: "index", URL: "http://127.0.0.1:7001/mcp"}}
	_, _, err := open(t, &agent{servers: servers}, "")
	var start *acp.StartError
	if !errors.As(err, &start) || start.Kind != api.StartFailureConfig || !strings.Contains(err.Error(), "spec.mcp_servers[1]") {
		t.Errorf("an agent that cannot: %v", err)
	}
	want := sdk.McpServerHttpInline{Name: "index", Type: "http", Url: "http://127.0.0.1:7001/mcp", Headers: []sdk.HttpHeader{}}
	told := func(servers []sdk.McpServer) {
		t.Helper()
		if len(servers) != 2 || servers[0].Stdio == nil || servers[1].Http == nil || !cmp.Equal(*servers[1].Http, want) {
			t.Errorf("the agent was told %+v", servers)
		}
	}
	a := agent{servers: servers, http: true}
	if _, _, err := open(t, &a, ""); err != nil {
		t.Fatal(err)
	}
	told((<-a.opened).McpServers)
	a = agent{servers: servers, http: true, load: func(p sdk.LoadSessionRequest) error { told(p.McpServers); return nil }}
	if c, _, err := open(t, &a, "made"); err != nil || !c.Loaded() {
		t.Errorf("loaded: %v", err)
	}
}

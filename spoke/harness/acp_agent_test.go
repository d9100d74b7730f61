package harness_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	sdk "github.com/coder/acp-go-sdk"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/local"
)

// testAgent is an agent that does what the lines of its prompts say:
//
//	say TEXT        it says it
//	prompt          it says what it was sent
//	history         it says the first lines of all prompts of the session
//	call TITLE      a tool call
//	ask TITLE       it asks for a permission, and says which option it got
//	env NAME        it says the variable
//	stop REASON     it stops for that reason
//	signal A K TEXT it sends a signal by the harness's API, and says what that answered
//	emit TEXT       a note
//	state           it says what the harness says of it
//	fail            it answers with an error
//	once            it goes on at the first time alone; later the turn ends here
//	crash           it prints to its standard error and exits with 3
//	wait            it waits until it is cancelled
//	deaf            it waits and hears nothing, not even SIGTERM
//
// Its sessions are files in HOME. The variable TESTER makes it another one: noload (it cannot load), mute (it cannot be
// greeted), login (it wants to be authenticated), forget (it keeps no session).
type testAgent struct {
	sdk.Agent
	conn    *sdk.AgentSideConnection
	history []string
	deaf    atomic.Bool
}

func runTestAgent() int {
	a := &testAgent{}
	a.conn = sdk.NewAgentSideConnection(a, os.Stdout, os.Stdin)
	<-a.conn.Done()
	if a.deaf.Load() {
		<-time.After(time.Hour)
	}
	return 0
}

func is(kind string) bool { return os.Getenv("TESTER") == kind }

func (a *testAgent) Initialize(_ context.Context, p sdk.InitializeRequest) (sdk.InitializeResponse, error) {
	if is("mute") {
		fmt.Fprintln(os.Stderr, "no configuration")
		os.Exit(4)
	}
	return sdk.InitializeResponse{
		ProtocolVersion: sdk.ProtocolVersionNumber, AgentInfo: &sdk.Implementation{Name: "tester", Version: "7"},
		AgentCapabilities: sdk.AgentCapabilities{LoadSession: !is("noload")},
		AuthMethods:       []sdk.AuthMethod{{Agent: &sdk.AuthMethodAgent{Id: "key", Name: "an API key"}}},
	}, nil
}

func (a *testAgent) file(id sdk.SessionId) string {
	return filepath.Join(os.Getenv("HOME"), "tester-"+string(id))
}

func (a *testAgent) NewSession(_ context.Context, p sdk.NewSessionRequest) (sdk.NewSessionResponse, error) {
	if is("login") {
		return sdk.NewSessionResponse{}, sdk.NewAuthRequired(nil)
	}
	for _, s := range p.McpServers {
		a.history = append(a.history, "server "+s.Stdio.Name)
	}
	return sdk.NewSessionResponse{SessionId: sdk.SessionId(fmt.Sprintf("s%d", time.Now().UnixNano()))}, nil
}

func (a *testAgent) LoadSession(ctx context.Context, p sdk.LoadSessionRequest) (sdk.LoadSessionResponse, error) {
	text, err := os.ReadFile(a.file(p.SessionId))
	if err != nil {
		return sdk.LoadSessionResponse{}, errors.New("there is no such session")
	}
	if err := json.Unmarshal(text, &a.history); err != nil {
		return sdk.LoadSessionResponse{}, err
	}
	return sdk.LoadSessionResponse{}, a.say(ctx, p.SessionId, "replayed")
}

func (a *testAgent) say(ctx context.Context, id sdk.SessionId, text string) error {
	return a.conn.SessionUpdate(ctx, sdk.SessionNotification{SessionId: id, Update: sdk.UpdateAgentMessageText(text)})
}

func (a *testAgent) Prompt(ctx context.Context, p sdk.PromptRequest) (sdk.PromptResponse, error) {
	var texts []string
	for _, b := range p.Prompt {
		texts = append(texts, b.Text.Text)
	}
	a.history = append(a.history, texts[len(texts)-1])
	if text, err := json.Marshal(a.history); err == nil && !is("forget") {
		_ = os.WriteFile(a.file(p.SessionId), text, 0o600)
	}
	_ = os.WriteFile(filepath.Join(os.Getenv("HOME"), "turns"), fmt.Append(nil, len(a.history)), 0o600)
	for line := range strings.Lines(strings.Join(texts, "\n")) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		stop, err := a.do(ctx, p.SessionId, word, rest, texts)
		if stop != "" || err != nil {
			return sdk.PromptResponse{StopReason: stop}, err
		}
	}
	return sdk.PromptResponse{StopReason: sdk.StopReasonEndTurn}, nil
}

func (a *testAgent) do(ctx context.Context, id sdk.SessionId, word, rest string, texts []string) (sdk.StopReason, error) {
	switch word {
	case "say":
		return "", a.say(ctx, id, rest)
	case "prompt":
		return "", a.say(ctx, id, strings.Join(texts, "|"))
	case "history":
		return "", a.say(ctx, id, strings.Join(a.history, ","))
	case "env":
		return "", a.say(ctx, id, rest+"="+os.Getenv(rest))
	case "call":
		start := sdk.StartToolCall("call-1", rest, sdk.WithStartKind(sdk.ToolKindExecute), sdk.WithStartStatus(sdk.ToolCallStatusInProgress))
		end := sdk.UpdateToolCall("call-1", sdk.WithUpdateStatus(sdk.ToolCallStatusCompleted), sdk.WithUpdateContent([]sdk.ToolCallContent{sdk.ToolContent(sdk.TextBlock("called"))}))
		return "", errors.Join(
			a.conn.SessionUpdate(ctx, sdk.SessionNotification{SessionId: id, Update: start}),
			a.conn.SessionUpdate(ctx, sdk.SessionNotification{SessionId: id, Update: end}))
	case "ask":
		r, err := a.conn.RequestPermission(ctx, sdk.RequestPermissionRequest{
			SessionId: id, ToolCall: sdk.ToolCallUpdate{ToolCallId: "call-9", Title: &rest, RawInput: map[string]any{"do": rest}},
			Options: []sdk.PermissionOption{
				{OptionId: "always", Name: "Always", Kind: sdk.PermissionOptionKindAllowAlways},
				{OptionId: "yes", Name: "Yes", Kind: sdk.PermissionOptionKindAllowOnce},
				{OptionId: "no", Name: "No", Kind: sdk.PermissionOptionKindRejectOnce},
			},
		})
		if err != nil {
			return "", err
		}
		if r.Outcome.Selected == nil {
			return sdk.StopReasonCancelled, nil
		}
		return "", a.say(ctx, id, "got "+string(r.Outcome.Selected.OptionId))
	case "once":
		file := filepath.Join(os.Getenv("HOME"), "once")
		if _, err := os.Stat(file); err == nil {
			return sdk.StopReasonEndTurn, nil
		}
		return "", os.WriteFile(file, nil, 0o600)
	case "signal":
		to := strings.SplitN(rest, " ", 3)
		got, err := local.Dial(os.Getenv("NAVE_API")).Signal(ctx, local.SignalRequest{Agent: to[0], Key: to[1], Payload: []byte(to[2])})
		if err != nil {
			return "", a.say(ctx, id, string(api.CodeOf(err))+" "+err.Error())
		}
		return "", a.say(ctx, id, fmt.Sprintf("sent %s %d", got.SessionID, got.Sequence))
	case "emit":
		return "", local.Dial(os.Getenv("NAVE_API")).Emit(ctx, rest, map[string]string{"from": "tester"})
	case "state":
		st, err := local.Dial(os.Getenv("NAVE_API")).State(ctx)
		if err != nil {
			return "", err
		}
		return "", a.say(ctx, id, fmt.Sprintf("%s %s %d %v %v", st.Agent, st.Key, st.Attempt, st.Signals, st.StateLost))
	case "stop":
		return sdk.StopReason(rest), nil
	case "fail":
		return "", errors.New("the model is away")
	case "crash":
		fmt.Fprintln(os.Stderr, "first line")
		fmt.Fprintln(os.Stderr, "out of memory")
		os.Exit(3)
	case "wait":
		if err := a.say(ctx, id, "waiting"); err != nil {
			return "", err
		}
		<-ctx.Done()
		return sdk.StopReasonCancelled, nil
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		a.deaf.Store(true)
		if err := a.say(ctx, id, "deaf"); err != nil {
			return "", err
		}
		<-time.After(time.Hour)
	}
	return "", nil
}

func (a *testAgent) Cancel(context.Context, sdk.CancelNotification) error { return nil } // the connection ends the prompt's context

// Command scribe is an agent for the Agent Client Protocol: it keeps a memory in a file, and asks before it writes.
//
// It needs no model. What it can do is in README.md beside it. A harness starts it for each turn and talks to it over
// standard input and output; the conversation is kept in HOME, so that the next process can load it. It imports nothing
// of Nave: any program that speaks the protocol can be an agent.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	acp "github.com/coder/acp-go-sdk"
)

var version = "source" // set when it is built

func main() {
	home, err := os.UserHomeDir()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scribe:", err)
		os.Exit(1)
	}
	a := newAgent(home)
	a.client = acp.NewAgentSideConnection(a, os.Stdout, os.Stdin)
	a.client.SetLogger(slog.New(slog.DiscardHandler)) // standard error is for what people are to see
	<-a.client.Done()                                 // standard input has ended: nobody asks for anything any more
}

// agent is the scribe. Every session has a file in HOME and a workspace.
type agent struct {
	unsupported
	home   string
	client *acp.AgentSideConnection

	mu       sync.Mutex
	sessions map[acp.SessionId]*conversation // that this process made or loaded; guarded by mu
}

func newAgent(home string) *agent {
	return &agent{home: home, sessions: make(map[acp.SessionId]*conversation)}
}

// Initialize says what the scribe can do.
func (a *agent) Initialize(context.Context, acp.InitializeRequest) (acp.InitializeResponse, error) {
	return acp.InitializeResponse{
		ProtocolVersion:   acp.ProtocolVersionNumber,
		AgentCapabilities: acp.AgentCapabilities{LoadSession: true},
		AgentInfo:         &acp.Implementation{Name: "scribe", Version: version},
		AuthMethods:       []acp.AuthMethod{},
	}, nil
}

// NewSession begins a conversation.
func (a *agent) NewSession(_ context.Context, p acp.NewSessionRequest) (acp.NewSessionResponse, error) {
	c := &conversation{file: fileOf(a.home, rand.Text()), workspace: p.Cwd}
	if err := c.save(); err != nil {
		return acp.NewSessionResponse{}, err
	}
	id := acp.SessionId(c.id())
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions[id] = c
	return acp.NewSessionResponse{SessionId: id}, nil
}

// LoadSession goes on with a conversation of a former process, and replays what was said.
func (a *agent) LoadSession(ctx context.Context, p acp.LoadSessionRequest) (acp.LoadSessionResponse, error) {
	c, err := load(a.home, string(p.SessionId))
	if err != nil {
		return acp.LoadSessionResponse{}, err
	}
	c.workspace = p.Cwd
	a.mu.Lock()
	a.sessions[p.SessionId] = c
	a.mu.Unlock()
	for _, e := range c.History {
		err := errors.Join(
			a.client.SessionUpdate(ctx, acp.SessionNotification{SessionId: p.SessionId, Update: acp.UpdateUserMessageText(e.Asked)}),
			a.client.SessionUpdate(ctx, acp.SessionNotification{SessionId: p.SessionId, Update: acp.UpdateAgentMessageText(e.Answered)}),
		)
		if err != nil {
			return acp.LoadSessionResponse{}, err
		}
	}
	return acp.LoadSessionResponse{}, nil
}

// Prompt does one turn. Its context ends when the client cancels it.
func (a *agent) Prompt(ctx context.Context, p acp.PromptRequest) (acp.PromptResponse, error) {
	a.mu.Lock()
	c := a.sessions[p.SessionId]
	a.mu.Unlock()
	if c == nil {
		return acp.PromptResponse{}, fmt.Errorf("there is no session %s", p.SessionId)
	}
	t := &turn{client: a.client, session: p.SessionId, c: c}
	err := t.work(ctx, p.Prompt)
	if serr := c.save(); err == nil {
		err = serr
	}
	switch {
	case ctx.Err() != nil:
		return acp.PromptResponse{StopReason: acp.StopReasonCancelled}, nil
	case err != nil:
		return acp.PromptResponse{}, err
	}
	return acp.PromptResponse{StopReason: acp.StopReasonEndTurn, Usage: t.usage()}, nil
}

// Cancel has nothing to do: the SDK ends the context of the prompt.
func (a *agent) Cancel(context.Context, acp.CancelNotification) error { return nil }

// unsupported is what the protocol has and the scribe does not announce.
type unsupported struct{}

func (unsupported) Authenticate(context.Context, acp.AuthenticateRequest) (acp.AuthenticateResponse, error) {
	return acp.AuthenticateResponse{}, acp.NewMethodNotFound(acp.AgentMethodAuthenticate)
}

func (unsupported) CloseSession(context.Context, acp.CloseSessionRequest) (acp.CloseSessionResponse, error) {
	return acp.CloseSessionResponse{}, acp.NewMethodNotFound(acp.AgentMethodSessionClose)
}

func (unsupported) ListSessions(context.Context, acp.ListSessionsRequest) (acp.ListSessionsResponse, error) {
	return acp.ListSessionsResponse{}, acp.NewMethodNotFound(acp.AgentMethodSessionList)
}

func (unsupported) ResumeSession(context.Context, acp.ResumeSessionRequest) (acp.ResumeSessionResponse, error) {
	return acp.ResumeSessionResponse{}, acp.NewMethodNotFound(acp.AgentMethodSessionResume)
}

func (unsupported) SetSessionConfigOption(context.Context, acp.SetSessionConfigOptionRequest) (acp.SetSessionConfigOptionResponse, error) {
	return acp.SetSessionConfigOptionResponse{}, acp.NewMethodNotFound(acp.AgentMethodSessionSetConfigOption)
}

func (unsupported) SetSessionMode(context.Context, acp.SetSessionModeRequest) (acp.SetSessionModeResponse, error) {
	return acp.SetSessionModeResponse{}, acp.NewMethodNotFound(acp.AgentMethodSessionSetMode)
}

// clerk is an agent of the Agent Client Protocol that does nothing but call the tools of the servers beside it.
//
// Each line of a prompt is done, in order: "tools" lists what there is, "call NAME JSON" calls a tool with arguments,
// "wait SECONDS" waits.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/coder/acp-go-sdk"
)

func main() {
	a := newClerk(os.Getenv("HOME"))
	conn := acp.NewAgentSideConnection(a, os.Stdout, os.Stdin)
	conn.SetLogger(slog.New(slog.DiscardHandler))
	a.connected(conn)
	<-conn.Done() // standard input was closed: the turn is over
}

// conversation is the id of the one conversation that a home has.
const conversation = "clerk"

// clerk is the agent.
type clerk struct {
	acp.Agent // nil: nobody calls what is not offered below
	home      string
	conn      *acp.AgentSideConnection
	ready     chan struct{} // closed when conn is there

	mu      sync.Mutex
	servers []acp.McpServer // that the client named; guarded by mu
}

func newClerk(home string) *clerk { return &clerk{home: home, ready: make(chan struct{})} }

func (a *clerk) connected(conn *acp.AgentSideConnection) {
	a.conn = conn
	close(a.ready)
}

// Initialize says that tool servers over HTTP can be used: without that, none that runs in a container of its own is given.
func (a *clerk) Initialize(context.Context, acp.InitializeRequest) (acp.InitializeResponse, error) {
	return acp.InitializeResponse{
		ProtocolVersion:   acp.ProtocolVersionNumber,
		AgentCapabilities: acp.AgentCapabilities{LoadSession: true, McpCapabilities: acp.McpCapabilities{Http: true}},
	}, nil
}

// NewSession begins the conversation.
func (a *clerk) NewSession(_ context.Context, p acp.NewSessionRequest) (acp.NewSessionResponse, error) {
	a.use(p.McpServers)
	return acp.NewSessionResponse{SessionId: conversation}, os.WriteFile(a.file(), nil, 0o600)
}

// LoadSession goes on with it. Tool servers are named each time.
func (a *clerk) LoadSession(_ context.Context, p acp.LoadSessionRequest) (acp.LoadSessionResponse, error) {
	a.use(p.McpServers)
	_, err := os.Stat(a.file())
	return acp.LoadSessionResponse{}, err
}

func (a *clerk) use(servers []acp.McpServer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.servers = servers
}

func (a *clerk) file() string { return filepath.Join(a.home, "clerk") }

// Cancel has nothing to do: the library ends the context of the prompt.
func (a *clerk) Cancel(context.Context, acp.CancelNotification) error { return nil }

// Prompt does one turn.
func (a *clerk) Prompt(ctx context.Context, p acp.PromptRequest) (acp.PromptResponse, error) {
	<-a.ready
	a.mu.Lock()
	servers := a.servers
	a.mu.Unlock()
	t, err := begin(ctx, a.conn, servers)
	if err == nil {
		err = errors.Join(t.work(ctx, p.Prompt), t.close())
	}
	switch {
	case ctx.Err() != nil:
		return acp.PromptResponse{StopReason: acp.StopReasonCancelled}, nil
	case err != nil:
		return acp.PromptResponse{}, fmt.Errorf("clerk: %w", err)
	}
	return acp.PromptResponse{StopReason: acp.StopReasonEndTurn}, nil
}

package acp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	sdk "github.com/coder/acp-go-sdk"

	"github.com/nave-dev/nave/api"
)

// greeting is what Nave wants to know of the agent's answer to initialize. Everything else in it may be as it likes.
type greeting struct {
	Version      json.RawMessage `json:"protocolVersion"`
	Capabilities struct {
		LoadSession bool `json:"loadSession"`
		MCP         struct {
			HTTP bool `json:"http"`
		} `json:"mcpCapabilities"`
	} `json:"agentCapabilities"`
	Info struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	} `json:"agentInfo"`
	Methods []struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"authMethods"`
}

func (g *greeting) agent() string {
	if g.Info.Name == "" {
		return ""
	}
	return cut(g.Info.Name, maxName) + "/" + cut(g.Info.Version, maxName)
}

// Codes of errors that mean more than that a request failed.
const (
	codeAuthRequired   = -32000
	codeMethodNotFound = -32601
	codeInvalidParams  = -32602
)

// begin greets the agent and makes or loads the session.
func (c *Conversation) begin(ctx context.Context, session string) error {
	raw, err := c.p.call(ctx, sdk.AgentMethodInitialize, sdk.InitializeRequest{
		ProtocolVersion: sdk.ProtocolVersionNumber,
		ClientInfo:      &sdk.Implementation{Name: "nave", Version: c.c.Version},
	}, nil)
	if err != nil {
		return c.startError("initialize", err, codeMethodNotFound, codeInvalidParams)
	}
	if err := json.Unmarshal(raw, &c.greeted); err != nil {
		return c.startError("initialize", fmt.Errorf("%w: its answer to initialize is %s", ErrProtocol, excerpt(raw)))
	}
	if v := string(c.greeted.Version); v != fmt.Sprint(sdk.ProtocolVersionNumber) {
		return &StartError{api.StartFailureConfig, fmt.Errorf(
			"the agent speaks version %s of the Agent Client Protocol, Nave speaks version %d: use a version of the agent that speaks it",
			cut(v, maxName), sdk.ProtocolVersionNumber)}
	}
	if err := c.reachable(); err != nil {
		return err
	}
	if session != "" && c.CanLoad() {
		return c.load(ctx, session)
	}
	var made struct {
		ID string `json:"sessionId"`
	}
	var invalid error
	raw, err = c.p.call(ctx, sdk.AgentMethodSessionNew, sdk.NewSessionRequest{Cwd: c.c.Dir, McpServers: c.servers()}, func(m message) {
		if m.Error != nil {
			return
		}
		if invalid = json.Unmarshal(m.Result, &made); invalid == nil && made.ID != "" && len(made.ID) <= maxSession {
			c.became(made.ID, false)
		}
	})
	if err != nil {
		return c.startError("session/new", err, codeInvalidParams)
	}
	if invalid != nil || made.ID == "" || len(made.ID) > maxSession {
		return c.startError("session/new", fmt.Errorf("%w: its answer to session/new is %s", ErrProtocol, excerpt(raw)))
	}
	return nil
}

// maxSession bounds the agent's id of a session, in bytes: it is kept with the state.
const maxSession = 4 << 10

func (c *Conversation) load(ctx context.Context, session string) error {
	_, err := c.p.call(ctx, sdk.AgentMethodSessionLoad, sdk.LoadSessionRequest{
		SessionId: sdk.SessionId(session), Cwd: c.c.Dir, McpServers: c.servers(),
	}, func(m message) {
		if m.Error == nil {
			c.became(session, true)
		}
	})
	var refused *AgentError
	if errors.As(err, &refused) && refused.Code != codeAuthRequired {
		return &StartError{api.StartFailureRestore, fmt.Errorf("the agent refused to load its session %s: %w", cut(session, maxName), err)}
	}
	if err != nil {
		return c.startError("session/load", err)
	}
	return nil
}

// became keeps which session it is. It is called before anything is read that comes after the agent's answer.
func (c *Conversation) became(session string, loaded bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session, c.loaded = session, loaded
}

// reachable refuses MCP servers that the agent did not say it can use.
func (c *Conversation) reachable() error {
	for i, s := range c.c.Servers {
		if s.URL != "" && !c.greeted.Capabilities.MCP.HTTP {
			return &StartError{api.StartFailureConfig, fmt.Errorf(
				"spec.mcp_servers[%d]: %q runs beside the agent, and the agent does not announce that it can use MCP servers over HTTP (mcpCapabilities.http): "+
					"give the server a command that the agent starts, or use an agent that can", i, s.Name)}
		}
	}
	return nil
}

// servers is the list of MCP servers as the protocol has it: never missing.
func (c *Conversation) servers() []sdk.McpServer {
	list := make([]sdk.McpServer, 0, len(c.c.Servers))
	for _, s := range c.c.Servers {
		if s.URL != "" {
			list = append(list, sdk.McpServer{Http: &sdk.McpServerHttpInline{Name: s.Name, Type: "http", Url: s.URL, Headers: []sdk.HttpHeader{}}})
			continue
		}
		m := &sdk.McpServerStdio{Name: s.Name, Command: s.Command[0], Args: append([]string{}, s.Command[1:]...), Env: []sdk.EnvVariable{}}
		for _, e := range s.Env {
			m.Env = append(m.Env, sdk.EnvVariable{Name: e.Name, Value: e.Value})
		}
		list = append(list, sdk.McpServer{Stdio: m})
	}
	return list
}

// startError says which kind of failed start an error is. Answers with one of the codes are for the definition to mend.
func (c *Conversation) startError(method string, err error, codes ...int) error {
	var start *StartError
	var refused *AgentError
	switch {
	case errors.As(err, &start): // it took too long
		return &StartError{start.Kind, fmt.Errorf("%w: %s has no answer", start.Err, method)}
	case errors.As(err, &refused):
		kind := api.StartFailureCrash
		for _, code := range append(codes, codeAuthRequired) {
			if refused.Code == code {
				kind = api.StartFailureConfig
			}
		}
		return &StartError{kind, fmt.Errorf("the agent refused %s: %w", method, c.explain(err))}
	case errors.Is(err, ErrProtocol):
		return &StartError{api.StartFailureConfig, err}
	case errors.Is(err, ErrEnded):
		return &StartError{api.StartFailureCrash, fmt.Errorf("%s has no answer: %w", method, err)}
	}
	return err
}

// explain adds to the agent's error that it wants to be authenticated what can be done about it.
func (c *Conversation) explain(err error) error {
	var refused *AgentError
	if !errors.As(err, &refused) || refused.Code != codeAuthRequired {
		return err
	}
	offers := "the agent names no way to authenticate"
	var names []string
	for _, m := range c.greeted.Methods[:min(len(c.greeted.Methods), 10)] {
		name := cut(m.ID, maxName)
		if m.Name != "" {
			name += " (" + cut(m.Name, maxName) + ")"
		}
		names = append(names, name)
	}
	if len(names) > 0 {
		offers = "the agent offers: " + strings.Join(names, ", ")
	}
	return fmt.Errorf("%w; %s; give it credentials by the environment's env or files", err, offers)
}

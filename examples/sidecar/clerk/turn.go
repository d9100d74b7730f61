package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/coder/acp-go-sdk"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// turn is one prompt, with a connection to each tool server.
type turn struct {
	conn  *acp.AgentSideConnection
	tools []*mcp.ClientSession
	names []string // of the servers, in the same order
	calls int
}

// begin connects to every server that can be reached by HTTP.
func begin(ctx context.Context, conn *acp.AgentSideConnection, servers []acp.McpServer) (*turn, error) {
	t := &turn{conn: conn}
	for _, s := range servers {
		if s.Http == nil {
			continue // this agent starts none by itself
		}
		c, err := mcp.NewClient(&mcp.Implementation{Name: "clerk", Version: "1"}, nil).Connect(ctx, &mcp.StreamableClientTransport{Endpoint: s.Http.Url}, nil)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("tool server %s: %w", s.Http.Name, err), t.close())
		}
		t.tools, t.names = append(t.tools, c), append(t.names, s.Http.Name)
	}
	return t, nil
}

func (t *turn) close() (err error) {
	for _, c := range t.tools {
		err = errors.Join(err, c.Close())
	}
	return err
}

func (t *turn) work(ctx context.Context, prompt []acp.ContentBlock) error {
	for _, b := range prompt {
		if b.Text == nil {
			continue
		}
		for line := range strings.Lines(b.Text.Text) {
			word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			var err error
			switch word {
			case "tools":
				err = t.list(ctx)
			case "call":
				err = t.call(ctx, rest)
			case "wait":
				err = wait(ctx, rest)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// wait does nothing for a while, so that people can look.
func wait(ctx context.Context, seconds string) error {
	n, err := strconv.Atoi(seconds)
	if err != nil {
		return fmt.Errorf("wait how many seconds? %w", err)
	}
	t := time.NewTimer(time.Duration(n) * time.Second)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// list says which tools there are.
func (t *turn) list(ctx context.Context) error {
	for i, c := range t.tools {
		for tool, err := range c.Tools(ctx, nil) {
			if err != nil {
				return fmt.Errorf("tool server %s: %w", t.names[i], err)
			}
			if err := t.say(ctx, t.names[i]+" has "+tool.Name+"\n"); err != nil {
				return err
			}
		}
	}
	return nil
}

// call calls a tool of the first server that has it, and says what it answered.
func (t *turn) call(ctx context.Context, rest string) error {
	name, text, _ := strings.Cut(rest, " ")
	arguments := map[string]any{}
	if text != "" {
		if err := json.Unmarshal([]byte(text), &arguments); err != nil {
			return t.say(ctx, fmt.Sprintf("The arguments are no JSON: %v\n", err))
		}
	}
	for i, c := range t.tools {
		has, err := offers(ctx, c, name)
		if err != nil {
			return fmt.Errorf("tool server %s: %w", t.names[i], err)
		}
		if !has {
			continue
		}
		t.calls++
		id := acp.ToolCallId(fmt.Sprint("call-", t.calls))
		if err := t.update(ctx, acp.StartToolCall(id, t.names[i]+": "+name, acp.WithStartKind(acp.ToolKindOther), acp.WithStartRawInput(arguments))); err != nil {
			return err
		}
		r, err := c.CallTool(ctx, &mcp.CallToolParams{Name: name, Arguments: arguments})
		if err != nil {
			return fmt.Errorf("tool server %s: %w", t.names[i], err)
		}
		status, said := acp.ToolCallStatusCompleted, textOf(r)
		if r.IsError {
			status = acp.ToolCallStatusFailed
		}
		if err := t.update(ctx, acp.UpdateToolCall(id, acp.WithUpdateStatus(status), acp.WithUpdateContent([]acp.ToolCallContent{acp.ToolContent(acp.TextBlock(said))}))); err != nil {
			return err
		}
		return t.say(ctx, said+"\n")
	}
	return t.say(ctx, "There is no tool "+name+".\n")
}

func offers(ctx context.Context, c *mcp.ClientSession, name string) (bool, error) {
	for tool, err := range c.Tools(ctx, nil) {
		if err != nil || tool.Name == name {
			return err == nil, err
		}
	}
	return false, nil
}

// textOf are the texts of an answer.
func textOf(r *mcp.CallToolResult) string {
	var all []string
	for _, c := range r.Content {
		if text, ok := c.(*mcp.TextContent); ok {
			all = append(all, text.Text)
		}
	}
	return strings.Join(all, "\n")
}

func (t *turn) say(ctx context.Context, text string) error {
	return t.update(ctx, acp.UpdateAgentMessageText(text))
}

func (t *turn) update(ctx context.Context, u acp.SessionUpdate) error {
	return t.conn.SessionUpdate(ctx, acp.SessionNotification{SessionId: conversation, Update: u})
}

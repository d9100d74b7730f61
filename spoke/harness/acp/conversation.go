package acp

import (
	"context"
	"errors"
)

// Conversation is one session of one agent process.
type Conversation struct{}

// Open greets the agent, then loads the session, or makes a new one when session is empty or the agent cannot load. It takes
// c.In and c.Out over, also when it fails. A [*StartError] says what kind of failed start it is: configuration when the agent
// does not speak the protocol's version or wants to be authenticated, restore when it refused to load the session, crash when
// its output ended or it did not answer. When ctx ends, the error is its cause.
func Open(ctx context.Context, c Config, session string) (*Conversation, error) {
	return nil, errors.New("not built")
}

// Session is the agent's own id of the session.
func (c *Conversation) Session() string { return "" }

// Loaded reports whether the session was loaded; else it is new.
func (c *Conversation) Loaded() bool { return false }

// CanLoad reports whether another process of this agent can load the session.
func (c *Conversation) CanLoad() bool { return false }

// Agent is the agent's name and version as it gives them, "name/version"; empty when it gives none.
func (c *Conversation) Agent() string { return "" }

// Prompt sends the blocks of text and waits until the agent answers. One at a time. When the agent answers with an error, it
// is an [*AgentError]; when the agent's output ends before it answers, the error is [ErrEnded]; when ctx ends, its cause, and
// the agent is not told: call Cancel before. Whatever the end, the sink has heard everything of the turn when it returns, open
// tool calls as unfinished ones.
func (c *Conversation) Prompt(ctx context.Context, blocks []string, ask Permission) (Stop, error) {
	return Stop{}, errors.New("not built")
}

// Cancel asks the agent to end the turn; Prompt returns when the agent did, by the rules of the protocol with the reason
// "cancelled". Open requests for permission are answered "cancelled", and those that still come in this turn too. Without a
// turn it does nothing.
func (c *Conversation) Cancel(ctx context.Context) error { return errors.New("not built") }

// Close ends the conversation and waits until nothing of it runs. It is idempotent and tells the agent nothing. A Prompt
// that waits ends with an error.
func (c *Conversation) Close() {}

package acp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	sdk "github.com/coder/acp-go-sdk"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
)

// Conversation is one session of one agent process.
type Conversation struct {
	c       Config
	p       *peer
	greeted greeting

	telling sync.Mutex // held while something is translated and the sink is called; taken before mu

	mu      sync.Mutex
	session string // empty until Open knows it; guarded by mu until then
	loaded  bool
	turn    *turn // that runs; nil between turns; guarded by mu
}

// turn is one prompt until its answer, or until it is given up.
type turn struct {
	translator *translator // guarded by telling
	ask        Permission
	asks       *run.Group                    // calls of ask
	open       map[string]context.CancelFunc // requests without an answer by their ids; guarded by mu
	cancelled  bool                          // guarded by mu
}

// Open greets the agent, then loads the session, or makes a new one when session is empty or the agent cannot load. It takes
// c.In and c.Out over, also when it fails. A [*StartError] says what kind of failed start it is: configuration when the agent
// does not speak the protocol's version or wants to be authenticated, restore when it refused to load the session, crash when
// its output ended or it did not answer. When ctx ends, the error is its cause.
func Open(ctx context.Context, c Config, session string) (*Conversation, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	conv := &Conversation{c: c, p: newPeer(c.In, c.Out, c.Log)}
	conv.p.heard, conv.p.note, conv.p.over = conv.heard, conv.note, func() { conv.endTurn(nil) }
	conv.p.start()
	limit := &StartError{api.StartFailureCrash, fmt.Errorf("the agent did not begin a conversation within %v", c.Start)}
	sctx, stop := context.WithTimeoutCause(ctx, c.Start, limit)
	defer stop()
	if err := conv.begin(sctx, session); err != nil {
		conv.Close()
		return nil, err
	}
	return conv, nil
}

// Session is the agent's own id of the session.
func (c *Conversation) Session() string { return c.session }

// Loaded reports whether the session was loaded; else it is new.
func (c *Conversation) Loaded() bool { return c.loaded }

// CanLoad reports whether another process of this agent can load the session.
func (c *Conversation) CanLoad() bool { return c.greeted.Capabilities.LoadSession }

// Agent is the agent's name and version as it gives them, "name/version"; empty when it gives none.
func (c *Conversation) Agent() string { return c.greeted.agent() }

// Prompt sends the blocks of text and waits until the agent answers. One at a time. When the agent answers with an error, it
// is an [*AgentError]; when the agent's output ends before it answers, the error is [ErrEnded]; when ctx ends, its cause, and
// the agent is not told: call Cancel before. Whatever the end, the sink has heard everything of the turn when it returns, open
// tool calls as unfinished ones.
func (c *Conversation) Prompt(ctx context.Context, blocks []string, ask Permission) (Stop, error) {
	t := &turn{
		translator: newTranslator(c.c.Prefix), ask: ask,
		asks: run.NewGroup(ctx), open: make(map[string]context.CancelFunc),
	}
	c.mu.Lock()
	if c.turn != nil {
		c.mu.Unlock()
		return Stop{}, &api.Error{Code: api.CodeFailed, Op: "prompt", Err: errors.New("a turn runs already")}
	}
	c.turn = t
	c.mu.Unlock()
	defer func() {
		c.endTurn(nil)
		if err := t.asks.Wait(); err != nil {
			c.c.Log.Error("asking for a permission failed", "error", err)
		}
	}()

	req := sdk.PromptRequest{SessionId: sdk.SessionId(c.session), Prompt: make([]sdk.ContentBlock, len(blocks))}
	for i, b := range blocks {
		req.Prompt[i] = sdk.TextBlock(b)
	}
	var resp struct {
		StopReason string     `json:"stopReason"`
		Usage      *sdk.Usage `json:"usage"`
	}
	var invalid error
	raw, err := c.p.call(ctx, sdk.AgentMethodSessionPrompt, req, func(m message) {
		if m.Error == nil {
			invalid = json.Unmarshal(m.Result, &resp)
		}
		c.endTurn(resp.Usage)
	})
	switch {
	case err != nil:
		return Stop{}, c.explain(err)
	case invalid != nil || resp.StopReason == "":
		return Stop{}, fmt.Errorf("%w: it answered the prompt with %s", ErrProtocol, excerpt(raw))
	}
	return Stop{Reason: cut(resp.StopReason, maxName)}, nil
}

// Cancel asks the agent to end the turn; Prompt returns when the agent did, by the rules of the protocol with the reason
// "cancelled". Open requests for permission are answered "cancelled", and those that still come in this turn too. Without a
// turn it does nothing.
func (c *Conversation) Cancel(ctx context.Context) error {
	c.mu.Lock()
	t := c.turn
	if t == nil {
		c.mu.Unlock()
		return nil
	}
	t.cancelled = true
	c.mu.Unlock()
	body, err := json.Marshal(sdk.CancelNotification{SessionId: sdk.SessionId(c.session)})
	if err != nil {
		return err
	}
	// The agent hears of the end of the turn before it hears of its requests.
	err = c.p.send(ctx, message{Method: sdk.AgentMethodSessionCancel, Params: body})
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, stop := range t.open {
		stop()
	}
	return err
}

// Close ends the conversation and waits until nothing of it runs. It is idempotent and tells the agent nothing. A Prompt
// that waits ends with an error.
func (c *Conversation) Close() { c.p.close() }

// endTurn tells what is open and ends the requests for permission. Whoever sees the end of a turn first calls it.
func (c *Conversation) endTurn(usage *sdk.Usage) {
	c.telling.Lock()
	defer c.telling.Unlock()
	c.mu.Lock()
	t := c.turn
	c.turn = nil
	c.mu.Unlock()
	if t == nil {
		return
	}
	t.asks.Stop()
	c.tell(t.translator.end(usage))
}

// tell hands to the sink what was said. The caller holds telling.
func (c *Conversation) tell(all []said) {
	for _, s := range all {
		if s.event != nil {
			c.c.Sink.Event(*s.event)
		} else {
			c.c.Sink.Delta(*s.delta)
		}
	}
}

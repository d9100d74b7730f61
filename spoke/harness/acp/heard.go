package acp

import (
	"context"
	"encoding/json"

	sdk "github.com/coder/acp-go-sdk"

	"github.com/nave-dev/nave/api"
)

// heard does what a message of the agent asks for. The reading task calls it, so everything here is in the agent's order.
func (c *Conversation) heard(m message) {
	switch m.Method {
	case sdk.ClientMethodSessionUpdate:
		c.updated(m.Params)
	case sdk.ClientMethodSessionRequestPermission:
		if m.ID != nil {
			c.asked(m)
		}
	case "$/cancel_request":
		var p struct {
			ID json.RawMessage `json:"requestId"`
		}
		if json.Unmarshal(m.Params, &p) == nil {
			c.takenBack(string(p.ID))
		}
	default: // Nave offers neither files nor terminals: they are on the agent's own machine
		if m.ID != nil {
			c.answer(message{ID: m.ID, Error: sdk.NewMethodNotFound(cut(m.Method, maxName))})
		}
	}
}

// updated takes an update of the session.
func (c *Conversation) updated(params json.RawMessage) {
	var n struct {
		Session string          `json:"sessionId"`
		Update  json.RawMessage `json:"update"`
	}
	if err := json.Unmarshal(params, &n); err != nil {
		c.note("the agent sent an update that is none: " + excerpt(params))
		return
	}
	c.telling.Lock()
	defer c.telling.Unlock()
	t, _ := c.running(n.Session)
	if t == nil {
		return
	}
	all, err := t.translator.update(n.Update)
	if err != nil {
		all = t.translator.note("the agent sent an update that is none: " + excerpt(n.Update))
	}
	c.tell(all)
}

// note tells in the log what was wrong with what the agent sent.
func (c *Conversation) note(text string) {
	c.telling.Lock()
	defer c.telling.Unlock()
	c.mu.Lock()
	t := c.turn
	c.mu.Unlock()
	if t != nil {
		c.tell(t.translator.note(text))
	}
}

// running is the turn of a session, nil when none runs. It reports whether the session is the one of the conversation. The
// caller holds telling.
func (c *Conversation) running(session string) (*turn, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if session != c.session || session == "" {
		return nil, false
	}
	return c.turn, true
}

// asked takes a request for permission.
func (c *Conversation) asked(m message) {
	if answer := c.ask(m); answer != nil {
		c.answer(*answer)
	}
}

// ask tells what a request for permission says of the tool call, and begins to ask. It returns the answer when nobody is to
// be asked.
func (c *Conversation) ask(m message) *message {
	var n struct {
		Session string `json:"sessionId"`
	}
	if err := json.Unmarshal(m.Params, &n); err != nil {
		return &message{ID: m.ID, Error: sdk.NewInvalidParams("the params are not those of the method")}
	}
	c.telling.Lock()
	defer c.telling.Unlock()
	t, known := c.running(n.Session)
	switch {
	case !known:
		return &message{ID: m.ID, Error: sdk.NewInvalidParams("there is no such session")}
	case t == nil:
		return chosen(m.ID, "")
	}
	all, r, err := t.translator.permission(m.Params)
	if err != nil {
		return &message{ID: m.ID, Error: sdk.NewInvalidParams(err.Error())}
	}
	c.tell(all)

	id := string(m.ID)
	ctx, stop := context.WithCancel(t.asks.Context())
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, twice := t.open[id]; twice || t.cancelled || len(t.open) >= api.MaxOpenApprovals {
		stop()
		return chosen(m.ID, "")
	}
	t.open[id] = stop
	t.asks.Go("ask for permission", func(turn context.Context) error { // ends with the turn: Prompt waits for it
		option := ""
		defer func() { // also when ask panics
			stop()
			c.send(turn, *chosen(m.ID, option))
			c.mu.Lock()
			delete(t.open, id) // not before: what waits to be sent counts too, else an agent that does not read opens ever more
			c.mu.Unlock()
		}()
		choice, err := t.ask(ctx, r)
		if err == nil && ctx.Err() == nil && offered(r, choice.Option) {
			option = choice.Option
		}
		return nil
	})
	return nil
}

// offered reports whether the request has the option.
func offered(r PermissionRequest, option string) bool {
	for _, o := range r.Options {
		if o.ID == option {
			return true
		}
	}
	return false
}

// takenBack ends a request for permission that the agent does not want to be answered any more.
func (c *Conversation) takenBack(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turn != nil {
		if stop := c.turn.open[id]; stop != nil {
			stop()
		}
	}
}

// chosen is the answer to a request for permission; no option is "cancelled".
func chosen(id json.RawMessage, option string) *message {
	o := sdk.NewRequestPermissionOutcomeCancelled()
	if option != "" {
		o = sdk.NewRequestPermissionOutcomeSelected(sdk.PermissionOptionId(option))
	}
	body, err := json.Marshal(sdk.RequestPermissionResponse{Outcome: o})
	if err != nil {
		return &message{ID: id, Error: sdk.NewInternalError(err.Error())}
	}
	return &message{ID: id, Result: body}
}

// answer sends an answer from the reading task: while the agent does not read what it is sent, what it says is not read.
func (c *Conversation) answer(m message) { c.send(c.p.tasks.Context(), m) }

func (c *Conversation) send(ctx context.Context, m message) {
	if err := c.p.send(ctx, m); err != nil {
		c.c.Log.Debug("answer not sent", "error", err)
	}
}

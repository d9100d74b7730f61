package acp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/nave-dev/nave/api"
)

// Config is what a conversation needs.
type Config struct {
	In      io.WriteCloser // the agent's standard input; Close closes it, which must end a write that blocks
	Out     io.ReadCloser  // the agent's standard output; Close closes it, which must end a read that blocks
	Dir     string         // working directory that the session is told; absolute
	Servers []Server       // MCP servers that the agent is to use
	Version string         // of Nave, for the agent's logs
	Prefix  string         // begins the name of every stream, so that turns of one attempt do not share names
	Start   time.Duration  // how long Open may take; default 2 min
	Sink    Sink
	Log     *slog.Logger // default: nothing is logged
}

// Server is an MCP server that the agent starts and that talks over its standard input and output, or one that runs already.
type Server struct {
	Name    string
	Command []string // program and arguments; nil: URL is given
	Env     []api.EnvVar
	URL     string // of one that speaks streamable HTTP
}

// Sink takes what the agent says. It is called by one goroutine at a time, in order. It may block; then the agent's output is
// not read, and Close and a Prompt whose context ended wait for it.
type Sink interface {
	// Event takes an event. Its text is valid UTF-8 of at most api.MaxEventBytes, its attributes the caller's to keep.
	Event(Event)
	// Delta takes a piece of a text that will come whole as an event.
	Delta(Delta)
}

// Event is one durable thing that the agent said or did.
type Event struct {
	Type       api.EventType
	Text       string
	Attributes map[string]string // nil for none
}

// Delta is a piece of text of at most 4 KiB. The event that has the text whole names the stream in api.AttrStream.
type Delta struct {
	Stream string
	Type   api.EventType // of that event
	Offset uint64        // bytes of the stream before this piece
	Text   string
}

// Permission asks for a permission and waits for the answer. Several may be under way at once. ctx ends with the turn, with
// Cancel, and when the agent takes the request back; then it returns soon. An error is answered to the agent as "cancelled".
type Permission func(ctx context.Context, r PermissionRequest) (Choice, error)

// PermissionRequest is what an agent asks permission for.
type PermissionRequest struct {
	Title       string // at most api.MaxApprovalTitle bytes, never empty
	Kind        string // of the tool call, as the agent names it; may be empty
	Detail      string // for people; at most api.MaxApprovalDetail bytes
	Fingerprint string // SHA-256 in hex of what is asked for: the same for the same thing
	Tool        string // the agent's id of the tool call, as in the events about it
	Options     []api.ApprovalOption
}

// Choice is the answer to a request for permission.
type Choice struct {
	Option string // id of one of the options; empty: cancelled
}

// Stop is how a turn ended by the agent's own word.
type Stop struct {
	Reason string // end_turn, max_tokens, max_turn_requests, refusal or cancelled; others as the agent says them
}

// StartError says why a conversation did not begin.
type StartError struct {
	Kind api.StartFailure // configuration, restore or crash
	Err  error
}

// Error implements error.
func (e *StartError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *StartError) Unwrap() error { return e.Err }

// AgentError is an error that the agent answered.
type AgentError struct {
	Method  string // of the request
	Code    int    // as JSON-RPC and the protocol have them
	Message string // with the agent's details; at most 4 KiB
}

// Error implements error.
func (e *AgentError) Error() string { return e.Message }

// ErrEnded is the cause of a call that failed because the agent's output ended: the program has ended or closed it.
var ErrEnded = errors.New("the agent's output ended")

// ErrProtocol is the cause of a call that failed because the agent does not keep to the protocol.
var ErrProtocol = errors.New("the agent does not keep to the protocol")

// errClosed is the cause of a call that failed because the conversation was closed.
var errClosed = errors.New("the conversation is closed")

const defaultStart = 2 * time.Minute

func (c *Config) validate() error {
	switch {
	case c.In == nil || c.Out == nil || c.Sink == nil:
		return api.Invalid("acp", "In, Out and Sink are needed")
	case !filepath.IsAbs(c.Dir):
		return api.Invalid("dir", "%q: want an absolute path", c.Dir)
	case c.Start < 0:
		return api.Invalid("start", "%v: want a duration, or 0 for %v", c.Start, defaultStart)
	}
	for _, s := range c.Servers {
		if (len(s.Command) == 0) == (s.URL == "") {
			return api.Invalid("servers", "%q has no command or URL, or both", s.Name)
		}
	}
	if c.Start == 0 {
		c.Start = defaultStart
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

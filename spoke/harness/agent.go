package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/harness/acp"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// closeGrace is how long an agent that has answered may take to end when its standard input has, before SIGTERM.
const closeGrace = 500 * time.Millisecond

// agent is the program at the other end of a conversation. It lives for one turn.
type agent struct {
	in    *os.File      // its standard input
	out   *agentOutput  // its standard output
	sink  *sink         // what it says
	end   func()        // SIGTERM, after the patience SIGKILL
	kill  func()        // SIGKILL
	gone  chan struct{} // closed when neither it nor anything that it started runs
	err   error         // how it ended; once it is gone
	tail  tail          // of its standard error; once it is gone
	talk  *acp.Conversation
	known memory // what outlives it
	fresh bool   // the conversation is new
	lost  bool   // the state of before could not be restored
}

// start runs the agent's program. It returns when the program runs, or why it does not.
func (h *Harness) start(g *run.Group, lost bool) (*agent, error) {
	in, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	ctx, end := context.WithCancel(g.Context())
	kctx, kill := context.WithCancel(context.WithoutCancel(ctx))
	a := &agent{in: w, end: end, kill: kill, gone: make(chan struct{}), lost: lost}
	begun := make(chan *agentOutput, 1)
	g.Go("agent", func(context.Context) error {
		defer kill()
		defer close(a.gone)
		defer in.Close()
		a.err = program{
			argv: h.w.Command, env: h.env(lost), dir: h.w.Workspace, stdin: in, patient: h.c.Patience, kill: kctx.Done(), cgroup: cgroup(h.c.Cgroup),
			stdout: func(ctx context.Context, r *os.File) error {
				out := &agentOutput{file: r, alive: ctx, closed: make(chan struct{})}
				begun <- out
				return out.drain()
			},
			stderr: h.stderr(&a.tail),
		}.run(ctx)
		return nil
	})
	select {
	case a.out = <-begun:
	case <-a.gone:
		select {
		case a.out = <-begun: // it has ended already: the conversation will see that
		default:
			w.Close()
			return nil, a.err
		}
	}
	h.work.opens.Add(1)
	a.sink = &sink{h: h, alive: a.out.alive}
	return a, nil
}

// finish ends the program and waits until it is gone. Gently: it gets the time to end by itself. The conversation must be
// closed, or the program's end closes it.
func (a *agent) finish(kill <-chan struct{}, gently bool) {
	if gently {
		t := time.NewTimer(closeGrace)
		defer t.Stop()
		select {
		case <-a.gone:
		case <-t.C:
		case <-kill:
		}
	}
	a.end()
	select {
	case <-a.gone:
	case <-kill:
		a.kill()
		<-a.gone
	}
}

// discard ends a program of which no turn comes.
func (a *agent) discard() {
	a.talk.Close()
	a.kill()
	<-a.gone
}

// ending says how the program ended and what it said last; once it is gone.
func (a *agent) ending() (how, last string) {
	if a.err == nil {
		return "exit status 0", a.tail.String()
	}
	return a.err.Error(), a.tail.String()
}

// agentOutput is the agent's standard output as its conversation reads it. After Close nobody listens, but what the agent
// says is still read: it is not to die of that.
type agentOutput struct {
	file   *os.File
	alive  context.Context // ends when the program has; what is left to read then is bounded by the pipe
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex // held by a read
	over bool       // guarded by mu
}

// Read implements [io.Reader].
func (o *agentOutput) Read(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return 0, os.ErrClosed
	}
	return o.file.Read(p)
}

// Close ends a read that waits, and returns when it has ended: only then may the deadline go away again.
func (o *agentOutput) Close() (err error) {
	o.once.Do(func() {
		err = o.file.SetReadDeadline(time.Now()) // a pipe takes deadlines
		o.mu.Lock()
		o.over = true
		o.mu.Unlock()
		close(o.closed)
	})
	return err
}

// drain waits for the end of the conversation and reads what comes afterwards.
func (o *agentOutput) drain() error {
	<-o.closed
	if err := o.file.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, o.file)
	return err
}

// sink makes events and deltas of what the agent says.
type sink struct {
	h     *Harness
	alive context.Context // of the program: when it has ended, nothing waits for room
}

// Event implements [acp.Sink].
func (s *sink) Event(e acp.Event) {
	if stream := e.Attributes[api.AttrStream]; stream != "" {
		s.h.deltas.supersede(stream)
	}
	s.put(&harnessv1.Event{Type: string(e.Type), Text: e.Text, Attributes: e.Attributes})
}

// Delta implements [acp.Sink].
func (s *sink) Delta(p acp.Delta) { s.h.deltas.add(p) }

func (s *sink) put(e *harnessv1.Event) { s.h.out.put(s.alive, e) }

// open starts the agent's program and opens the conversation. When it returns an error, nothing of the program runs.
func (h *Harness) open(ctx context.Context, kill <-chan struct{}, g *run.Group, lost bool) (*agent, error) {
	known, err := loadMemory(h.w.Home)
	if err != nil {
		return nil, err
	}
	a, err := h.converse(ctx, kill, g, known, lost)
	var refused *acp.StartError
	if known.Session == "" || !errors.As(err, &refused) || refused.Kind != api.StartFailureRestore {
		return a, err
	}
	switch { // the agent does not load the session that it is known to have had
	case !known.Answered: // it never took anything into it
		h.c.Log.Info("the agent's session is made anew", "workload", h.w.Id, "err", err)
	case h.w.OnStateLoss == string(api.OnStateLossContinue):
		h.say(fmt.Sprintf("the agent's session is lost, a new one begins: %v", err))
		lost = true
	default:
		return nil, err
	}
	return h.converse(ctx, kill, g, memory{}, lost)
}

// converse is one try of open.
func (h *Harness) converse(ctx context.Context, kill <-chan struct{}, g *run.Group, known memory, lost bool) (*agent, error) {
	a, err := h.start(g, lost)
	if err != nil {
		return nil, err
	}
	defer func() {
		if a.talk == nil { // whatever happened: the program's end waits for its output's reader
			a.in.Close()
			a.out.Close()
		}
	}()
	c := acp.Config{
		In: a.in, Out: a.out, Dir: h.w.Workspace, Servers: servers(h.w), Version: h.c.Version, Prefix: fmt.Sprintf("%d.", h.work.opens.Load()),
		Sink: a.sink, Log: h.c.Log,
	}
	talk, err := acp.Open(ctx, c, known.Session)
	if err != nil {
		a.in.Close()
		a.out.Close()
		a.finish(kill, ctx.Err() == nil)
		return nil, a.failure(ctx, err)
	}
	a.talk, a.fresh, a.known = talk, !talk.Loaded(), known
	if a.fresh {
		a.known = remember(talk)
		if err := a.known.store(h.w.Home); err != nil {
			a.talk.Close()
			a.finish(kill, false)
			return nil, err
		}
	}
	return a, nil
}

// failure is why a conversation did not open; the program is gone.
func (a *agent) failure(ctx context.Context, err error) error {
	var s *acp.StartError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !errors.As(err, &s):
		return fmt.Errorf("open a conversation with the agent: %w", err)
	case s.Kind != api.StartFailureCrash:
		return err
	}
	how, last := a.ending()
	return &acp.StartError{Kind: s.Kind, Err: fmt.Errorf("open a conversation with the agent: %w (%s)%s", s.Err, how, below(lastOf(last, startTail)))}
}

func servers(w *harnessv1.Workload) []acp.Server {
	var out []acp.Server
	for _, s := range w.McpServers {
		server := acp.Server{Name: s.Name, Command: s.Command, URL: s.Url}
		for _, e := range s.Env {
			server.Env = append(server.Env, api.EnvVar{Name: e.Name, Value: e.Value})
		}
		out = append(out, server)
	}
	return out
}

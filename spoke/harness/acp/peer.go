package acp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	sdk "github.com/coder/acp-go-sdk"

	"github.com/nave-dev/nave/internal/run"
)

const (
	// outgoing bounds the messages that wait to be written. When it is full, who has something to say waits.
	outgoing = 64
	// lastWord is how long an answer may still come after the agent stopped reading.
	lastWord = time.Second
	// maxGarbage bounds the lines of one conversation that are no messages.
	maxGarbage = 100
	// maxTold bounds how much of such a line is shown, in bytes.
	maxTold = 1 << 10
)

// peer sends requests to the agent and reads what it says, one message after another.
type peer struct {
	in    io.WriteCloser
	out   io.ReadCloser
	log   *slog.Logger
	heard func(m message)   // takes a request or a notification of the agent; called by the reading task
	note  func(text string) // takes what was wrong with a line; called by the reading task
	over  func()            // the agent's output ended; called by the reading task before anybody is told
	tasks *run.Group        // the two tasks, and the calls of Permission
	queue chan []byte       // to the writing task; bound: outgoing

	done   chan struct{} // closed when nothing more is heard; ended is set before
	unread chan struct{} // closed when the agent cannot be written to; werr is set before
	werr   error

	mu      sync.Mutex
	last    uint64             // id of the last request; guarded by mu
	waiting map[uint64]*waiter // requests without an answer; guarded by mu
	closed  bool               // guarded by mu
	ended   error              // why nothing more is heard; guarded by mu until done is closed

	garbage int    // lines that were no messages; of the reading task
	first   string // of them; of the reading task until done is closed
}

// waiter waits for the answer to one request.
type waiter struct {
	answer chan message
	before func(m message) // called by the reading task before anything after the answer is read; may be nil
}

func newPeer(in io.WriteCloser, out io.ReadCloser, log *slog.Logger) *peer {
	return &peer{
		in: in, out: out, log: log,
		tasks:   run.NewGroup(context.Background()), // its owner ends it by close
		queue:   make(chan []byte, outgoing),
		done:    make(chan struct{}),
		unread:  make(chan struct{}),
		waiting: make(map[uint64]*waiter),
	}
}

// start begins to read and to write.
func (p *peer) start() {
	p.tasks.Go("read the agent", p.read)
	p.tasks.Go("write to the agent", p.write)
}

// close ends both tasks and waits for them.
func (p *peer) close() {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	p.mu.Unlock()
	if first {
		p.tasks.Stop()
		// Whatever the two say, the pipes are of no use any more.
		_ = p.in.Close()
		_ = p.out.Close()
	}
	_ = p.tasks.Wait() // what went wrong is in ended
}

// read hears the agent until its output ends.
func (p *peer) read(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil { // the calls that wait must hear of it
			p.end(fmt.Errorf("reading the agent's output: panic: %v", v))
			panic(v)
		}
		p.end(err)
		err = nil
	}()
	l := newLines(p.out)
	for {
		line, err := l.next()
		if ctx.Err() != nil {
			return errClosed
		}
		if len(line) > 0 && (err == nil || errors.Is(err, io.EOF) && json.Valid(line)) {
			if err := p.line(line); err != nil {
				return err
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, ErrProtocol):
			return err
		case errors.Is(err, io.EOF) && len(line) > 0 && !json.Valid(line):
			return fmt.Errorf("%w within a message", ErrEnded)
		case errors.Is(err, io.EOF):
			return ErrEnded
		default:
			return fmt.Errorf("%w: %v", ErrEnded, err)
		}
	}
}

// line takes one line of the agent's output.
func (p *peer) line(line []byte) error {
	m, err := parse(line)
	switch {
	case err != nil:
		return p.refuse(line)
	case m.Method != "":
		p.heard(m)
		return nil
	}
	p.mu.Lock()
	w := p.waiting[m.number()]
	delete(p.waiting, m.number())
	p.mu.Unlock()
	if w == nil {
		p.log.Debug("answer to no request", "id", string(m.ID))
		return nil
	}
	if w.before != nil {
		w.before(m)
	}
	w.answer <- m // holds one, and there is one
	return nil
}

// refuse counts a line that is no message, and tells it.
func (p *peer) refuse(line []byte) error {
	text := excerpt(line)
	if p.garbage++; p.garbage == 1 {
		p.first = text
	}
	if p.garbage > maxGarbage {
		return fmt.Errorf("%w: more than %d lines of its standard output are no messages", ErrProtocol, maxGarbage)
	}
	p.note("the agent printed a line that is no message: " + text)
	return nil
}

// excerpt is the beginning of what the agent sent, for people.
func excerpt(raw []byte) string {
	return strings.ToValidUTF8(shorten(string(raw[:min(len(raw), 2*maxTold)]), len(raw), maxTold), "\uFFFD")
}

// end tells everybody that nothing more is heard.
func (p *peer) end(err error) {
	if err == nil {
		err = ErrEnded
	}
	if p.first != "" && !errors.Is(err, errClosed) {
		err = fmt.Errorf("%w; it printed %q, which is no message", err, p.first)
	}
	defer func() {
		p.mu.Lock()
		p.ended = err
		p.mu.Unlock()
		close(p.done)
	}()
	p.over()
}

// write sends what is in the queue.
func (p *peer) write(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case line := <-p.queue:
			if _, err := p.in.Write(line); err != nil {
				p.werr = err
				close(p.unread)
				return nil
			}
		}
	}
}

// send puts a message into the queue. When that is full, it waits while ctx lives.
func (p *peer) send(ctx context.Context, m message) error {
	line, err := encode(m)
	if err != nil {
		return err
	}
	select { // there may be room although ctx has ended: the answers to open requests come then
	case p.queue <- line:
		return nil
	default:
	}
	select {
	case p.queue <- line:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-p.done:
		return p.ended
	case <-p.unread:
		return fmt.Errorf("%w: it does not read its standard input: %v", ErrEnded, p.werr)
	}
}

// call sends a request and waits for its answer. before, when it is not nil, is called in between, while nothing is read.
func (p *peer) call(ctx context.Context, method string, params any, before func(message)) (json.RawMessage, error) {
	body, err := json.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", method, err)
	}
	w := &waiter{answer: make(chan message, 1), before: before}
	p.mu.Lock()
	p.last++
	id := p.last
	p.waiting[id] = w
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.waiting, id)
		p.mu.Unlock()
	}()
	m := message{ID: json.RawMessage(fmt.Sprint(id)), Method: method, Params: body}
	if err := p.send(ctx, m); err != nil {
		return nil, err
	}
	return p.await(ctx, w, method)
}

// await waits for an answer. One that was heard counts whatever else has happened meanwhile.
func (p *peer) await(ctx context.Context, w *waiter, method string) (json.RawMessage, error) {
	var err error
	select {
	case m := <-w.answer:
		return result(m, method)
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-p.done:
		err = p.ended
	case <-p.unread:
		err = fmt.Errorf("%w: it does not read its standard input: %v", ErrEnded, p.werr)
		t := time.NewTimer(lastWord)
		defer t.Stop()
		select {
		case m := <-w.answer:
			return result(m, method)
		case <-ctx.Done():
		case <-p.done:
			err = p.ended
		case <-t.C:
		}
	}
	select {
	case m := <-w.answer:
		return result(m, method)
	default:
		return nil, err
	}
}

func result(m message, method string) (json.RawMessage, error) {
	if m.Error != nil {
		return nil, &AgentError{Method: method, Code: m.Error.Code, Message: describe(m.Error)}
	}
	return m.Result, nil
}

// maxError bounds the text of an agent's error, in bytes.
const maxError = 4 << 10

// describe makes an error of the agent one text: agents put what matters into the message or into the data.
func describe(e *sdk.RequestError) string {
	text := e.Message
	if text == "" {
		text = fmt.Sprintf("error %d", e.Code)
	}
	switch d := e.Data.(type) {
	case nil:
	case string:
		text += ": " + d
	default:
		if data, err := json.Marshal(d); err == nil {
			text += ": " + string(data)
		}
	}
	return cut(text, maxError)
}

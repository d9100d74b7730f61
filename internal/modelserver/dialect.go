package modelserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// dialect is one of the four ways to speak.
type dialect interface {
	decode(body []byte) (question, error)    // an error is the client's
	whole(m meta, a Answer) object           // the answer as one document
	stream(e *events, m meta) voice          // the answer as events
	fault(status int, message string) object // an error as a document
}

// voice writes one answer as it comes: begin, then text and calls, then end.
type voice interface {
	begin()
	text(piece string)
	call(c Call)
	end()
}

// question is a decoded request.
type question struct {
	conversation Conversation
	stream       bool
	usage        bool // the stream is to tell the usage; dialects that always do leave it false
}

// meta is what an answer says about itself.
type meta struct {
	n         int // number of the request
	model     string
	created   int64 // Unix seconds
	in        int   // tokens
	withUsage bool
}

type object = map[string]any

// endlessPause is between the words of an endless answer whose script says nothing else.
const endlessPause = 20 * time.Millisecond

// perform streams an answer.
func perform(ctx context.Context, v voice, a Answer) {
	v.begin()
	for i, piece := range a.Text {
		if i > 0 && !wait(ctx, a.Pause) {
			return
		}
		v.text(piece)
	}
	for i := 1; a.Endless; i++ {
		pause := a.Pause
		if pause == 0 {
			pause = endlessPause
		}
		if !wait(ctx, pause) {
			return
		}
		v.text(fmt.Sprintf("word %d ", i))
	}
	for _, c := range a.Calls {
		v.call(c)
	}
	v.end()
}

// wait pauses; false when the client has gone away meanwhile.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// halves are the two pieces in which the arguments of a call are streamed: clients must put them together.
func halves(args json.RawMessage) [2]string {
	s := string(args)
	return [2]string{s[:len(s)/2], s[len(s)/2:]}
}

// spoken counts the bytes of an answer and keeps what was said.
type spoken struct {
	said  strings.Builder
	calls []Call
}

func (s *spoken) tokens() int {
	n := s.said.Len()
	for _, c := range s.calls {
		n += len(c.Tool) + len(c.Args)
	}
	return tokens(n)
}

// of is an answer as if it had been streamed.
func of(a Answer) *spoken {
	s := &spoken{calls: a.Calls}
	s.said.WriteString(strings.Join(a.Text, ""))
	return s
}

// events writes server-sent events.
type events struct {
	w http.ResponseWriter
}

func newEvents(w http.ResponseWriter) *events {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	return &events{w}
}

// data sends an event; name may be empty. What a client that has gone away misses is noticed by its context.
func (e *events) data(name string, document any) {
	b, err := json.Marshal(document)
	if err != nil {
		panic(fmt.Sprintf("modelserver: encode an event: %v", err)) // only ever our own maps
	}
	e.line(name, string(b))
}

func (e *events) line(name, data string) {
	if name != "" {
		fmt.Fprintf(e.w, "event: %s\n", name)
	}
	fmt.Fprintf(e.w, "data: %s\n\n", data)
	if f, ok := e.w.(http.Flusher); ok {
		f.Flush()
	}
}

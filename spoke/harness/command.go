package harness

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Request is what an agent of the command protocol reads from its standard input: one JSON document, then the end.
type Request struct {
	Session      string          `json:"session"`
	Key          string          `json:"key"`
	Agent        string          `json:"agent"`
	Instructions string          `json:"instructions,omitempty"`
	Model        string          `json:"model,omitempty"`
	Signals      []RequestSignal `json:"signals"`
}

// RequestSignal is one signal of a request.
type RequestSignal struct {
	ID         string `json:"id"`
	Sequence   uint64 `json:"sequence"`
	Delivery   uint32 `json:"delivery"` // 1 for the first; higher after failures
	Sender     string `json:"sender,omitempty"`
	Payload    string `json:"payload"`
	Encoding   string `json:"encoding,omitempty"`    // "base64" when the payload is not UTF-8
	PayloadRef string `json:"payload_ref,omitempty"` // where a larger payload is; the payload is empty then
	Approval   string `json:"approval,omitempty"`    // the payload is the answer to this request for permission

	Origin []RequestOrigin `json:"origin,omitempty"` // the sessions that led to it, the first one first
}

// RequestOrigin is one session in the chain that led to a signal.
type RequestOrigin struct {
	Session string `json:"session"`
	Agent   string `json:"agent"`
	Key     string `json:"key"`
	Signal  string `json:"signal"` // id of the one that it was working on
}

// request makes the document of a turn.
func request(w *harnessv1.Workload, signals []*harnessv1.Signal) ([]byte, error) {
	r := Request{Session: w.Session, Key: w.Key, Agent: w.Agent, Instructions: w.Instructions, Model: w.Model}
	for _, s := range signals {
		rs := RequestSignal{ID: s.Id, Sequence: s.Sequence, Delivery: s.Deliveries + 1, Sender: s.Sender, Payload: string(s.Payload), PayloadRef: s.PayloadRef, Approval: s.Approval}
		for _, o := range s.Origin {
			rs.Origin = append(rs.Origin, RequestOrigin{Session: o.Session, Agent: o.Agent, Key: o.Key, Signal: o.Signal})
		}
		if !utf8.Valid(s.Payload) {
			rs.Payload, rs.Encoding = base64.StdEncoding.EncodeToString(s.Payload), "base64"
		}
		r.Signals = append(r.Signals, rs)
	}
	return json.Marshal(r)
}

// errTurnLimit and cutError are the causes for which a turn's context ends.
var errTurnLimit = errors.New("turn limit")

type cutError struct {
	kind   string // of the step: cut, cancel or interrupt
	reason string
}

func (e *cutError) Error() string { return e.reason }

// result is how a turn ended.
type result struct {
	outcome api.Outcome
	reason  string // empty when done
	detail  string // the last lines of the standard error of a failed one
	stop    string // why an agent of a conversation stopped, when it says more than that it is done
}

// command runs one turn of the command protocol. The turn is over when everything that it started is gone.
func (h *Harness) command(ctx context.Context, kill <-chan struct{}, signals []*harnessv1.Signal) result {
	doc, err := request(h.w, signals)
	if err != nil {
		return result{outcome: api.OutcomeFailed, reason: fmt.Sprintf("encode the request: %v", err)}
	}
	limit := h.w.TurnLimit.AsDuration()
	ctx, stop := context.WithTimeoutCause(ctx, limit, errTurnLimit)
	defer stop()
	tail, err := h.execute(ctx, kill, h.w.Command, doc)
	var cut *cutError
	switch cause := context.Cause(ctx); {
	case errors.As(cause, &cut) && cut.kind == stepCancel:
		return result{outcome: api.OutcomeCancelled, reason: cut.reason}
	case errors.As(cause, &cut): // also when it ended well: who is told to end and does so is not done
		return result{outcome: api.OutcomeCut, reason: cut.reason}
	case errors.Is(cause, errTurnLimit):
		return tooLong(limit, tail)
	case cause != nil:
		return result{outcome: api.OutcomeCut, reason: cause.Error()}
	case err == nil:
		return result{outcome: api.OutcomeDone}
	default:
		return result{outcome: api.OutcomeFailed, reason: err.Error(), detail: tail}
	}
}

func tooLong(limit time.Duration, tail string) result {
	return result{outcome: api.OutcomeFailed, reason: fmt.Sprintf("the turn took longer than its limit of %v", limit), detail: tail}
}

// execute runs a program in the workspace with the agent's environment; its output becomes events. It returns the last
// lines of the standard error.
func (h *Harness) execute(ctx context.Context, kill <-chan struct{}, argv []string, stdin []byte) (string, error) {
	in, err := unnamedFile(stdin)
	if err != nil {
		return "", err
	}
	defer in.Close()
	var tail tail
	err = program{
		argv: argv, env: h.env(h.work.lost), dir: h.w.Workspace, stdin: in, patient: h.c.Patience, kill: kill, cgroup: cgroup(h.c.Cgroup),
		stdout: func(ctx context.Context, r *os.File) error {
			return readLines(&calm{r: r}, api.MaxEventBytes, func(text string, continued bool) {
				h.out.put(ctx, lineEvent(api.EventMessage, text, continued))
			})
		},
		stderr: h.stderr(&tail),
	}.run(ctx)
	return tail.String(), err
}

// stderr makes events of what a program prints to its standard error, and keeps the last lines.
func (h *Harness) stderr(tail *tail) func(context.Context, *os.File) error {
	return func(ctx context.Context, r *os.File) error {
		return readLines(&calm{r: r}, api.MaxEventBytes, func(text string, continued bool) {
			tail.add(text)
			h.out.put(ctx, lineEvent(api.EventLog, text, continued))
		})
	}
}

func lineEvent(t api.EventType, text string, continued bool) *harnessv1.Event {
	e := &harnessv1.Event{Type: string(t), Text: text}
	if continued {
		e.Attributes = map[string]string{"continued": "true"} // the line goes on in the next event of this type
	}
	return e
}

// env is the whole environment of the agent. What the definition says comes last and counts. Where the workload has no path, that
// of the image is what it begins with.
func (h *Harness) env(lost bool) []string {
	w := h.w
	var env []string
	if w.Path != "" {
		env = append(env, "PATH="+w.Path)
	}
	env = append(env,
		"HOME="+w.Home, "TMPDIR="+w.Temp,
		"NAVE_WORKLOAD="+w.Id, "NAVE_SESSION="+w.Session, "NAVE_KEY="+w.Key, "NAVE_AGENT="+w.Agent,
		"NAVE_ORGANIZATION="+w.Organization, "NAVE_WORKSPACE="+w.Workspace, "NAVE_API="+h.backend.path,
	)
	if w.Model != "" {
		env = append(env, "NAVE_MODEL="+w.Model)
	}
	if len(w.Skills) > 0 {
		env = append(env, "NAVE_SKILLS="+filepath.Join(w.Home, skillsDir))
	}
	if w.Cluster != "" {
		env = append(env, "NAVE_CLUSTER="+w.Cluster)
	}
	if lost {
		env = append(env, "NAVE_STATE_LOST=1") // the state of before could not be restored
	}
	for _, e := range w.Env {
		env = append(env, e.Name+"="+e.Value)
	}
	if w.Path == "" {
		env = append(ofImage(h.c.Environ, h.c.Program), env...)
	}
	return lastOfEach(env)
}

// lastOfEach leaves of each variable the last value, in the place of the first.
func lastOfEach(env []string) []string {
	at := make(map[string]int, len(env))
	out := env[:0]
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if i, ok := at[name]; ok {
			out[i] = kv
			continue
		}
		at[name] = len(out)
		out = append(out, kv)
	}
	return out
}

// unnamedFile holds data for reading and vanishes when it is closed. It is in memory: what a turn is given is bounded, and a
// disk that syncs for somebody else holds up nobody.
func unnamedFile(data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("stdin", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file for standard input: %w", err)
	}
	f := os.NewFile(uintptr(fd), "stdin")
	_, werr := f.Write(data)
	_, serr := f.Seek(0, io.SeekStart)
	if err := errors.Join(werr, serr); err != nil {
		f.Close()
		return nil, fmt.Errorf("write standard input: %w", err)
	}
	return f, nil
}

// tail keeps the last lines of a text, within tailLines and tailBytes.
type tail struct{ lines []string }

const (
	tailLines = 10
	tailBytes = 4 << 10
)

func (t *tail) add(line string) {
	line = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' { // the lines are shown to people
			return -1
		}
		return r
	}, line)
	if len(line) > tailBytes/4 {
		line = strings.ToValidUTF8(line[:tailBytes/4], "") + "…"
	}
	t.lines = append(t.lines, line)
	size := 0
	for i := len(t.lines) - 1; i >= 0; i-- {
		if size += len(t.lines[i]) + 1; size > tailBytes || len(t.lines)-i > tailLines {
			t.lines = append([]string(nil), t.lines[i+1:]...)
			return
		}
	}
}

// startTail bounds the last lines in the reason of a failed start: of a longer one the end would be cut off where people see it.
const startTail = 640 // bytes

// lastOf is the end of a text of lines, within so many bytes: whole lines, or of the last one alone the end.
func lastOf(text string, most int) string {
	if len(text) <= most {
		return text
	}
	text = text[len(text)-most:]
	if _, whole, ok := strings.Cut(text, "\n"); ok && whole != "" {
		return whole
	}
	return "…" + strings.ToValidUTF8(text, "")
}

func (t *tail) String() string { return strings.Join(t.lines, "\n") }

// endPatience is the default time between SIGTERM and SIGKILL.
const endPatience = 2 * time.Second

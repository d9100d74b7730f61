package deliver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience bounds each wait for a signal: far above what one takes.
const patience = 30 * time.Second

// payloadBytes is how large a signal is.
const payloadBytes = 256

// payload is what signal n carries.
func payload(n int) []byte {
	head := fmt.Sprintf("%d ", n)
	return []byte(head + strings.Repeat("x", payloadBytes-len(head)))
}

// document is what a floor's program gets: about what an agent's program gets.
func document(n int) ([]byte, error) {
	return json.Marshal(request{Session: strings.Repeat("s", 30), Signals: []signal{{Sequence: uint64(n), Payload: string(payload(n))}}})
}

// request is what an agent reads: of the command protocol, or as Params a prompt of the Agent Client Protocol.
type request struct {
	Session string   `json:"session"`
	Signals []signal `json:"signals"`
	Params  *params  `json:"params,omitempty"`
}

type params struct {
	Prompt []struct {
		Text string `json:"text"`
	} `json:"prompt"`
}

// payloads are those of its signals.
func (r *request) payloads() (out []string) {
	for _, s := range r.Signals {
		out = append(out, s.Payload)
	}
	if r.Params != nil {
		for _, block := range r.Params.Prompt {
			out = append(out, block.Text[strings.LastIndexByte(block.Text, '\n')+1:]) // of several signals each has a head
		}
	}
	return out
}

type signal struct {
	Sequence uint64 `json:"sequence"`
	Payload  string `json:"payload"`
}

// arrivals are the signals that agents have.
type arrivals struct {
	path string
	pipe *os.File

	mu   sync.Mutex
	next int                    // number of the next signal
	open map[int]chan time.Time // signals on their way; each channel holds one time
}

func newArrivals(dir string) (*arrivals, error) {
	a := &arrivals{path: filepath.Join(dir, "arrivals"), open: map[int]chan time.Time{}}
	if err := syscall.Mkfifo(a.path, 0o600); err != nil {
		return nil, err
	}
	var err error
	a.pipe, err = os.OpenFile(a.path, os.O_RDWR, 0) // for writing too, so that it never ends while no agent has it open
	return a, err
}

// read takes what agents write, until the pipe is closed.
func (a *arrivals) read(context.Context) error {
	for d := json.NewDecoder(a.pipe); ; {
		var r request
		if err := d.Decode(&r); errors.Is(err, os.ErrClosed) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read what agents have: %w", err)
		}
		now := time.Now()
		for _, payload := range r.payloads() {
			var n int
			if _, err := fmt.Sscan(payload, &n); err != nil {
				return fmt.Errorf("an agent has %.40q: %w", payload, err)
			}
			a.mu.Lock()
			c := a.open[n]
			delete(a.open, n)
			a.mu.Unlock()
			if c != nil {
				c <- now
			}
		}
	}
}

// expect numbers a signal that is about to be sent.
func (a *arrivals) expect() (int, <-chan time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next++
	c := make(chan time.Time, 1)
	a.open[a.next] = c
	return a.next, c
}

// await waits until an agent has a signal.
func await(ctx context.Context, c <-chan time.Time) (time.Time, error) {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case at := <-c:
		return at, nil
	case <-t.C:
		return time.Time{}, fmt.Errorf("no agent has the signal after %v", patience)
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	}
}

package acp

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"testing"
)

// TestAnAnswerCountsWhateverElseHappened: an answer that was heard is not lost to the end of the output, of the input, or of
// the caller's patience that came at the same time. Which of them a select sees first is chance, so there are many tries.
func TestAnAnswerCountsWhateverElseHappened(t *testing.T) {
	_, in := io.Pipe()
	out, _ := io.Pipe()
	p := newPeer(in, out, slog.New(slog.DiscardHandler))
	defer p.close()
	p.ended, p.werr = ErrEnded, errors.New("broken pipe")
	close(p.done)
	close(p.unread)
	ctx, stop := context.WithCancel(context.Background())
	stop()
	for range 200 {
		w := &waiter{answer: make(chan message, 1)}
		w.answer <- message{Result: json.RawMessage("7")}
		if raw, err := p.await(ctx, w, "m"); err != nil || string(raw) != "7" {
			t.Fatalf("await = %s, %v", raw, err)
		}
	}
}

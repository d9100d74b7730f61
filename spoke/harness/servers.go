package harness

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Times of tool servers that run beside the agent: how long one may take until it listens, and after how long people are told
// that it is waited for.
const (
	serverLimit = time.Minute
	serverLate  = 3 * time.Second
	serverPause = 100 * time.Millisecond
)

// awaitServers waits until the tool servers listen that run beside the agent: containers of a pod begin at the same time, and an
// agent asks once.
func (h *Harness) awaitServers(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, s := range h.w.McpServers {
		if s.Url == "" {
			continue
		}
		if err := h.awaitServer(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// awaitServer waits for one. An error is its last answer.
func (h *Harness) awaitServer(ctx context.Context, s *harnessv1.McpServer) error {
	at, err := url.Parse(s.Url)
	if err != nil || at.Host == "" {
		return fmt.Errorf("tool server %q: its address is %.100q", s.Name, s.Url)
	}
	began, told := time.Now(), false
	var last error
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", at.Host)
		if err == nil {
			return c.Close()
		}
		if last == nil || ctx.Err() == nil { // that the time is over is no answer
			last = err
		}
		if !told && time.Since(began) > serverLate {
			told = true
			h.say(fmt.Sprintf("waits for the tool server %q: %v", s.Name, last))
		}
		t := time.NewTimer(serverPause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("tool server %q does not listen after %v: %w", s.Name, time.Since(began).Round(time.Second), last)
		}
	}
}

package spoketest

import (
	"context"
	"slices"
	"sync"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// Link is a link whose hub is the test. It begins without a connection. The zero value is ready.
type Link struct {
	mu        sync.Mutex
	h         spoke.LinkHandler
	connected bool
	full      bool
	sent      []api.SpokeMessage
}

// Run implements [spoke.Link].
func (l *Link) Run(ctx context.Context, h spoke.LinkHandler) error {
	l.mu.Lock()
	l.h = h
	l.mu.Unlock()
	<-ctx.Done()
	l.mu.Lock()
	l.h, l.connected = nil, false
	l.mu.Unlock()
	return ctx.Err()
}

// Send implements [spoke.Link].
func (l *Link) Send(m api.SpokeMessage) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.connected:
		return api.Errorf(api.CodeUnavailable, "no connection")
	case l.full:
		return api.Errorf(api.CodeLimit, "the queue is full")
	}
	m.Held, m.Events = slices.Clone(m.Held), slices.Clone(m.Events)
	l.sent = append(l.sent, m)
	return nil
}

// Connect makes a connection and returns the spoke's hello.
func (l *Link) Connect(ctx context.Context, w api.Welcome) (api.Hello, error) {
	l.mu.Lock()
	h := l.h
	l.mu.Unlock()
	if h == nil {
		return api.Hello{}, api.Errorf(api.CodeUnavailable, "the link does not run")
	}
	hello, err := h.Hello(ctx)
	if err != nil {
		return hello, err
	}
	l.mu.Lock()
	l.connected = true
	l.mu.Unlock()
	return hello, h.Connected(ctx, w)
}

// Cut ends the connection; what was sent on it and not taken is lost.
func (l *Link) Cut(ctx context.Context, err error) {
	l.mu.Lock()
	l.connected, l.sent = false, nil
	h := l.h
	l.mu.Unlock()
	if h != nil {
		h.Disconnected(ctx, err)
	}
}

// Fill makes the queue full, or gives it room.
func (l *Link) Fill(full bool) { l.mu.Lock(); l.full = full; l.mu.Unlock() }

// Deliver hands the spoke a message of the hub.
func (l *Link) Deliver(ctx context.Context, m api.HubMessage) error {
	l.mu.Lock()
	h := l.h
	l.mu.Unlock()
	if h == nil {
		return api.Errorf(api.CodeUnavailable, "the link does not run")
	}
	return h.Receive(ctx, m)
}

// Sent takes what the spoke has sent since the last call.
func (l *Link) Sent() []api.SpokeMessage {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.sent
	l.sent = nil
	return out
}

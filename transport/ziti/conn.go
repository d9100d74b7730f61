package ziti

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/nave-dev/nave/internal/run"
)

// connCloseBound is how long the end of a connection or of a hosting waits for the routers to be told. In front of a router
// that hangs the SDK waits for seconds, for each router that carries a service.
const connCloseBound = time.Second

// conn makes a connection of the SDK safe for what net.Conn allows: a write deadline set while a write is under way. The
// SDK reads it without a lock. A deadline counts for the writes that begin after it was set; one under way ends with Close.
type conn struct {
	net.Conn
	close func() error

	writing sync.Mutex // held during a write

	mu       sync.Mutex
	deadline time.Time // of writes; guarded by mu
}

// newConn counts c as a user of its session until it is closed.
func newConn(c net.Conn, s *session) *conn {
	return &conn{Conn: c, close: closing(c.Close, s)}
}

// closing calls f once, waits for it no longer than connCloseBound, and takes a user off the session when it is done. The
// user is counted here.
func closing(f func() error, s *session) func() error {
	s.hold()
	return sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeoutCause(context.Background(), connCloseBound, errNoAnswer)
		defer cancel()
		_, err := run.Bounded(ctx, func() (struct{}, error) {
			defer s.release()
			return struct{}{}, f()
		}, nil)
		return err
	})
}

// Close implements net.Conn. It waits a second at most.
func (c *conn) Close() error { return c.close() }

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	d := c.deadline
	c.mu.Unlock()
	if err := c.Conn.SetWriteDeadline(d); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return nil
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetWriteDeadline(t); err != nil {
		return err
	}
	return c.SetReadDeadline(t)
}

// hosting is one listener of the SDK. It hands out safe connections.
type hosting struct {
	net.Listener
	s     *session
	close func() error
}

func newHosting(l net.Listener, s *session) *hosting {
	return &hosting{l, s, closing(l.Close, s)}
}

// Accept implements net.Listener.
func (h *hosting) Accept() (net.Conn, error) {
	c, err := h.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newConn(c, h.s), nil
}

// Close implements net.Listener. It waits a second at most.
func (h *hosting) Close() error { return h.close() }

// listener hosts a service until it is closed, over as many hostings as that takes. The SDK ends one by itself when it was
// refused something once, as after a controller has come back without its memory.
type listener struct {
	n       *Node
	service string
	open    context.Context // ended by Close
	end     context.CancelCauseFunc

	mu  sync.Mutex
	cur net.Listener // guarded by mu
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		l.mu.Lock()
		cur := l.cur
		l.mu.Unlock()
		c, err := cur.Accept()
		if err == nil {
			return c, nil
		}
		if l.open.Err() != nil {
			return nil, net.ErrClosed
		}
		l.n.cfg.Log.Warn("overlay ended the hosting, hosting anew", "service", l.service, "error", err)
		_ = cur.Close() // it has ended
		if err := l.again(); err != nil {
			return nil, err
		}
	}
}

// again hosts anew, for as long as it takes.
func (l *listener) again() error {
	wait := 100 * time.Millisecond
	for {
		next, err := l.n.host(l.open, l.service)
		if err == nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.open.Err() != nil {
				return errors.Join(net.ErrClosed, next.Close())
			}
			l.cur = next
			l.n.cfg.Log.Info("overlay service is hosted again", "service", l.service)
			return nil
		}
		t := time.NewTimer(wait)
		select {
		case <-l.open.Done():
			t.Stop()
			return net.ErrClosed
		case <-t.C:
		}
		l.n.cfg.Log.Warn("overlay service is not hosted", "service", l.service, "error", err)
		wait = min(2*wait, 10*time.Second)
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.end(net.ErrClosed)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cur.Close()
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cur.Addr()
}

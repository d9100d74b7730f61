package ziti

import (
	"net"
	"sync"
	"time"
)

// conn makes a connection of the SDK safe for what net.Conn allows: a write deadline set while a write is under way. The
// SDK reads it without a lock. A deadline counts for the writes that begin after it was set; one under way ends with Close.
type conn struct {
	net.Conn

	writing sync.Mutex // held during a write

	mu       sync.Mutex
	deadline time.Time // of writes; guarded by mu
}

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

// listener hands out safe connections.
type listener struct {
	net.Listener
}

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

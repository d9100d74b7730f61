package simnet

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// window bounds the bytes of one direction that were written and not read.
const window = 64 << 10

// conn is one end of a connection.
type conn struct {
	n             *Network
	way           pair // from this end to the other
	number        uint64
	out, in       *direction
	local, remote net.Addr
}

// begin counts the connection as open and decides how long it lives. Called at the dialer's end.
func (c *conn) begin() {
	p, _, _ := c.n.look(c.way)
	c.n.mu.Lock()
	c.n.conns[c] = struct{}{}
	c.n.mu.Unlock()
	if p.Life > 0 {
		life := time.AfterFunc(time.Duration(c.out.chance.ExpFloat64()*float64(p.Life)), c.breakNow)
		c.out.mu.Lock()
		c.out.stop = life.Stop
		c.out.mu.Unlock()
	}
}

// forget counts it as open no more.
func (c *conn) forget() {
	c.n.mu.Lock()
	delete(c.n.conns, c)
	c.n.mu.Unlock()
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	k, err := c.in.read(b)
	return k, c.wrap("read", err)
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	k, err := c.out.write(b)
	return k, c.wrap("write", err)
}

func (c *conn) wrap(op string, err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // it is io.EOF itself that readers ask for
		return err
	}
	return &net.OpError{Op: op, Net: network, Source: c.local, Addr: c.remote, Err: err}
}

// Close implements net.Conn. The other side reads what was written before, and then the end, if the path lets it through.
func (c *conn) Close() error {
	c.forget()
	c.out.finish()
	c.in.abandon()
	return nil
}

// breakNow ends both directions at both sides.
func (c *conn) breakNow() {
	c.forget()
	c.out.fail(syscall.ECONNRESET)
	c.in.fail(syscall.ECONNRESET)
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	c.in.setReadDeadline(t)
	c.out.setWriteDeadline(t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.setReadDeadline(t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.setWriteDeadline(t)
	return nil
}

// segment is what one write brought, or the end.
type segment struct {
	data []byte
	at   time.Time // of its arrival
	last bool      // the writer has closed
}

// direction is one half of a connection.
type direction struct {
	n      *Network
	way    pair
	chance *rand.Rand // guarded by mu after the dial

	mu            sync.Mutex
	changed       chan struct{} // guarded by mu; closed and replaced at each change
	queue         []segment     // guarded by mu; at most window bytes
	bytes         int           // guarded by mu; in queue
	newest        time.Time     // guarded by mu; arrival of the last segment
	closed        bool          // guarded by mu; the writer has closed
	abandoned     bool          // guarded by mu; the reader has closed
	err           error         // guarded by mu; the connection broke
	readDeadline  time.Time     // guarded by mu
	writeDeadline time.Time     // guarded by mu
	stop          func() bool   // guarded by mu; of the end by chance; nil without one
}

func newDirection(n *Network, way pair, chance *rand.Rand) *direction {
	return &direction{n: n, way: way, chance: chance, changed: make(chan struct{})}
}

// change does something and wakes who waits.
func (d *direction) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *direction) finish() {
	d.change(func() {
		if !d.closed {
			d.closed = true
			d.queue = append(d.queue, segment{at: d.arrivalLocked(), last: true})
		}
		if d.stop != nil {
			d.stop()
		}
	})
}

func (d *direction) abandon() {
	d.change(func() { d.abandoned, d.queue, d.bytes = true, nil, 0 })
}

func (d *direction) fail(err error) {
	d.change(func() {
		if d.err == nil {
			d.err = err
		}
		if d.stop != nil {
			d.stop()
		}
	})
}

func (d *direction) setReadDeadline(t time.Time)  { d.change(func() { d.readDeadline = t }) }
func (d *direction) setWriteDeadline(t time.Time) { d.change(func() { d.writeDeadline = t }) }

// arrivalLocked is when what is written now arrives: never before what was written earlier.
func (d *direction) arrivalLocked() time.Time {
	p, _, _ := d.n.look(d.way)
	delay := p.Delay
	if p.Jitter > 0 {
		delay += time.Duration(d.chance.Int64N(int64(p.Jitter)))
	}
	if at := time.Now().Add(delay); at.After(d.newest) {
		d.newest = at
	}
	return d.newest
}

// travel is the way of a packet that belongs to no stream.
func (d *direction) travel(ctx context.Context) error {
	d.mu.Lock()
	at := d.arrivalLocked()
	d.mu.Unlock()
	for {
		_, cut, healed := d.n.look(d.way)
		left := time.Until(at)
		if !cut && left <= 0 {
			return nil
		}
		if cut {
			left = -1
		}
		if !wait(ctx.Done(), nil, healed, left) {
			return context.Cause(ctx)
		}
	}
}

// write queues b, in parts that fit.
func (d *direction) write(b []byte) (n int, err error) {
	for {
		_, deaf, _ := d.n.look(pair{d.way.to, d.way.from})
		d.mu.Lock()
		switch {
		case d.err != nil:
			err = d.err
		case d.closed:
			err = net.ErrClosed
		case d.abandoned && !deaf: // else the writer cannot know
			err = syscall.EPIPE
		case passed(d.writeDeadline):
			err = os.ErrDeadlineExceeded
		}
		if err != nil || len(b) == 0 {
			d.mu.Unlock()
			return n, err
		}
		if room := min(len(b), window-d.bytes); room > 0 {
			d.queue = append(d.queue, segment{data: append([]byte(nil), b[:room]...), at: d.arrivalLocked()})
			d.bytes += room
			n, b = n+room, b[room:]
			close(d.changed)
			d.changed = make(chan struct{})
			d.mu.Unlock()
			continue
		}
		changed, left := d.changed, until(d.writeDeadline)
		d.mu.Unlock()
		wait(nil, changed, nil, left)
	}
}

// read takes what has arrived.
func (d *direction) read(b []byte) (int, error) {
	for {
		_, cut, healed := d.n.look(d.way)
		d.mu.Lock()
		left := until(d.readDeadline)
		var err error
		switch {
		case d.abandoned:
			err = net.ErrClosed
		case d.err != nil:
			err = d.err
		case passed(d.readDeadline):
			err = os.ErrDeadlineExceeded
		}
		if err != nil || len(b) == 0 {
			d.mu.Unlock()
			return 0, err
		}
		if len(d.queue) > 0 && !cut {
			s := &d.queue[0]
			arrives := time.Until(s.at)
			if arrives <= 0 {
				n := d.takeLocked(b)
				d.mu.Unlock()
				if n == 0 {
					return 0, io.EOF
				}
				return n, nil
			}
			if left < 0 || arrives < left {
				left = arrives
			}
		}
		changed := d.changed
		d.mu.Unlock()
		wait(nil, changed, healed, left)
	}
}

// takeLocked takes from the first segment. 0 is the end, which stays.
func (d *direction) takeLocked(b []byte) int {
	s := &d.queue[0]
	if s.last {
		return 0
	}
	n := copy(b, s.data)
	s.data = s.data[n:]
	if d.bytes -= n; len(s.data) == 0 {
		d.queue = d.queue[1:]
	}
	close(d.changed)
	d.changed = make(chan struct{})
	return n
}

// passed reports whether a deadline was set and is over.
func passed(deadline time.Time) bool { return !deadline.IsZero() && time.Until(deadline) <= 0 }

// until is the time that is left until a deadline; negative without one.
func until(deadline time.Time) time.Duration {
	if deadline.IsZero() {
		return -1
	}
	return max(time.Until(deadline), 0)
}

// wait returns true when one of two channels is closed or the time has passed (negative: it does not), false when done is.
func wait(done, one, two <-chan struct{}, left time.Duration) bool {
	var timer <-chan time.Time
	if left >= 0 {
		t := time.NewTimer(left)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-done:
		return false
	case <-one:
	case <-two:
	case <-timer:
	}
	return true
}

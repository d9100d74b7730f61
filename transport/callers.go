package transport

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/transport/linkv1"
)

// Bounds of what one identity has open at the hub. A spoke has two connections; those that were lost may be heard of late.
const (
	maxConnections = 8                // past it the oldest one is closed
	maxCalls       = 64               // at a time, over all its connections; a link has 45 at most
	maxGreetings   = 4                // streams at a time that were not welcomed yet
	idleWithin     = 90 * time.Second // a connection without a call is closed; a spoke lets its own go after [bulkIdle]
	maxHeader      = 16 << 10         // bytes of the headers of one call
)

// callers counts what each identity has open.
type callers struct {
	identity func(context.Context) (string, bool)
	linked   func(id string) bool
	log      *slog.Logger

	mu sync.Mutex
	by map[string]*caller // guarded by mu; none that has nothing open
}

// caller is one identity.
type caller struct {
	conns     []*callerConn // the oldest first
	calls     int
	greetings int
}

// change changes what an identity has open. f must not block.
func (c *callers) change(id string, f func(*caller)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.by[id]
	if one == nil {
		one = &caller{}
		c.by[id] = one
	}
	f(one)
	if len(one.conns) == 0 && one.calls == 0 && one.greetings == 0 {
		delete(c.by, id)
	}
}

// enter takes a connection in whose peer has proved who it is, and closes the oldest one of too many.
func (c *callers) enter(conn net.Conn, id string) net.Conn {
	one := &callerConn{Conn: conn}
	one.leave = sync.OnceFunc(func() {
		c.change(id, func(all *caller) {
			all.conns = slices.DeleteFunc(all.conns, func(o *callerConn) bool { return o == one })
		})
	})
	var oldest *callerConn
	c.change(id, func(all *caller) {
		if all.conns = append(all.conns, one); len(all.conns) > maxConnections {
			oldest = all.conns[0]
		}
	})
	if oldest != nil {
		c.log.Warn("too many connections of one spoke: the oldest is closed", "identity", id, "limit", maxConnections)
		_ = oldest.Close()
	}
	return one
}

// call takes a call in before anything of it but its headers was read. It is gRPC's tap, which must not block.
func (c *callers) call(ctx context.Context, info *tap.Info) (context.Context, error) {
	id, ok := c.identity(ctx)
	switch {
	case !ok:
		return nil, callStatus(errNoIdentity())
	case info.FullMethodName != linkv1.Link_Connect_FullMethodName && !c.linked(id):
		return nil, callStatus(errNoLinkHere())
	}
	taken := false
	c.change(id, func(all *caller) {
		if taken = all.calls < maxCalls; taken {
			all.calls++
		}
	})
	if !taken {
		return nil, status.Errorf(codes.ResourceExhausted, "%d calls of this spoke are under way, the limit", maxCalls)
	}
	context.AfterFunc(ctx, func() { c.change(id, func(all *caller) { all.calls-- }) })
	return ctx, nil
}

// greet takes a stream in that was not welcomed yet. done is called when it was, or has ended.
func (c *callers) greet(id string) (done func(), err error) {
	taken := false
	c.change(id, func(all *caller) {
		if taken = all.greetings < maxGreetings; taken {
			all.greetings++
		}
	})
	if !taken {
		return nil, api.Errorf(api.CodeLimit, "%d streams of this spoke were not welcomed yet, the limit", maxGreetings)
	}
	return sync.OnceFunc(func() { c.change(id, func(all *caller) { all.greetings-- }) }), nil
}

// callerConn leaves the count when it is closed.
type callerConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *callerConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// counting are credentials that enter who has proved who it is.
type counting struct {
	credentials.TransportCredentials
	callers *callers
}

// ServerHandshake implements credentials.TransportCredentials.
func (c counting) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	id, _ := c.callers.identity(peer.NewContext(context.Background(), &peer.Peer{Addr: raw.RemoteAddr(), LocalAddr: raw.LocalAddr(), AuthInfo: info}))
	return c.callers.enter(conn, id), info, nil // those that prove nothing count together
}

// Clone implements credentials.TransportCredentials.
func (c counting) Clone() credentials.TransportCredentials {
	return counting{c.TransportCredentials.Clone(), c.callers}
}

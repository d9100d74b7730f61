package simnet

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

// backlog bounds the connections that wait to be accepted; further dials wait.
const backlog = 128

// Path is how bytes travel from one host to another.
type Path struct {
	Delay  time.Duration // of every byte
	Jitter time.Duration // a random part of it is added to each write's delay; order is kept
	// Life is how long a connection lives on average before it breaks on both sides. 0: no connection breaks by chance. Of
	// the two directions' values the dialer's counts.
	Life time.Duration
}

// Network is a set of hosts. Its methods may be called at the same time.
type Network struct {
	seed uint64

	mu        sync.Mutex
	paths     map[pair]*path       // guarded by mu
	listeners map[string]*listener // guarded by mu; by host
	conns     map[*conn]struct{}   // guarded by mu; the dialers' ends of open connections
	dialed    map[pair]uint64      // guarded by mu; number of connections
	all       Path                 // guarded by mu; of pairs without one of their own
}

// pair is a direction between two hosts.
type pair struct{ from, to string }

// path is the state of a direction.
type path struct {
	Path
	cut     bool
	changed chan struct{} // closed and replaced at each change
}

// New returns a network without delays in which nothing breaks.
func New(seed uint64) *Network {
	return &Network{seed: seed, paths: map[pair]*path{}, listeners: map[string]*listener{}, conns: map[*conn]struct{}{}, dialed: map[pair]uint64{}}
}

// SetAll sets how bytes travel between hosts for which nothing else was set.
func (n *Network) SetAll(p Path) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = p
	for _, known := range n.paths {
		known.Path = p
	}
}

// Set sets how bytes travel from one host to another.
func (n *Network) Set(from, to string, p Path) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pathLocked(pair{from, to}).Path = p
}

// Cut holds back everything from one host to another, in this direction only. Neither side is told.
func (n *Network) Cut(from, to string) { n.setCut(pair{from, to}, true) }

// Heal ends a cut: what was held back arrives.
func (n *Network) Heal(from, to string) { n.setCut(pair{from, to}, false) }

// CutBoth cuts both directions.
func (n *Network) CutBoth(a, b string) {
	n.Cut(a, b)
	n.Cut(b, a)
}

// HealBoth heals both directions.
func (n *Network) HealBoth(a, b string) {
	n.Heal(a, b)
	n.Heal(b, a)
}

func (n *Network) setCut(p pair, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	way := n.pathLocked(p)
	way.cut = cut
	close(way.changed)
	way.changed = make(chan struct{})
}

// Break ends the open connections between two hosts on both sides with an error, as when a machine between them has lost
// its memory of them. It returns how many there were.
func (n *Network) Break(a, b string) int {
	n.mu.Lock()
	var broken []*conn
	for c := range n.conns {
		if c.way == (pair{a, b}) || c.way == (pair{b, a}) {
			broken = append(broken, c)
		}
	}
	n.mu.Unlock()
	slices.SortFunc(broken, func(a, b *conn) int { return int(a.number) - int(b.number) })
	for _, c := range broken {
		c.breakNow()
	}
	return len(broken)
}

// Open returns how many connections between two hosts are open at their dialers.
func (n *Network) Open(a, b string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	open := 0
	for c := range n.conns {
		if c.way == (pair{a, b}) || c.way == (pair{b, a}) {
			open++
		}
	}
	return open
}

// Listen takes connections to a host. One listener at a time.
func (n *Network) Listen(host string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[host] != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: addr(host), Err: syscall.EADDRINUSE}
	}
	l := &listener{n: n, host: host, waiting: make(chan *conn, backlog), closed: make(chan struct{})}
	n.listeners[host] = l
	return l, nil
}

// Dial connects one host to another. It takes the time of a way there and back; on a path that is cut, either way, it waits
// for ctx or the healing; where nobody listens it is refused.
func (n *Network) Dial(ctx context.Context, from, to string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Source: addr(from), Addr: addr(to), Err: err}
	}
	n.mu.Lock()
	way := pair{from, to}
	n.dialed[way]++
	number := n.dialed[way]
	n.mu.Unlock()
	c, peer := n.connect(way, number)
	for _, d := range []*direction{c.out, c.in} { // there and back
		if err := d.travel(ctx); err != nil {
			return fail(err)
		}
	}
	n.mu.Lock()
	l := n.listeners[to]
	n.mu.Unlock()
	if l == nil {
		return fail(syscall.ECONNREFUSED)
	}
	c.begin()
	select {
	case l.waiting <- peer:
		return c, nil
	case <-l.closed:
		c.breakNow()
		return fail(syscall.ECONNREFUSED)
	case <-ctx.Done():
		c.breakNow()
		return fail(context.Cause(ctx))
	}
}

// connect makes both ends of a connection.
func (n *Network) connect(way pair, number uint64) (dialer, host *conn) {
	there := newDirection(n, way, n.rand(way, number))
	back := newDirection(n, pair{way.to, way.from}, n.rand(pair{way.to, way.from}, number))
	local, remote := addr(fmt.Sprintf("%s#%d", way.from, number)), addr(way.to)
	dialer = &conn{n: n, way: way, number: number, out: there, in: back, local: local, remote: remote}
	host = &conn{n: n, way: pair{way.to, way.from}, number: number, out: back, in: there, local: remote, remote: local}
	return dialer, host
}

// rand is the generator of one direction of one connection.
func (n *Network) rand(way pair, number uint64) *rand.Rand {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%q %q %d", way.from, way.to, number)
	return rand.New(rand.NewPCG(n.seed, h.Sum64()))
}

func (n *Network) pathLocked(p pair) *path {
	if n.paths[p] == nil {
		n.paths[p] = &path{Path: n.all, changed: make(chan struct{})}
	}
	return n.paths[p]
}

// look returns the present state of a path, and what tells of its change.
func (n *Network) look(p pair) (Path, bool, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	way := n.pathLocked(p)
	return way.Path, way.cut, way.changed
}

const network = "sim"

// addr is the name of a host.
type addr string

// Network implements net.Addr.
func (addr) Network() string { return network }

// String implements net.Addr.
func (a addr) String() string { return string(a) }

// listener takes the connections to one host.
type listener struct {
	n       *Network
	host    string
	waiting chan *conn // backlog; who dials waits when it is full
	once    sync.Once
	closed  chan struct{}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: network, Addr: addr(l.host), Err: net.ErrClosed}
	default:
	}
	select {
	case c := <-l.waiting:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: network, Addr: addr(l.host), Err: net.ErrClosed}
	}
}

// Close implements net.Listener. Connections that nobody has accepted break.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.n.mu.Lock()
		delete(l.n.listeners, l.host)
		l.n.mu.Unlock()
		close(l.closed)
		for {
			select {
			case c := <-l.waiting:
				c.breakNow()
			default:
				return
			}
		}
	})
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return addr(l.host) }

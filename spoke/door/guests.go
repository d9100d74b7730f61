package door

import (
	"container/list"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/spoke"
)

// Bounds of connections that have proved nothing yet, and of those that have.
const (
	proveWithin     = 15 * time.Second // then a connection that has proved nothing ends
	maxStrangers    = 512              // connections that have proved nothing; the oldest makes room for a new one
	maxFromOne      = 64               // of them from one address, which may be that of a whole machine; the same
	connectRate     = 50               // new connections a second from one address
	connectBurst    = 500              // at once: a machine full of harnesses whose spoke was away
	maxSources      = 16 << 10         // addresses that are remembered; beyond, new ones wait
	maxOfOne        = 32               // connections of one workload
	refusalsAllowed = 8                // calls of one connection; then it ends
)

// guests are the connections of a listener. Each is a stranger until a call on it was verified; from then on it belongs to
// one workload. What strangers hold is bounded, and they keep nobody out: the oldest one makes room.
type guests struct {
	net.Listener
	most int
	log  *slog.Logger

	mu        sync.Mutex
	all       int
	strangers list.List                // of *guest, the oldest first; guarded by mu
	sources   map[netip.Addr]*source   // guarded by mu
	homes     map[spoke.WorkloadID]int // connections of each workload; guarded by mu
	turned    int                      // connections ended or refused since it was last said; guarded by mu
}

// source is one address.
type source struct {
	rate      *rate.Limiter
	strangers int
}

func newGuests(l net.Listener, most int, log *slog.Logger) *guests {
	return &guests{Listener: l, most: most, log: log, sources: make(map[netip.Addr]*source), homes: make(map[spoke.WorkloadID]int)}
}

// guest is one connection. Its fields are guarded by the mutex of the guests.
type guest struct {
	net.Conn
	of      *guests
	from    netip.Addr
	since   time.Time
	place   *list.Element // among the strangers; nil: it is none
	id      spoke.WorkloadID
	known   bool // it proved to be of the workload
	refused int  // calls
	gone    bool
}

// Accept implements [net.Listener].
func (gs *guests) Accept() (net.Conn, error) {
	for {
		conn, err := gs.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if g, out := gs.admit(conn, time.Now()); g != nil {
			if out != nil {
				out.Close()
			}
			return g, nil
		}
		conn.Close()
	}
}

// admit takes a connection in, perhaps in place of another one. It returns nil when there is no room for it.
func (gs *guests) admit(conn net.Conn, now time.Time) (in, out *guest) {
	from := addressOf(conn)
	gs.mu.Lock()
	defer gs.mu.Unlock()
	s := gs.sources[from]
	if s == nil {
		if len(gs.sources) >= maxSources {
			gs.turned++
			return nil, nil
		}
		s = &source{rate: rate.NewLimiter(connectRate, connectBurst)}
		gs.sources[from] = s
	}
	if !s.rate.AllowN(now, 1) {
		gs.turned++
		return nil, nil
	}
	switch {
	case s.strangers >= maxFromOne:
		out = gs.oldestLocked(func(g *guest) bool { return g.from == from })
	case gs.strangers.Len() >= maxStrangers || gs.all >= gs.most:
		out = gs.oldestLocked(func(*guest) bool { return true })
	}
	if out == nil && gs.all >= gs.most { // all of them are known
		gs.turned++
		return nil, nil
	}
	if out != nil {
		gs.turned++
		gs.dropLocked(out)
	}
	in = &guest{Conn: conn, of: gs, from: from, since: now}
	in.place = gs.strangers.PushBack(in)
	s.strangers++
	gs.all++
	return in, out
}

func (gs *guests) oldestLocked(is func(*guest) bool) *guest {
	for e := gs.strangers.Front(); e != nil; e = e.Next() {
		if g := e.Value.(*guest); is(g) {
			return g
		}
	}
	return nil
}

// dropLocked takes a connection out of the books.
func (gs *guests) dropLocked(g *guest) {
	if g.gone {
		return
	}
	g.gone = true
	gs.all--
	gs.greetLocked(g)
	if g.known {
		if gs.homes[g.id]--; gs.homes[g.id] == 0 {
			delete(gs.homes, g.id)
		}
	}
}

// greetLocked makes it no stranger any more.
func (gs *guests) greetLocked(g *guest) {
	if g.place == nil {
		return
	}
	gs.strangers.Remove(g.place)
	g.place = nil
	if s := gs.sources[g.from]; s != nil {
		s.strangers--
	}
}

// tidy ends strangers whose time is over, and forgets addresses that nobody comes from.
func (gs *guests) tidy(now time.Time) {
	gs.mu.Lock()
	var late []*guest
	for e := gs.strangers.Front(); e != nil; e = gs.strangers.Front() {
		g := e.Value.(*guest)
		if now.Sub(g.since) < proveWithin {
			break
		}
		late = append(late, g)
		gs.dropLocked(g)
	}
	for from, s := range gs.sources {
		if s.strangers == 0 && s.rate.TokensAt(now) >= connectBurst {
			delete(gs.sources, from)
		}
	}
	turned := gs.turned + len(late)
	gs.turned = 0
	all, strangers := gs.all, gs.strangers.Len()
	gs.mu.Unlock()
	for _, g := range late {
		g.Conn.Close()
	}
	if turned > 0 {
		gs.log.Warn("connections that proved nothing were ended", "count", turned, "connections", all, "strangers", strangers)
	}
}

// prove notes that a call on the connection is of the harness of a workload.
func (g *guest) prove(id spoke.WorkloadID) error {
	gs := g.of
	gs.mu.Lock()
	defer gs.mu.Unlock()
	switch {
	case g.gone:
		return status.Error(codes.Unavailable, "the connection has ended")
	case g.known && g.id == id:
		return nil
	case g.known:
		return status.Errorf(codes.PermissionDenied, "this connection is of workload %s", g.id)
	case gs.homes[id] >= maxOfOne:
		return status.Errorf(codes.ResourceExhausted, "workload %s has %d connections: no more are allowed", id, maxOfOne)
	}
	gs.greetLocked(g)
	g.known, g.id = true, id
	gs.homes[id]++
	return nil
}

// refuse counts a refused call; a connection on which too many come ends.
func (g *guest) refuse() {
	g.of.mu.Lock()
	g.refused++
	over := g.refused > refusalsAllowed
	g.of.mu.Unlock()
	if over {
		g.Close()
	}
}

// Close implements [net.Conn].
func (g *guest) Close() error {
	g.of.mu.Lock()
	g.of.dropLocked(g)
	g.of.mu.Unlock()
	return g.Conn.Close()
}

func addressOf(conn net.Conn) netip.Addr {
	a, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	return a.Addr().Unmap().WithZone("")
}

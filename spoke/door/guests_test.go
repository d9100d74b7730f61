package door

import (
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// call is a connection from an address, which says and hears nothing.
type call struct {
	net.Conn
	from   string
	closed bool
}

func (c *call) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.ParseIP(c.from), Port: 4711}
}

func (c *call) Close() error {
	c.closed = true
	return nil
}

func workload(n int) spoke.WorkloadID {
	return spoke.WorkloadID{Session: api.SessionID(fmt.Sprintf("01J%023d", n)), Epoch: api.Epoch{N: 1}, Attempt: 1}
}

// rooms are guests whose books are checked.
type rooms struct {
	*guests
	t   *testing.T
	now time.Time
}

func newRooms(t *testing.T, most int) *rooms {
	return &rooms{newGuests(nil, most, slog.New(slog.DiscardHandler)), t, time.Unix(1e9, 0)}
}

// come admits a connection; whoever is put out for it is closed.
func (r *rooms) come(from string) *guest {
	r.t.Helper()
	in, out := r.admit(&call{from: from}, r.now)
	if out != nil {
		out.Close()
	}
	r.check()
	return in
}

// check compares the books with each other.
func (r *rooms) check() {
	r.t.Helper()
	strangers, known := 0, 0
	for _, s := range r.sources {
		strangers += s.strangers
	}
	for _, n := range r.homes {
		known += n
	}
	if strangers != r.strangers.Len() || strangers+known != r.all || r.all > r.most || r.strangers.Len() > maxStrangers {
		r.t.Fatalf("%d connections, %d strangers by address, %d in the list, %d of workloads", r.all, strangers, r.strangers.Len(), known)
	}
}

func TestStrangersMakeRoom(t *testing.T) {
	r := newRooms(t, 1000)
	first := r.come("10.0.0.1")
	for range maxFromOne - 1 {
		r.come("10.0.0.1")
	}
	second := r.come("10.0.0.2")
	if first.gone {
		t.Fatal("the first one is gone before there is no room")
	}
	r.come("10.0.0.1")
	if !first.gone || !first.Conn.(*call).closed || second.gone {
		t.Errorf("the oldest of the same address is to make room: %v, the other address's %v", first.gone, second.gone)
	}
	for i := 0; r.strangers.Len() < maxStrangers; i++ {
		r.come(fmt.Sprintf("10.0.1.%d", i%200))
	}
	if err := second.prove(workload(1)); err != nil {
		t.Fatal(err)
	}
	r.check()
	for i := range maxStrangers + 10 {
		r.come(fmt.Sprintf("10.0.2.%d", i%250))
	}
	if second.gone {
		t.Error("one that has proved whose it is made room")
	}
	second.Close()
	second.Close() // is counted once
	r.check()
	r.now = r.now.Add(proveWithin)
	r.tidy(r.now)
	if r.check(); r.all != 0 {
		t.Errorf("%d strangers stay after %v", r.all, proveWithin)
	}
	r.now = r.now.Add(time.Minute)
	if r.tidy(r.now); len(r.sources) != 0 {
		t.Errorf("%d addresses are remembered", len(r.sources))
	}
}

// Strangers make room for others when there are as many connections as may be; those that are known do not.
func TestKnownConnectionsStay(t *testing.T) {
	r := newRooms(t, 3)
	a, b := r.come("10.0.0.1"), r.come("10.0.0.1")
	for i, g := range []*guest{a, b} {
		if err := g.prove(workload(i)); err != nil {
			t.Fatal(err)
		}
	}
	c := r.come("10.0.0.1")
	if d := r.come("10.0.0.2"); !c.gone || d == nil {
		t.Error("the stranger did not make room")
	} else if err := d.prove(workload(9)); err != nil {
		t.Fatal(err)
	}
	if e := r.come("10.0.0.3"); e != nil || a.gone || b.gone {
		t.Error("there is no room for one more, and all are known")
	}
	if err := c.prove(workload(1)); status.Code(err) != codes.Unavailable {
		t.Errorf("one that has ended proves: %v", err)
	}
}

func TestConnectionIsOfOneWorkload(t *testing.T) {
	r := newRooms(t, 1000)
	g := r.come("fe80::1%eth0")
	for range 2 {
		if err := g.prove(workload(1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.prove(workload(2)); status.Code(err) != codes.PermissionDenied {
		t.Errorf("another workload on the same connection: %v", err)
	}
	for i := range maxOfOne - 1 {
		if err := r.come(fmt.Sprintf("10.0.0.%d", i)).prove(workload(1)); err != nil {
			t.Fatal(err)
		}
	}
	last := r.come("10.0.0.1")
	if err := last.prove(workload(1)); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one connection too many: %v", err)
	}
	g.Close()
	if err := last.prove(workload(1)); err != nil {
		t.Errorf("once there is room: %v", err)
	}
	r.check()
	for range refusalsAllowed {
		last.refuse()
	}
	if last.gone {
		t.Error("it ended too early")
	}
	if last.refuse(); !last.gone {
		t.Errorf("it goes on after %d refused calls", refusalsAllowed+1)
	}
	r.check()
}

// Whoever connects too often is turned away for a while, and nobody else.
func TestConnectionsPerSecond(t *testing.T) {
	r := newRooms(t, 1000)
	taken := 0
	for range 2 * connectBurst {
		if r.come("10.0.0.1") != nil {
			taken++
		}
	}
	if taken != connectBurst || r.come("10.0.0.2") == nil {
		t.Errorf("%d of %d connections at once were taken", taken, 2*connectBurst)
	}
	r.now = r.now.Add(time.Second)
	for taken = 0; r.come("10.0.0.1") != nil; {
		taken++
	}
	if taken != connectRate {
		t.Errorf("%d connections were taken a second later", taken)
	}
}

// Whatever connections do, in whatever order, the books are right, and in the end nothing of anybody is left in them.
func TestBooksOfConnections(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newRooms(t, 20)
		var all []*guest
		one := func() *guest {
			if len(all) == 0 {
				return nil
			}
			return all[rapid.IntRange(0, len(all)-1).Draw(rt, "which")]
		}
		for range rapid.IntRange(1, 150).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0, 1:
				if g := r.come(fmt.Sprintf("10.0.0.%d", rapid.IntRange(1, 4).Draw(rt, "from"))); g != nil {
					all = append(all, g)
				}
			case 2:
				if g := one(); g != nil {
					known, id := g.known, g.id
					if err := g.prove(workload(rapid.IntRange(1, 3).Draw(rt, "whose"))); err == nil && (g.gone || known && g.id != id) {
						rt.Fatalf("proved by one that is gone, or of two workloads: %+v", g)
					}
				}
			case 3:
				if g := one(); g != nil {
					g.Close()
				}
			case 4:
				if g := one(); g != nil {
					g.refuse()
				}
			case 5:
				r.now = r.now.Add(time.Duration(rapid.IntRange(0, 20).Draw(rt, "seconds")) * time.Second)
				r.tidy(r.now)
			}
			r.check()
		}
		for _, g := range all {
			g.Close()
		}
		r.now = r.now.Add(time.Minute)
		if r.tidy(r.now); r.all != 0 || r.strangers.Len() != 0 || len(r.homes) != 0 || len(r.sources) != 0 {
			rt.Fatalf("left: %d connections, %d strangers, %v, %v", r.all, r.strangers.Len(), r.homes, r.sources)
		}
	})
}

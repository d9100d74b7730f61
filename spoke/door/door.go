package door

import (
	"context"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/boottime"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/internal/unixsocket"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Config is what a door needs.
type Config struct {
	// Socket is the absolute path to listen on; its directory is made with mode 0700. At most 107 bytes. A socket that
	// nobody serves is replaced. Empty: harnesses come from elsewhere alone, see Remote.
	Socket string
	// Verify confirms that the process is the harness of the workload. Required with Socket.
	Verify func(id spoke.WorkloadID, pid int) error
	// Remote is for harnesses on other machines. Nil: there are none. One of Socket and Remote is given.
	Remote *Remote
	// Vault takes and gives checkpoints. Nil: there is none, and every transfer is refused as unavailable.
	Vault spoke.Vault
	// Messenger sends signals of sessions. Nil: there is none, and every one is refused as unavailable.
	Messenger spoke.Messenger
	// Clock counts leases. Default the boot-time clock.
	Clock func() time.Duration
	// Log is required.
	Log *slog.Logger
}

func (c *Config) validate() error {
	switch {
	case c.Log == nil:
		return api.Invalid("Log", "is required")
	case c.Socket == "" && c.Remote == nil:
		return api.Invalid("Socket", "is missing, and Remote is: one of them is required")
	case c.Socket != "" && c.Verify == nil:
		return api.Invalid("Verify", "is required with Socket")
	}
	if c.Socket != "" {
		if err := unixsocket.Check("Socket", c.Socket); err != nil {
			return err
		}
	}
	if c.Remote != nil {
		r := *c.Remote
		if err := r.validate(); err != nil {
			return err
		}
		c.Remote = &r
	}
	if c.Clock == nil {
		c.Clock = boottime.Now
	}
	return nil
}

// Door implements [spoke.Door].
type Door struct {
	c         Config
	transfers *queue // of checkpoints
	signals   *queue // of sessions
	describes *queue // to harnesses
	sayer     *sayer // of refusals
	at        address

	mu    sync.Mutex
	rooms map[spoke.WorkloadID]*room // guarded by mu
}

var _ spoke.Door = (*Door)(nil)

// New checks the configuration. It starts nothing.
func New(c Config) (*Door, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &Door{c: c, transfers: newQueue("transfers of checkpoints", transfersAtOnce, transfersWaiting),
		signals:   newQueue("signals", signalsAtOnce, signalsWaiting),
		describes: newQueue("descriptions", describesAtOnce, describesWaiting), sayer: newSayer(c.Log), rooms: make(map[spoke.WorkloadID]*room)}, nil
}

// Run implements [spoke.Door].
func (d *Door) Run(ctx context.Context, h spoke.DoorHandler) error {
	g := run.NewGroup(ctx)
	s := &server{d: d, h: h, g: g}
	serve := func(name string, srv *grpc.Server, l net.Listener) {
		g.Go("serve "+name, serveOn(srv, l))
		g.Go("close "+name, func(ctx context.Context) error {
			<-ctx.Done()
			srv.Stop() // waits for the handlers, so that none starts a task after this one has ended
			return nil
		})
	}
	var local, remote net.Listener
	if d.c.Socket != "" {
		l, err := unixsocket.Listen("Socket", d.c.Socket)
		if err != nil {
			return err
		}
		local = l
	}
	if d.c.Remote != nil {
		gs, err := d.listenRemote()
		if err != nil {
			if local != nil {
				local.Close()
			}
			return err
		}
		remote = gs
		defer d.at.set("")
		g.Go("guests", func(ctx context.Context) error { return watch(ctx, gs) })
	}
	if local != nil {
		serve("socket", newLocalServer(s), local)
	}
	if remote != nil {
		serve("address", newRemoteServer(d, s), remote)
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// newLocalServer makes a server for harnesses on this machine.
func newLocalServer(s *server) *grpc.Server {
	srv := grpc.NewServer(
		grpc.Creds(peers{uid: uint32(os.Getuid())}),
		grpc.MaxRecvMsgSize(4<<20),
		grpc.MaxConcurrentStreams(4), // of one connection: a harness has one
		grpc.ConnectionTimeout(10*time.Second),
		grpc.WaitForHandlers(true),
	)
	harnessv1.RegisterHarnessServer(srv, s)
	return srv
}

// Tell implements [spoke.Door].
func (d *Door) Tell(id spoke.WorkloadID, o spoke.Orders) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.roomLocked(id)
	r.orders = &o
	r.notify()
}

// Lease implements [spoke.Door].
func (d *Door) Lease(id spoke.WorkloadID, until time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.roomLocked(id)
	r.leased, r.until = true, until
	r.notify() // a request may wait for it
}

// Asked implements [spoke.Door]: it says when the harness of a workload last asked for its lease, and until when it was told
// that its agent may act; both by the boot-time clock. Both are zero when it has not asked since the door was made. A harness
// that has not asked when the latter has passed is frozen or cut off.
func (d *Door) Asked(id spoke.WorkloadID) (at, until time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.rooms[id]; r != nil {
		return r.asked, r.told
	}
	return 0, 0
}

// Forget implements [spoke.Door].
func (d *Door) Forget(id spoke.WorkloadID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.rooms[id]
	if r == nil {
		return
	}
	r.orders, r.leased, r.until = nil, false, 0
	if !r.taken {
		delete(d.rooms, id)
		return
	}
	r.cut = true
	r.notify()
}

// room is what the door knows of one workload: a level that the attached harness is told. Its fields are guarded by the
// door's mutex, news aside.
type room struct {
	orders  *spoke.Orders // nil before the first Tell
	leased  bool          // the spoke has said until when the agent may act; before that a request waits
	until   time.Duration // the agent may act
	request uint64        // the last one for a lease that the attached harness sent; 0: none
	asked   time.Duration // when that came, or the last one of an earlier connection
	told    time.Duration // until when the harness was told that the agent may act
	taken   bool          // a harness is attached
	cut     bool          // it is to be cut off
	durable uint64        // to be acknowledged
	quiet   uint64        // up to which number the sender wants no notice: it acknowledges in a while
	failed  error         // why the attached harness is to be cut off

	news chan struct{} // holds one token when something changed; full means that the reader will look anyway
}

func (r *room) notify() {
	select {
	case r.news <- struct{}{}:
	default:
	}
}

func (d *Door) roomLocked(id spoke.WorkloadID) *room {
	r := d.rooms[id]
	if r == nil {
		r = &room{news: make(chan struct{}, 1)}
		d.rooms[id] = r
	}
	return r
}

// enter takes the room of a workload for one harness.
func (d *Door) enter(id spoke.WorkloadID) (*room, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.roomLocked(id)
	if r.taken {
		return nil, false
	}
	r.taken, r.cut, r.durable, r.quiet, r.failed, r.request = true, false, 0, 0, nil, 0
	return r, true
}

func (d *Door) leave(id spoke.WorkloadID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.rooms[id]
	r.taken = false
	if r.orders == nil && !r.leased {
		delete(d.rooms, id)
	}
}

// ask notes a request for a lease.
func (d *Door) ask(r *room, number uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.request, r.asked = number, d.c.Clock()
	r.notify()
}

// grant makes the answer to a request, right before it is sent.
func (d *Door) grant(r *room, number uint64) *harnessv1.Lease {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.told = max(r.told, r.until)
	if r.until == spoke.LeaseForever {
		return &harnessv1.Lease{Number: number, Unbounded: true}
	}
	return &harnessv1.Lease{Number: number, Duration: durationpb.New(r.until - d.c.Clock())}
}

// isTaken reports whether a harness is attached for the workload, and not to be cut off.
func (d *Door) isTaken(id spoke.WorkloadID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.rooms[id]
	return r != nil && r.taken && !r.cut
}

// report notes events as durable, or why the connection cannot go on.
func (d *Door) report(r *room, durable uint64, failed error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.durable = max(r.durable, durable)
	if r.failed == nil {
		r.failed = failed
	}
	if r.failed != nil || r.durable >= r.quiet {
		r.notify()
	}
}

// hush says that the sender acknowledges in a while, and wants no notice before, unless events are durable up to a number.
func (d *Door) hush(r *room, upTo uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.quiet = upTo
	if r.durable >= upTo {
		r.notify()
	}
}

// look reads the room.
func (d *Door) look(r *room) room {
	d.mu.Lock()
	defer d.mu.Unlock()
	return *r
}

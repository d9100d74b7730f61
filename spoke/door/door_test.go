package door_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/door"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

var id = spoke.WorkloadID{Session: "01J00000000000000000000000", Epoch: api.Epoch{N: 3}, Attempt: 1}

// handler notes the calls in order.
type handler struct {
	upTo   uint64
	refuse error
	fail   error // of Events

	mu     sync.Mutex
	calls  []string
	events []api.Event
	deltas []api.Delta
	drops  int           // deltas
	gone   chan struct{} // one token per Detached
}

func (h *handler) note(call string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, call)
}

func (h *handler) Attached(context.Context, spoke.WorkloadID) (uint64, error) {
	h.note("attached")
	return h.upTo, h.refuse
}

func (h *handler) Events(_ context.Context, _ spoke.WorkloadID, events []api.Event) error {
	h.note("events")
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail == nil {
		h.events = append(h.events, events...)
	}
	return h.fail
}

func (h *handler) Deltas(_ spoke.WorkloadID, deltas []api.Delta, dropped int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deltas, h.drops = append(h.deltas, deltas...), h.drops+dropped
}

func (h *handler) Detached(spoke.WorkloadID) {
	h.note("detached")
	h.gone <- struct{}{}
}

// open runs a door and returns a client of it, which is this very process.
func open(t *testing.T, h *handler, change func(*door.Config)) (*door.Door, harnessv1.HarnessClient) {
	t.Helper()
	dir, err := os.MkdirTemp("", "nave") // short: the path of a socket is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h.gone = make(chan struct{}, 10)
	c := door.Config{
		Socket: filepath.Join(dir, "run", "door.sock"), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Verify: func(got spoke.WorkloadID, pid int) error {
			if got != id || pid != os.Getpid() {
				return errors.New("another process")
			}
			return nil
		},
	}
	if change != nil {
		change(&c)
	}
	d, err := door.New(c)
	if err != nil {
		t.Fatal(err)
	}
	g := run.NewGroup(context.Background())
	g.Go("door", func(ctx context.Context) error { return d.Run(ctx, h) })
	t.Cleanup(func() {
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Errorf("door: %v", err)
		}
	})
	cc, err := grpc.NewClient("unix:"+c.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1, MaxDelay: 10 * time.Millisecond}}),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return d, harnessv1.NewHarnessClient(cc)
}

type stream struct {
	harnessv1.Harness_AttachClient
	t *testing.T
}

// attach opens a stream that says hello, and says goodbye when the test ends.
func attach(t *testing.T, c harnessv1.HarnessClient, hello *harnessv1.Hello) stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	s, err := c.Attach(ctx)
	if err != nil {
		t.Fatal(err)
	}
	out := stream{s, t}
	if hello != nil {
		out.say(&harnessv1.FromHarness{Message: &harnessv1.FromHarness_Hello{Hello: hello}})
	}
	return out
}

func hello() *harnessv1.Hello {
	return &harnessv1.Hello{Workload: id.String(), ProtocolMin: 1, ProtocolMax: 9, Version: "test", First: 1}
}

func (s stream) say(m *harnessv1.FromHarness) {
	s.t.Helper()
	if err := s.Send(m); err != nil {
		s.t.Fatal(err)
	}
}

func (s stream) events(numbers ...uint64) {
	s.t.Helper()
	m := &harnessv1.Events{}
	for _, n := range numbers {
		m.Events = append(m.Events, &harnessv1.Event{Number: n, Type: "message", Text: "hi", Signals: []uint64{7}})
	}
	s.say(&harnessv1.FromHarness{Message: &harnessv1.FromHarness_Events{Events: m}})
}

// until returns the first message that is wanted; it fails when the stream ends first.
func until[T any](s stream, is func(*harnessv1.ToHarness) (T, bool)) T {
	s.t.Helper()
	for {
		m, err := s.Recv()
		if err != nil {
			s.t.Fatalf("the stream ended: %v", err)
		}
		if v, ok := is(m); ok {
			return v
		}
	}
}

func (s stream) welcome() *harnessv1.Welcome {
	s.t.Helper()
	return until(s, func(m *harnessv1.ToHarness) (*harnessv1.Welcome, bool) { return m.GetWelcome(), m.GetWelcome() != nil })
}

func (s stream) ack() uint64 {
	s.t.Helper()
	return until(s, func(m *harnessv1.ToHarness) (uint64, bool) { return m.GetAck().GetUpTo(), m.GetAck() != nil })
}

func (s stream) orders() *harnessv1.Orders {
	s.t.Helper()
	return until(s, func(m *harnessv1.ToHarness) (*harnessv1.Orders, bool) { return m.GetOrders(), m.GetOrders() != nil })
}

// code is how the stream ends.
func (s stream) code() codes.Code {
	s.t.Helper()
	for {
		if _, err := s.Recv(); err != nil {
			return status.Code(err)
		}
	}
}

func TestEventsAreAcknowledgedWhenTheyAreDurable(t *testing.T) {
	h := &handler{upTo: 2}
	_, c := open(t, h, nil)
	s := attach(t, c, hello())
	if w := s.welcome(); w.UpTo != 2 || w.Protocol != 1 {
		t.Fatalf("welcome %v", w)
	}
	s.events(1, 2, 3) // 1 and 2 are durable already
	if n := s.ack(); n != 3 {
		t.Fatalf("acknowledged up to %d, want 3", n)
	}
	s.events(2, 3)
	s.events(4, 5)
	if n := s.ack(); n != 5 {
		t.Fatalf("acknowledged up to %d, want 5", n)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var got []uint64
	for _, e := range h.events {
		got = append(got, e.SourceNumber)
		if e.Session != id.Session || e.Source != id.Source() || e.Text != "hi" || e.Signals[0] != 7 {
			t.Errorf("event %+v", e)
		}
	}
	if diff := cmp.Diff([]uint64{3, 4, 5}, got); diff != "" {
		t.Errorf("events (-want +got)\n%s", diff)
	}
}

func TestConnectionsThatCannotGoOn(t *testing.T) {
	later := hello()
	later.First = 4
	old := hello()
	old.ProtocolMin = 2
	other := hello()
	other.Workload = strings.Replace(other.Workload, "-1", "-2", 1)
	for _, tt := range []struct {
		name  string
		h     *handler
		hello *harnessv1.Hello
		do    func(stream)
		want  codes.Code
		calls []string
	}{
		{"no hello", &handler{}, nil, func(s stream) { s.events(1) }, codes.InvalidArgument, nil},
		{"no workload", &handler{}, &harnessv1.Hello{Workload: "x", ProtocolMin: 1, ProtocolMax: 1}, nil, codes.InvalidArgument, nil},
		{"no common protocol", &handler{}, old, nil, codes.FailedPrecondition, nil},
		{"another's workload", &handler{}, other, nil, codes.PermissionDenied, nil},
		{"unwanted workload", &handler{refuse: errors.New("not wanted")}, hello(), nil, codes.FailedPrecondition, []string{"attached"}},
		{"events that nobody has", &handler{upTo: 2}, later, nil, codes.DataLoss, []string{"attached", "detached"}},
		{"a gap", &handler{}, hello(), func(s stream) { s.events(2) }, codes.InvalidArgument, []string{"attached", "detached"}},
		{"a gap inside", &handler{}, hello(), func(s stream) { s.events(1, 3) }, codes.InvalidArgument, []string{"attached", "detached"}},
		{"events that cannot be kept", &handler{fail: errors.New("disk full")}, hello(), func(s stream) { s.events(1) }, codes.Unavailable, []string{"attached", "events", "detached"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, c := open(t, tt.h, nil)
			s := attach(t, c, tt.hello)
			if tt.do != nil {
				tt.do(s)
			}
			if got := s.code(); got != tt.want {
				t.Errorf("the stream ended with %v, want %v", got, tt.want)
			}
			if len(tt.calls) > 1 {
				<-tt.h.gone
			}
			tt.h.mu.Lock()
			defer tt.h.mu.Unlock()
			if diff := cmp.Diff(tt.calls, tt.h.calls); diff != "" || len(tt.h.events) > 0 {
				t.Errorf("%d events came through; calls (-want +got)\n%s", len(tt.h.events), diff)
			}
		})
	}
}

func TestOneHarnessAtATime(t *testing.T) {
	h := &handler{}
	_, c := open(t, h, nil)
	first := attach(t, c, hello())
	first.welcome()
	if got := attach(t, c, hello()).code(); got != codes.AlreadyExists {
		t.Fatalf("the second harness ended with %v", got)
	}
	first.events(1)
	if first.ack() != 1 {
		t.Fatal("the first harness is not served any more")
	}
	if err := first.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if got := first.code(); got != codes.Canceled {
		t.Fatalf("the first harness ended with %v", got)
	}
	<-h.gone
	come(t, c)
}

func TestOrdersAreALevel(t *testing.T) {
	d, c := open(t, &handler{}, nil)
	tell := func(from, to uint64, stop bool) {
		o := spoke.Orders{Stop: stop}
		for n := from; n <= to; n++ {
			o.Signals = append(o.Signals, api.Signal{Sequence: n, Payload: []byte("p"), Deliveries: 2})
		}
		d.Tell(id, o)
	}
	tell(1, 1, false)
	tell(2, 3, false) // before it is attached: the last ones count
	s := attach(t, c, hello())
	s.welcome()
	if o := s.orders(); len(o.Signals) != 2 || o.Signals[0].Sequence != 2 || o.Signals[0].Deliveries != 2 || o.More {
		t.Fatalf("first orders %v", o)
	}
	tell(4, 4, true)
	if o := s.orders(); len(o.Signals) != 1 || o.Signals[0].Sequence != 4 || !o.Stop {
		t.Fatalf("second orders %v", o)
	}
	d.Forget(id)
	if got := s.code(); got != codes.Aborted {
		t.Fatalf("a forgotten harness ended with %v", got)
	}
	d.Forget(id)
	d.Forget(spoke.WorkloadID{})
}

// A request is answered from what the spoke said last, by its clock, also while its events are not taken.
func TestLeaseIsAnswered(t *testing.T) {
	var clock atomic.Int64
	h := &handler{fail: errors.New("disk full")}
	d, c := open(t, h, func(c *door.Config) { c.Clock = func() time.Duration { return time.Duration(clock.Load()) } })
	now := func(at time.Duration) { clock.Store(int64(at)) }
	s := attach(t, c, hello())
	ask := func(n uint64) *harnessv1.Lease {
		s.say(&harnessv1.FromHarness{Message: &harnessv1.FromHarness_Lease{Lease: &harnessv1.LeaseRequest{Number: n}}})
		return until(s, func(m *harnessv1.ToHarness) (*harnessv1.Lease, bool) { return m.GetLease(), m.GetLease() != nil })
	}
	want := func(l *harnessv1.Lease, n uint64, d time.Duration, forever bool) {
		t.Helper()
		if l.Number != n || !forever && l.Duration.AsDuration() != d || l.Unbounded != forever {
			t.Errorf("lease %v, want number %d for %v, unbounded %v", l, n, d, forever)
		}
	}
	s.welcome()
	now(time.Minute)
	if at, told := d.Asked(id); at != 0 || told != 0 {
		t.Errorf("asked at %v, told %v, before it asked", at, told)
	}
	s.say(&harnessv1.FromHarness{Message: &harnessv1.FromHarness_Lease{Lease: &harnessv1.LeaseRequest{Number: 1}}})
	for at := time.Duration(0); at == 0; at, _ = d.Asked(id) { // it waits: a spoke that was just started ends nothing
		runtime.Gosched()
	}
	d.Lease(id, 2*time.Minute)
	want(until(s, func(m *harnessv1.ToHarness) (*harnessv1.Lease, bool) { return m.GetLease(), m.GetLease() != nil }), 1, time.Minute, false)
	want(ask(2), 2, time.Minute, false)
	now(90 * time.Second)
	want(ask(3), 3, 30*time.Second, false)
	if at, told := d.Asked(id); at != 90*time.Second || told != 2*time.Minute {
		t.Errorf("asked at %v, told %v", at, told)
	}
	now(3 * time.Minute)
	want(ask(4), 4, -time.Minute, false)
	d.Lease(id, spoke.LeaseForever)
	want(ask(5), 5, 0, true)
	d.Lease(id, 4*time.Minute)
	s.say(&harnessv1.FromHarness{Message: &harnessv1.FromHarness_Lease{Lease: &harnessv1.LeaseRequest{Number: 6}}})
	s.events(1) // ends the connection
	want(until(s, func(m *harnessv1.ToHarness) (*harnessv1.Lease, bool) { return m.GetLease(), m.GetLease() != nil }), 6, time.Minute, false)
	if got := s.code(); got != codes.Unavailable {
		t.Errorf("the stream ended with %v", got)
	}
	<-h.gone
	s = come(t, c)
	want(ask(7), 7, time.Minute, false)
	d.Forget(id)
	s.code()
	<-h.gone
	s = come(t, c)
	s.say(&harnessv1.FromHarness{Message: &harnessv1.FromHarness_Lease{Lease: &harnessv1.LeaseRequest{Number: 8}}})
	for at := time.Duration(0); at == 0; at, _ = d.Asked(id) {
		runtime.Gosched()
	}
	d.Lease(id, 3*time.Minute+time.Second) // what was said before it was forgotten counts no more
	want(until(s, func(m *harnessv1.ToHarness) (*harnessv1.Lease, bool) { return m.GetLease(), m.GetLease() != nil }), 8, time.Second, false)
}

// come attaches; right after Detached the room may be taken for a moment.
func come(t *testing.T, c harnessv1.HarnessClient) stream {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		s := attach(t, c, hello())
		m, err := s.Recv()
		if err == nil && m.GetWelcome() != nil {
			return s
		}
		if status.Code(err) != codes.AlreadyExists || time.Now().After(deadline) {
			t.Fatalf("the harness came to %v, %v", m, err)
		}
	}
}

func TestSocket(t *testing.T) {
	var c door.Config
	_, client := open(t, &handler{}, func(config *door.Config) { c = *config })
	attach(t, client, hello()).welcome()
	fi, err := os.Stat(c.Socket)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v: want mode 0600", fi.Mode(), err)
	}
	second, err := door.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context(), &handler{}); api.CodeOf(err) != api.CodeInUse {
		t.Errorf("a second door on the same socket: %v", err)
	}
	c.Socket = filepath.Join(t.TempDir(), "stale.sock")
	if len(c.Socket) > 107 {
		c.Socket = filepath.Join(os.TempDir(), "nave-stale.sock")
		defer os.Remove(c.Socket)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: c.Socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close() // as a process that was killed leaves it
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if third, err := door.New(c); err != nil {
		t.Fatal(err)
	} else if err := third.Run(ctx, &handler{}); !errors.Is(err, context.Canceled) && err != nil {
		t.Errorf("a door over a socket that was left behind: %v", err)
	}
}

func TestConfig(t *testing.T) {
	fine := door.Config{Socket: "/run/d.sock", Verify: func(spoke.WorkloadID, int) error { return nil }, Log: slog.Default()}
	for _, tt := range []struct {
		field  string
		change func(*door.Config)
	}{
		{"", func(*door.Config) {}},
		{"Socket", func(c *door.Config) { c.Socket = "d.sock" }},
		{"Socket", func(c *door.Config) { c.Socket = "/" + strings.Repeat("d", 107) }},
		{"Verify", func(c *door.Config) { c.Verify = nil }},
		{"Log", func(c *door.Config) { c.Log = nil }},
		{"Socket", func(c *door.Config) { c.Socket = "" }},
	} {
		c := fine
		tt.change(&c)
		if _, err := door.New(c); api.FieldOf(err) != tt.field {
			t.Errorf("New = %v, want a complaint about %q", err, tt.field)
		}
	}
}

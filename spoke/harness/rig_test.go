package harness_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/boottime"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/door"
	"github.com/nave-dev/nave/spoke/harness"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// A harness kills the children of its process, so each test runs it in one of its own: this binary with a description.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && filepath.Base(os.Args[1]) == "workload.json" {
		if os.Getenv("NAVE_TEST_CLOCK")+os.Getenv("NAVE_TEST_STALL")+os.Getenv("NAVE_TEST_PATIENCE") != "" {
			os.Exit(mainWithConfig(os.Args[1]))
		}
		os.Exit(harness.Main(os.Args[1], "test", os.Stderr))
	}
	if len(os.Args) == 2 && (os.Args[1] == "pod" || os.Args[1] == "first") {
		os.Exit(mainOfPod(os.Args[1] == "first"))
	}
	if len(os.Args) == 2 && os.Args[1] == "agent" {
		os.Exit(runTestAgent())
	}
	os.Exit(m.Run())
}

// mainWithConfig runs a harness whose clock is ahead of the boot-time clock by what a file says, or whose transfers may
// stand still for another time, or whose patience is another.
func mainWithConfig(description string) int {
	w, err := harness.Load(description)
	if err != nil {
		return 2
	}
	c := harness.Config{Workload: w, Version: "test", Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	if file := os.Getenv("NAVE_TEST_CLOCK"); file != "" {
		c.Clock = func() time.Duration { return boottime.Now() + duration(os.ReadFile(file)) }
	}
	if stall := os.Getenv("NAVE_TEST_STALL"); stall != "" {
		c.Stall = duration([]byte(stall), nil)
	}
	if patience := os.Getenv("NAVE_TEST_PATIENCE"); patience != "" {
		c.Patience = duration([]byte(patience), nil)
	}
	h, err := harness.New(c)
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		err = h.Run(ctx)
	}
	if err != nil {
		return 1
	}
	return 0
}

func duration(text []byte, err error) time.Duration {
	d, perr := time.ParseDuration(string(text))
	if err := errors.Join(err, perr); err != nil {
		panic(err)
	}
	return d
}

const patience = 20 * time.Second

// rig is a harness process and the spoke's side of it.
type rig struct {
	t    *testing.T
	dir  string
	id   spoke.WorkloadID
	w    *harnessv1.Workload
	cmd  *exec.Cmd
	h    *handler
	door *door.Door
	v    *vault
	m    *messenger
	open *run.Group // runs the door; nil while the spoke is away

	socket string   // of the door; the harness's own unless something is between them
	env    []string // of the harness, further
}

func newRig(t *testing.T, script string) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "nave") // short: the path of a socket is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &rig{t: t, dir: dir, h: &handler{changed: make(chan struct{})}, v: newVault(), m: &messenger{}}
	r.id = spoke.WorkloadID{Session: "01J00000000000000000000000", Epoch: api.Epoch{N: 1}, Attempt: 2}
	r.w = &harnessv1.Workload{
		Id: r.id.String(), Organization: "default", Session: string(r.id.Session), Key: "a key", Agent: "tester", Cluster: "01JC",
		Protocol: "command", Command: []string{"/bin/sh", "-c", script}, Instructions: "be quick", Model: "m1",
		TurnLimit: durationpb.New(patience), OnSignal: "wait",
		State: filepath.Join(dir, "state"), CheckpointMode: "turn", OnStateLoss: "fail",
		Home: filepath.Join(dir, "home"), Workspace: filepath.Join(dir, "workspace"), Temp: filepath.Join(dir, "temp"),
		Path: "/usr/bin:/bin", Socket: filepath.Join(dir, "door.sock"), ExitFile: filepath.Join(dir, "exit"),
	}
	return r
}

// begin starts the harness process and opens the door, with a lease without an end.
func (r *rig) begin() {
	r.t.Helper()
	r.beginWithout()
	r.door.Lease(r.id, spoke.LeaseForever)
}

// beginWithout starts it without a lease.
func (r *rig) beginWithout() {
	r.t.Helper()
	doc, err := protojson.Marshal(r.w)
	if err != nil {
		r.t.Fatal(err)
	}
	file := filepath.Join(r.dir, "workload.json")
	if err := os.WriteFile(file, doc, 0o600); err != nil {
		r.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	r.cmd = exec.Command(self, file)
	r.cmd.Env = append([]string{"PATH=/usr/bin:/bin", "SECRET_OF_THE_HARNESS=1"}, r.env...)
	r.cmd.Stderr = r.t.Output()
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.door, err = door.New(door.Config{
		Socket: cmp.Or(r.socket, r.w.Socket), Vault: r.v, Messenger: r.m, Log: slog.New(slog.NewTextHandler(r.t.Output(), nil)),
		Verify: func(id spoke.WorkloadID, pid int) error {
			if id != r.id || pid != r.cmd.Process.Pid && r.socket == "" {
				return errors.New("another process")
			}
			return nil
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.back()
	r.t.Cleanup(func() {
		if r.cmd.ProcessState == nil {
			r.cmd.Process.Kill()
			r.cmd.Wait()
		}
		r.away()
	})
}

// again begins the next attempt; the harness of the one before has ended.
func (r *rig) again(latest, saved string) {
	r.t.Helper()
	r.away()
	r.id.Attempt++
	r.w.Id, r.w.StateLatest, r.w.StateSaved = r.id.String(), latest, saved
	r.h = &handler{changed: make(chan struct{})}
	r.begin()
}

// killed ends the harness as kill -9 does.
func (r *rig) killed() {
	r.t.Helper()
	if err := r.cmd.Process.Kill(); err != nil {
		r.t.Fatal(err)
	}
	r.cmd.Wait()
}

// back opens the door, away closes it as a spoke that ends does.
func (r *rig) back() {
	r.open = run.NewGroup(context.Background())
	r.open.Go("door", func(ctx context.Context) error { return r.door.Run(ctx, r.h) })
}

func (r *rig) away() {
	if r.open == nil {
		return
	}
	r.open.Stop()
	if err := r.open.Wait(); err != nil {
		r.t.Errorf("door: %v", err)
	}
	r.open = nil
}

// end asks the harness to end and returns its exit code and what it says of why.
func (r *rig) end() (int, *harnessv1.Exit) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		r.t.Fatal(err)
	}
	return r.wait()
}

func (r *rig) wait() (int, *harnessv1.Exit) {
	r.t.Helper()
	timer := time.AfterFunc(patience, func() { r.cmd.Process.Kill() })
	defer timer.Stop()
	var exit *exec.ExitError
	if err := r.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	text, err := os.ReadFile(r.w.ExitFile)
	if err != nil {
		r.t.Fatal(err)
	}
	e := new(harnessv1.Exit)
	if err := protojson.Unmarshal(text, e); err != nil {
		r.t.Fatalf("exit file %q: %v", text, err)
	}
	return r.cmd.ProcessState.ExitCode(), e
}

// handler keeps events durably: what it has survives every closing of the door.
type handler struct {
	block atomic.Bool // Events waits for the end of the connection

	mu      sync.Mutex
	events  []api.Event
	deltas  []api.Delta
	gone    int // harnesses that were detached
	changed chan struct{}
}

func (h *handler) Attached(context.Context, spoke.WorkloadID) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return uint64(len(h.events)), nil
}

func (h *handler) Events(ctx context.Context, _ spoke.WorkloadID, events []api.Event) error {
	if h.block.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, events...)
	close(h.changed)
	h.changed = make(chan struct{})
	return nil
}

func (h *handler) Detached(spoke.WorkloadID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone++
}

func (h *handler) Deltas(_ spoke.WorkloadID, deltas []api.Delta, _ int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deltas = append(h.deltas, deltas...)
}

// messenger takes signals, after it refused some as unavailable.
type messenger struct {
	mu      sync.Mutex
	away    int               // calls that are still refused; guarded by mu
	err     error             // of those that are not; guarded by mu
	signals []api.AgentSignal // guarded by mu
}

func (m *messenger) Signal(_ context.Context, _ api.SessionID, _ api.Source, s api.AgentSignal) (api.Accepted, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away > 0 {
		m.away--
		return api.Accepted{}, api.Errorf(api.CodeUnavailable, "the hub is away")
	}
	if m.err != nil {
		return api.Accepted{}, m.err
	}
	m.signals = append(m.signals, s)
	return api.Accepted{Signal: "signal", Session: "other", Sequence: uint64(len(m.signals))}, nil
}

// await returns all events when one of them is as wanted, and checks that they are dense.
func (r *rig) await(what string, is func(api.Event) bool) []api.Event {
	r.t.Helper()
	deadline := time.After(patience)
	seen := 0
	for {
		r.h.mu.Lock()
		events, changed := slices.Clone(r.h.events), r.h.changed
		r.h.mu.Unlock()
		for ; seen < len(events); seen++ {
			if n := events[seen].SourceNumber; n != uint64(seen+1) {
				r.t.Fatalf("event %d has number %d", seen+1, n)
			}
			if is(events[seen]) {
				return events
			}
		}
		select {
		case <-changed:
		case <-deadline:
			for _, e := range events[max(0, len(events)-10):] {
				r.t.Logf("event %d: %s %v %s %.80s", e.SourceNumber, e.Type, e.Signals, e.Outcome, e.Text)
			}
			r.t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

func (r *rig) message(text string) {
	r.t.Helper()
	r.await("message "+text, func(e api.Event) bool { return e.Type == api.EventMessage && e.Text == text })
}

// records are the turn records, when there are n.
func (r *rig) records(n int) []api.Event {
	r.t.Helper()
	var records []api.Event
	r.await(fmt.Sprintf("%d turn records", n), func(e api.Event) bool {
		if e.Type == api.EventTurnDone {
			records = append(records, e)
		}
		return len(records) == n
	})
	return records
}

func orders(ss ...api.Signal) spoke.Orders { return spoke.Orders{Signals: ss} }

func sig(n uint64, deliveries uint32, payload string) api.Signal {
	return api.Signal{ID: api.SignalID(fmt.Sprintf("id-%d", n)), Sequence: n, Deliveries: deliveries, Payload: []byte(payload), Sender: "user:ada"}
}

// awaitStandstill waits until the agent makes no progress.
func (r *rig) awaitStandstill() {
	r.t.Helper()
	var before string
	same := 0
	r.eventually("the agent is held up", func() bool {
		b, err := os.ReadFile(filepath.Join(r.w.Workspace, "progress"))
		if err != nil || len(b) == 0 || string(b) != before {
			before, same = string(b), 0
			return false
		}
		same++
		return same >= 50 // half a second without a line, of thousands in a second
	})
}

func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

func initScript(text string) []*harnessv1.InitScript {
	return []*harnessv1.InitScript{{Name: "one", Script: text}}
}

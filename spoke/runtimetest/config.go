package runtimetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke"
)

// Config is a runtime under test. It holds nothing yet.
type Config struct {
	// Runtime is under test.
	Runtime spoke.Runtime
	// Again makes another value over the same workloads, as a restarted spoke does.
	Again func() spoke.Runtime
	// Door is where its harnesses connect. The suite runs it. Its vault is [NoCheckpoints].
	Door spoke.Door
	// Run, when it is not nil, is what the runtime needs to have running.
	Run func(ctx context.Context) error
	// KillHarness ends the harness of a running workload as kill -9 does, and nothing else.
	KillHarness func(id spoke.WorkloadID) error
	// Running counts the processes that have the token in their command line.
	Running func(token string) (int, error)
	// Image is what agents need to find /bin/sh, sleep and setsid; empty when the runtime takes no images.
	Image string
	// Volumes are what keeps the state of a session over its workloads, where these alone do not.
	Volumes []api.Volume
}

// NoCheckpoints is a vault that has none and takes none.
type NoCheckpoints struct{}

// SaveCheckpoint implements [spoke.Vault].
func (NoCheckpoints) SaveCheckpoint(context.Context, api.CheckpointHeader, io.Reader) error {
	return api.Errorf(api.CodeUnavailable, "there is no bucket")
}

// FetchCheckpoint implements [spoke.Vault].
func (NoCheckpoints) FetchCheckpoint(_ context.Context, _ api.SessionID, _ api.Source, id api.CheckpointID, _ api.CheckpointPart, _, _ int64, _ io.Writer) error {
	return api.Errorf(api.CodeNotFound, "there is no checkpoint %s", id)
}

const patience = 20 * time.Second // for any single condition; reached only when a test fails

// bench is one test's runtime with its door open.
type bench struct {
	Config
	t *testing.T
	h *handler
}

func newBench(t *testing.T, c Config) *bench {
	t.Helper()
	b := &bench{Config: c, t: t, h: &handler{attached: make(map[spoke.WorkloadID]int), events: make(map[spoke.WorkloadID][]api.Event), changed: make(chan struct{})}}
	g := run.NewGroup(context.Background())
	g.Go("door", func(ctx context.Context) error { return c.Door.Run(ctx, b.h) })
	if c.Run != nil {
		g.Go("runtime", c.Run)
	}
	t.Cleanup(func() {
		b.clear()
		g.Stop()
		if err := g.Wait(); err != nil {
			t.Errorf("door or runtime: %v", err)
		}
	})
	return b
}

// clear stops everything, so that a failed test leaves nothing behind.
func (b *bench) clear() {
	b.eventually("nothing is listed after everything was stopped", func() (bool, error) {
		ws, err := b.Runtime.List(context.Background())
		for _, w := range ws {
			err = errors.Join(err, b.Runtime.Stop(context.Background(), w.ID, 0))
		}
		return len(ws) == 0, err
	})
}

// spec is a workload of a new session that runs a shell script for each turn.
func (b *bench) spec(script string) spoke.WorkloadSpec {
	var entropy [10]byte
	rand.Read(entropy[:])
	return spoke.WorkloadSpec{
		ID:  spoke.WorkloadID{Session: api.NewSessionID(time.Now(), 0, entropy), Epoch: api.Epoch{N: 1}, Attempt: 1},
		Org: api.DefaultOrg, Key: "key of the test",
		Revision: &api.ResolvedRevision{
			AgentName: "tester", AgentRevision: 1, EnvironmentRevision: 1,
			Agent: (&api.AgentSpec{
				Environment: "test", Instructions: "do as the test says",
				Harness: api.HarnessSpec{Protocol: api.ProtocolCommand, Command: []string{"/bin/sh", "-c", script}},
			}).WithDefaults(),
			Environment: (&api.EnvironmentSpec{Image: b.Image}).For(nil),
		},
	}
}

// token is a number that no other process has in its command line.
func token() string {
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000_000_000))
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("%012d", n)
}

func (b *bench) start(w spoke.WorkloadSpec) {
	b.t.Helper()
	if err := b.Runtime.Start(b.t.Context(), w); err != nil {
		b.t.Fatalf("Start: %v", err)
	}
	b.Door.Lease(w.ID, spoke.LeaseForever)
}

func (b *bench) stop(id spoke.WorkloadID, grace time.Duration) {
	b.t.Helper()
	if err := b.Runtime.Stop(b.t.Context(), id, grace); err != nil {
		b.t.Fatalf("Stop: %v", err)
	}
}

// state is what the runtime lists of a workload; the zero value when it lists nothing.
func (b *bench) state(rt spoke.Runtime, id spoke.WorkloadID) spoke.Workload {
	b.t.Helper()
	ws, err := rt.List(context.Background())
	if err != nil {
		b.t.Fatalf("List: %v", err)
	}
	if i := slices.IndexFunc(ws, func(w spoke.Workload) bool { return w.ID == id }); i >= 0 {
		return ws[i]
	}
	return spoke.Workload{}
}

func (b *bench) awaitState(id spoke.WorkloadID, want spoke.WorkloadState) spoke.Workload {
	b.t.Helper()
	var w spoke.Workload
	b.eventually(fmt.Sprintf("workload is %q", want), func() (bool, error) {
		w = b.state(b.Runtime, id)
		return w.State == want, nil
	})
	return w
}

// running asserts how many processes have the token, now or soon.
func (b *bench) running(token string, want int) {
	b.t.Helper()
	b.eventually(fmt.Sprintf("%d processes of the agent run", want), func() (bool, error) {
		n, err := b.Running(token)
		return n == want, err
	})
}

// eventually waits for a condition and fails the test when it does not come.
func (b *bench) eventually(what string, ok func() (bool, error)) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		is, err := ok()
		if is && err == nil {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("not in %v: %s (last error: %v)", patience, what, err)
		}
		<-tick.C
	}
}

// handler takes everything that harnesses say.
type handler struct {
	mu       sync.Mutex
	attached map[spoke.WorkloadID]int
	events   map[spoke.WorkloadID][]api.Event
	changed  chan struct{} // closed and replaced with every event
}

// Attached implements [spoke.DoorHandler].
func (h *handler) Attached(_ context.Context, id spoke.WorkloadID) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attached[id]++
	return uint64(len(h.events[id])), nil
}

// Events implements [spoke.DoorHandler].
func (h *handler) Events(_ context.Context, id spoke.WorkloadID, events []api.Event) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events[id] = append(h.events[id], events...)
	close(h.changed)
	h.changed = make(chan struct{})
	return nil
}

// Deltas implements [spoke.DoorHandler].
func (h *handler) Deltas(spoke.WorkloadID, []api.Delta, int) {}

// Detached implements [spoke.DoorHandler].
func (h *handler) Detached(spoke.WorkloadID) {}

// of returns the events of a workload so far.
func (h *handler) of(id spoke.WorkloadID) ([]api.Event, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events[id]), h.changed
}

// await waits for an event and returns everything up to it.
func (b *bench) await(id spoke.WorkloadID, what string, is func(api.Event) bool) []api.Event {
	b.t.Helper()
	deadline := time.After(patience)
	for {
		events, changed := b.h.of(id)
		if i := slices.IndexFunc(events, is); i >= 0 {
			return events[:i+1]
		}
		select {
		case <-changed:
		case <-deadline:
			b.t.Fatalf("not in %v: %s; events so far: %+v", patience, what, events)
		}
	}
}

// message waits for a line of the agent.
func (b *bench) message(id spoke.WorkloadID, text string) {
	b.t.Helper()
	b.await(id, fmt.Sprintf("message %q", text), func(e api.Event) bool { return e.Type == api.EventMessage && e.Text == text })
}

// turn waits for the record of the turn that names the signal and returns it.
func (b *bench) turn(id spoke.WorkloadID, sequence uint64) api.Event {
	b.t.Helper()
	events := b.await(id, fmt.Sprintf("turn record of signal %d", sequence), func(e api.Event) bool {
		return e.Type == api.EventTurnDone && slices.Contains(e.Signals, sequence)
	})
	return events[len(events)-1]
}

func signals(from, to uint64) spoke.Orders {
	var o spoke.Orders
	for n := from; n <= to; n++ {
		o.Signals = append(o.Signals, api.Signal{ID: api.SignalID(fmt.Sprintf("signal-%d", n)), Sequence: n, Payload: fmt.Appendf(nil, "payload %d", n)})
	}
	return o
}

package harness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// newTestHarness is a harness over a directory that does not run.
func newTestHarness(t *testing.T) *Harness {
	t.Helper()
	dir := t.TempDir()
	h, err := New(Config{Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Workload: &harnessv1.Workload{
		Id: "w-0-1-1", Session: "s", Socket: "door", Protocol: "command", Command: []string{"c"}, TurnLimit: durationpb.New(time.Hour),
		State: filepath.Join(dir, "state"), Home: filepath.Join(dir, "home"), Workspace: filepath.Join(dir, "workspace"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.work.state.close)
	return h
}

// An end is a failed start until a turn began.
func TestFailedStarts(t *testing.T) {
	h := newTestHarness(t)
	cause := errors.New("because")
	err := fmt.Errorf("further: %w", h.failed(api.StartFailureRestore, cause))
	if !errors.Is(err, cause) || FailureOf(err) != api.StartFailureRestore {
		t.Errorf("%v is a failure of kind %q", err, FailureOf(err))
	}
	h.work.turned = true
	if err := h.failed(api.StartFailureCrash, cause); !errors.Is(err, cause) || FailureOf(err) != "" {
		t.Errorf("after a turn %v is a failure of kind %q", err, FailureOf(err))
	}
}

// What the next attempt may begin from stays until the spoke has the record that names a later one.
func TestChunksStayUntilTheSpokeHasTheRecord(t *testing.T) {
	s := newTestHarness(t).work.state
	if r, err := s.restore(t.Context()); err != nil || r.from != fromEmpty {
		t.Fatalf("restore = %+v, %v", r, err)
	}
	var ids []api.CheckpointID
	for n := range 4 {
		if err := os.WriteFile(filepath.Join(s.w.Home, "n"), fmt.Append(nil, n), 0o600); err != nil {
			t.Fatal(err)
		}
		id, err := s.take(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		s.named(id, uint64(10*n+10))
		ids = append(ids, id)
	}
	for _, tt := range []struct {
		first uint64 // the spoke has what is before
		gone  int
	}{{1, 0}, {20, 0}, {21, 1}, {40, 2}, {41, 3}, {1000, 3}} {
		s.collect(t.Context(), tt.first)
		for i, id := range ids {
			if _, err := s.store.Load(id); (api.CodeOf(err) == api.CodeNotFound) != (i < tt.gone) {
				t.Errorf("the spoke has events before %d: checkpoint %d: %v", tt.first, i, err)
			}
		}
	}
	if s.takes != 0 {
		t.Errorf("%d takes since old chunks were removed", s.takes)
	}
	var first api.CheckpointID
	for n := range takesKept { // without a bucket old chunks go as well
		if err := os.WriteFile(filepath.Join(s.w.Home, "n"), fmt.Append(nil, "again", s.takes), 0o600); err != nil {
			t.Fatal(err)
		}
		id, err := s.take(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			first = id
		}
	}
	if _, err := s.store.Load(first); api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("%d takes, and old chunks were not removed: %v", takesKept, err)
	}
}

// What a restore left that did not succeed is removed; what was there before it stays aside until one has succeeded.
func TestFormerStateIsPutAside(t *testing.T) {
	s := newTestHarness(t).work.state
	write := func(path, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	old := filepath.Join(s.aside(), "home", "old")
	write(filepath.Join(s.w.Home, "old"), "former")
	write(filepath.Join(s.w.Workspace, "old"), "former")
	if err := os.Chmod(s.w.Home, 0o500); err != nil {
		t.Fatal(err)
	}
	if err := s.clear(); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(s.w.Home, "half"), "restored")
	if err := s.clear(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(old); err != nil || string(b) != "former" {
		t.Errorf("what was there is aside as %q, %v", b, err)
	}
	if s.whole() {
		t.Error("the directories are there though they were cleared")
	}
	if err := s.empty(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.aside()); !errors.Is(err, os.ErrNotExist) || !s.whole() {
		t.Errorf("after success: aside %v, whole %v", err, s.whole())
	}
}

// The codes of the vault come through the spoke as they are.
func TestCodesOfTheVault(t *testing.T) {
	for code, want := range map[codes.Code]api.Code{
		codes.InvalidArgument: api.CodeInvalid, codes.NotFound: api.CodeNotFound, codes.PermissionDenied: api.CodeDenied, codes.ResourceExhausted: api.CodeLimit,
		codes.Unavailable: api.CodeUnavailable, codes.FailedPrecondition: api.CodeFailed, codes.Unimplemented: api.CodeUnsupported, codes.Unknown: api.CodeInternal,
	} {
		if err := fromStatus("op", status.Error(code, "because")); api.CodeOf(err) != want || err.Error() != "op: because" {
			t.Errorf("%v becomes %v (%s), want %s", code, err, api.CodeOf(err), want)
		}
	}
}

// A spoke that is away makes a transfer fail at once.
func TestTransfersWithoutASpoke(t *testing.T) {
	h := newTestHarness(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := h.vault.fetch(ctx, "x", api.PartPack, 0, 0, nil); api.CodeOf(err) != api.CodeUnavailable || ctx.Err() != nil {
		t.Errorf("fetch without a spoke: %v", err)
	}
}

// A bucket that is away for long fails the start; the state is not lost by that.
func TestBucketThatStaysAway(t *testing.T) {
	s := newTestHarness(t).work.state
	attached := make(chan struct{})
	close(attached)
	s.attached, s.tries = attached, 2
	s.w.OnStateLoss, s.w.StateSaved = string(api.OnStateLossContinue), strings.Repeat("ab", 32)
	if r, err := s.restore(t.Context()); api.CodeOf(err) != api.CodeUnavailable {
		t.Errorf("restore = %+v, %v", r, err)
	}
}

// The time that a transfer may stand still begins with it.
func TestStallBeginsWithTheUpload(t *testing.T) {
	h := newTestHarness(t)
	if !h.facts(t.Context(), h.lease.look(), task{}).stalled {
		t.Fatal("a transfer that never was has moved")
	}
	if err := h.begin(task{kind: taskUpload}); err != nil || h.facts(t.Context(), h.lease.look(), task{}).stalled {
		t.Errorf("it stands still when it begins (%v)", err)
	}
}

func TestPauses(t *testing.T) {
	for tries, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 6: 30 * time.Second, 1000: 30 * time.Second} {
		if got := savePause(tries); got != want {
			t.Errorf("after %d tries it pauses for %v, want %v", tries, got, want)
		}
	}
}

// What is dropped is consumed by a record that a checkpoint is still to cover.
func TestDropped(t *testing.T) {
	for mode, waits := range map[api.CheckpointMode]bool{api.CheckpointTurn: true, api.CheckpointIdle: false} {
		h := newTestHarness(t)
		h.w.CheckpointMode = string(mode)
		h.drop([]*harnessv1.Signal{{Sequence: 3}, {Sequence: 4}}, "enough")
		if !h.work.dirty || (h.work.open != nil) != waits || h.work.turned {
			t.Errorf("%s: dirty %v, the record waits: %v", mode, h.work.dirty, h.work.open != nil)
		}
		if waits {
			h.record("c1")
		}
		batch, _, _ := h.out.after(0)
		if len(batch) != 1 || batch[0].Outcome != "cancelled" || batch[0].Text != "enough" || len(batch[0].Signals) != 2 || !h.work.consumed.has(3) || !h.work.consumed.has(4) {
			t.Errorf("%s: events %v", mode, batch)
		}
	}
}

// The marker is gone before the agent's program begins.
func TestOpeningTakesTheMarkerAway(t *testing.T) {
	h := newTestHarness(t)
	s := h.work.state
	if _, err := s.restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.take(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.store.Marker(); !ok {
		t.Fatal("there is no marker after a take")
	}
	if err := h.begin(task{kind: taskOpen}); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.store.Marker(); ok {
		t.Error("the marker is there when the agent's program begins")
	}
}

// A try to take or to save a checkpoint that began before the end was asked for is not the last one, unless it was ended
// because it stood still.
func TestTheLastTryBeginsAfterTheStop(t *testing.T) {
	tests := []struct {
		name string
		task task
		want int // tries
	}{
		{"began before the stop", task{}, 0},
		{"stood still", task{dropped: true}, 1},
		{"began after it", task{last: true}, 1},
	}
	for _, tt := range tests {
		for _, kind := range []string{taskTake, taskUpload} {
			t.Run(kind+" "+tt.name, func(t *testing.T) {
				h := newTestHarness(t)
				h.work.stopping = true
				tt.task.kind = kind
				if err := h.finish(tt.task, ended{err: api.Errorf(api.CodeUnavailable, "no hub")}); err != nil {
					t.Fatal(err)
				}
				if h.work.tries != tt.want || (h.work.pauseTill == 0) != (tt.want == 0) {
					t.Errorf("%d tries, pause till %v, want %d tries", h.work.tries, h.work.pauseTill, tt.want)
				}
			})
		}
	}
}

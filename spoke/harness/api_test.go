package harness

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/unixsocket"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
	"github.com/nave-dev/nave/spoke/harness/local"
)

// newTestBackend sends what the function takes.
func newTestBackend(send func(context.Context, *harnessv1.SignalRequest) error) *backend {
	return &backend{
		w: &harnessv1.Workload{Id: "s-0-1-3", Session: "S", Key: "k", Agent: "a", Organization: "o", Cluster: "c"}, out: newOutbox(10, 1<<20),
		send: func(ctx context.Context, r *harnessv1.SignalRequest) (*harnessv1.SignalResponse, error) {
			if err := send(ctx, r); err != nil {
				return nil, err
			}
			return &harnessv1.SignalResponse{SignalId: "id", SessionId: "T", Sequence: 4, Duplicate: true}, nil
		},
	}
}

// Keys tell equal signals of a turn apart, are the same when the turn runs again, and are free again after a failure.
func TestIdempotencyKeys(t *testing.T) {
	var keys []string
	var fails error
	b := newTestBackend(func(_ context.Context, r *harnessv1.SignalRequest) error {
		keys = append(keys, r.IdempotencyKey)
		return fails
	})
	send := func(agent, key, payload, own string) {
		_, _ = b.Signal(t.Context(), local.SignalRequest{Agent: agent, Key: key, Payload: []byte(payload), IdempotencyKey: own})
	}
	turn := func() []string {
		keys = nil
		b.enter(taskTurn, []uint64{7, 8}, false)
		send("a", "bc", "go", "")
		send("ab", "c", "go", "")
		send("a", "bc", "go", "mine")
		fails = api.Errorf(api.CodeDenied, "no grant")
		send("a", "bc", "go", "")
		fails = nil
		send("a", "bc", "go", "")
		send("a", "bc", "", "")
		return keys
	}
	first := turn()
	if diff := cmp.Diff(first, turn()); diff != "" {
		t.Errorf("the turn makes other keys the second time\n%s", diff)
	}
	if first[2] != "mine" || first[3] != first[4] {
		t.Errorf("keys %q: want the agent's own, and the same for a signal that was not sent", first)
	}
	different := map[string]bool{first[0]: true, first[1]: true, first[3]: true, first[5]: true}
	if len(different) != 4 || !strings.HasPrefix(first[0], "turn/S/7/") || !strings.HasSuffix(first[3], "/1") || api.ValidateIdempotencyKey("key", first[0]) != nil {
		t.Errorf("keys %q", first)
	}
	keys = nil
	b.enter(taskPrepare, nil, false)
	send("a", "bc", "go", "")
	if !strings.HasPrefix(keys[0], "start/s-0-1-3/") {
		t.Errorf("before a turn the key is %q", keys[0])
	}
}

// A hub that is away is asked again for half a minute, and no longer; what it refuses is not repeated.
func TestSignalsAreRepeated(t *testing.T) {
	for _, tt := range []struct {
		name  string
		away  time.Duration
		err   error
		code  api.Code
		takes time.Duration
	}{
		{"away for 5s", 5 * time.Second, nil, "", 8 * time.Second},
		{"away", time.Hour, nil, api.CodeUnavailable, signalWithin},
		{"refused", 0, api.Errorf(api.CodeDenied, "no grant"), api.CodeDenied, signalPauseMin},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, calls := time.Now(), 0
				b := newTestBackend(func(context.Context, *harnessv1.SignalRequest) error {
					if calls++; time.Since(began) < tt.away {
						return api.Errorf(api.CodeUnavailable, "away")
					}
					return tt.err
				})
				b.enter(taskTurn, []uint64{1}, false)
				got, err := b.Signal(t.Context(), local.SignalRequest{Agent: "a", Key: "k"})
				if took := time.Since(began); took > tt.takes || calls > 30 || calls < 1 {
					t.Errorf("it took %v and %d calls", took, calls)
				}
				if code := api.CodeOf(err); err != nil && code != tt.code || err == nil && (tt.code != "" || got != (local.SignalAnswer{SignalID: "id", SessionID: "T", Sequence: 4, Duplicate: true})) {
					t.Errorf("%+v, %v", got, err)
				}
			})
		})
	}
}

// Between turns nothing of the agent runs: who calls then is not heard.
func TestBackendAnswersWhileTheAgentActs(t *testing.T) {
	b := newTestBackend(func(context.Context, *harnessv1.SignalRequest) error { return nil })
	for task, acts := range map[string]bool{taskNone: false, taskRestore: false, taskTake: false, taskUpload: false, taskClose: false, taskPrepare: true, taskOpen: true, taskTurn: true} {
		b.enter(task, nil, false)
		_, serr := b.Signal(t.Context(), local.SignalRequest{Agent: "a", Key: "k"})
		if eerr := b.Emit(t.Context(), "x", nil); (serr == nil) != acts || (eerr == nil) != acts {
			t.Errorf("%q: %v, %v", task, serr, eerr)
		}
	}
	b.enter(taskTurn, []uint64{7}, true)
	want := local.State{Session: "S", Key: "k", Agent: "a", Organization: "o", Cluster: "c", Workload: "s-0-1-3", Attempt: 3, Signals: []uint64{7}, StateLost: true}
	if diff := cmp.Diff(want, b.State(t.Context())); diff != "" {
		t.Errorf("state (-want +got)\n%s", diff)
	}
}

// The socket is beside the exit file, or somewhere short.
func TestSocketOfTheLocalAPI(t *testing.T) {
	short := t.TempDir()
	for _, dir := range []string{short, filepath.Join(short, strings.Repeat("x", 120))} {
		b := &backend{w: &harnessv1.Workload{ExitFile: filepath.Join(dir, "exit")}}
		if err := b.prepare(); err != nil {
			t.Fatal(err)
		}
		if beside := strings.HasPrefix(b.path, dir+"/"); beside != (dir == short) || unixsocket.Check("socket", b.path) != nil || mode(t, b.dir) != 0o700 {
			t.Errorf("the socket for %s is %s", dir, b.path)
		}
		b.close()
		if exists(b.dir) {
			t.Errorf("%s is left", b.dir)
		}
	}
}

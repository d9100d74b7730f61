package harness

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/unixsocket"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
	"github.com/nave-dev/nave/spoke/harness/local"
)

// Bounds of a signal that the agent's programs send.
const (
	signalWithin   = 30 * time.Second // all tries together
	signalPauseMin = 50 * time.Millisecond
	signalPauseMax = 2 * time.Second
)

// backend is the harness as the agent's programs see it. It answers while the agent may act.
type backend struct {
	w    *harnessv1.Workload
	out  *outbox
	send func(context.Context, *harnessv1.SignalRequest) (*harnessv1.SignalResponse, error) // to the spoke, once
	dir  string                                                                             // of the socket
	path string                                                                             // of the socket
	pod  bool                                                                               // the exit file is not among files of the harness's own

	mu   sync.Mutex
	task string                    // that runs; guarded by mu
	turn []uint64                  // its signals; guarded by mu
	lost bool                      // the state of before could not be restored; guarded by mu
	used map[[32]byte]map[int]bool // numbers of equal signals that were sent, or are being sent; guarded by mu
}

var _ local.Backend = (*backend)(nil)

// prepare makes the directory of the socket: beside the exit file, which is the harness's own place, or below the directory
// for temporary files in a pod, unless the address would be too long for a socket there.
func (b *backend) prepare() error {
	var err error
	b.dir = filepath.Join(filepath.Dir(b.w.ExitFile), "api")
	switch tooLong := func(dir string) bool { return unixsocket.Check("", filepath.Join(dir, "s")) != nil }; {
	case b.pod && !tooLong(filepath.Join(b.w.Temp, "nave-0123456789")):
		b.dir, err = os.MkdirTemp(b.w.Temp, "nave-")
	case b.pod || b.w.ExitFile == "" || tooLong(b.dir):
		b.dir, err = os.MkdirTemp("", "nave-")
	default:
		err = os.MkdirAll(b.dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("make a directory for the local API: %w", err)
	}
	b.path = filepath.Join(b.dir, "s")
	return nil
}

// close removes the directory of the socket.
func (b *backend) close() {
	if b.dir != "" {
		_ = os.RemoveAll(b.dir)
	}
}

// enter notes which task runs, and the signals of a turn.
func (b *backend) enter(task string, signals []uint64, lost bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.task, b.turn, b.lost, b.used = task, signals, lost, make(map[[32]byte]map[int]bool)
}

// actsLocked refuses calls from anything that has outlived what it belongs to.
func (b *backend) actsLocked() error {
	if b.task == taskPrepare || b.task == taskOpen || b.task == taskTurn {
		return nil
	}
	return api.Errorf(api.CodeFailed, "no turn runs")
}

// Signal implements [local.Backend]. A signal without an idempotency key gets one that the same turn makes again when it is
// run again.
func (b *backend) Signal(ctx context.Context, r local.SignalRequest) (local.SignalAnswer, error) {
	key, release, err := b.key(r)
	if err != nil {
		return local.SignalAnswer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, signalWithin)
	defer cancel()
	request := &harnessv1.SignalRequest{Workload: b.w.Id, Agent: r.Agent, Key: r.Key, Payload: r.Payload, IdempotencyKey: key}
	for pause := signalPauseMin; ; pause = min(2*pause, signalPauseMax) {
		out, err := b.send(ctx, request)
		if err == nil {
			return local.SignalAnswer{SignalID: out.SignalId, SessionID: out.SessionId, Sequence: out.Sequence, Duplicate: out.Duplicate}, nil
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil || api.CodeOf(err) != api.CodeUnavailable {
			release()
			return local.SignalAnswer{}, err
		}
	}
}

// key is the idempotency key of a signal. Equal signals of one turn are told apart by a number; release gives it back when
// the signal was not sent, so that the next try has it again.
func (b *backend) key(r local.SignalRequest) (key string, release func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.actsLocked(); err != nil || r.IdempotencyKey != "" {
		return r.IdempotencyKey, func() {}, err
	}
	h := sha256.New()
	for _, part := range []string{r.Agent, r.Key} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		h.Write([]byte(part))
	}
	h.Write(r.Payload)
	var sum [32]byte
	h.Sum(sum[:0])
	used := b.used[sum]
	if used == nil {
		used = make(map[int]bool)
		b.used[sum] = used
	}
	n := 0
	for used[n] {
		n++
	}
	used[n] = true
	begin := "start/" + b.w.Id // of an attempt: before its first turn nothing is run again but by another one
	if len(b.turn) > 0 {
		begin = fmt.Sprintf("turn/%s/%d", b.w.Session, b.turn[0])
	}
	release = func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(used, n)
	}
	return fmt.Sprintf("%s/%x/%d", begin, sum, n), release, nil
}

// Emit implements [local.Backend].
func (b *backend) Emit(ctx context.Context, text string, attributes map[string]string) error {
	b.mu.Lock()
	err := b.actsLocked()
	b.mu.Unlock()
	if err != nil {
		return err
	}
	b.out.put(ctx, &harnessv1.Event{Type: string(api.EventNote), Text: text, Attributes: attributes})
	return nil
}

// State implements [local.Backend].
func (b *backend) State(context.Context) local.State {
	b.mu.Lock()
	defer b.mu.Unlock()
	attempt, _ := strconv.ParseUint(attemptOf(b.w), 10, 32)
	return local.State{
		Session: b.w.Session, Key: b.w.Key, Agent: b.w.Agent, Organization: b.w.Organization, Cluster: b.w.Cluster,
		Workload: b.w.Id, Attempt: uint32(attempt), Signals: b.turn, StateLost: b.lost,
	}
}

// attemptOf is the last part of a workload's id.
func attemptOf(w *harnessv1.Workload) string { return w.Id[strings.LastIndexByte(w.Id, '-')+1:] }

// sendSignal hands a signal to the spoke, on a connection of its own: leases do not wait behind it.
func sendSignal(dial func() (*grpc.ClientConn, error)) func(context.Context, *harnessv1.SignalRequest) (*harnessv1.SignalResponse, error) {
	return func(ctx context.Context, r *harnessv1.SignalRequest) (*harnessv1.SignalResponse, error) {
		cc, err := dial()
		if err != nil {
			return nil, err
		}
		defer cc.Close()
		out, err := harnessv1.NewHarnessClient(cc).Signal(ctx, r)
		if err != nil {
			return nil, fromStatus("send the signal", err)
		}
		return out, nil
	}
}

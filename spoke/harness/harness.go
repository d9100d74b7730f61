package harness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/internal/boottime"
	"github.com/nave-dev/nave/internal/run"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// Config is what a harness needs.
type Config struct {
	Workload  *harnessv1.Workload // what to run, as the runtime wrote it
	Version   string              // of the program; told to the spoke
	Log       *slog.Logger        // required
	MaxEvents int                 // events held for the spoke before the agent's output is no longer read; default 4096
	MaxBytes  int                 // the same in bytes; default 8 MiB
	Patience  time.Duration       // between SIGTERM and SIGKILL for an agent that is to end; default 2 s
	Flush     time.Duration       // how long an ending harness waits for the spoke to take its last events; default 30 s
	Stall     time.Duration       // how long the transfer of a checkpoint may stand still while work waits; default 20 s
	Spoke     Spoke               // default: the workload's socket
	InPod     bool                // the exit file is written in place, and nothing is put beside it
	Environ   []string            // of the harness, where it is what the image says; for a workload without a path. Default os.Environ()
	Cgroup    string              // folder of the control group of a container, with nobody else's processes in it. Default: there is none
	Program   string              // path of the harness's program, for the same. Default os.Executable()

	// Clock counts leases. Default the boot-time clock, which goes on while the machine sleeps.
	Clock func() time.Duration
}

func (c *Config) validate() error {
	w := c.Workload
	switch {
	case w == nil || c.Log == nil:
		return api.Invalid("Workload", "and Log are required")
	case w.Id == "" || w.Session == "" || w.Socket == "" && c.Spoke.Address == "":
		return api.Invalid("Workload", "has no id, session or socket: use the file that the runtime wrote")
	case w.Protocol != string(api.ProtocolCommand) && w.Protocol != string(api.ProtocolACP):
		return &api.Error{Code: api.CodeUnsupported, Field: "spec.harness.protocol", Err: fmt.Errorf("%q: this harness speaks %q and %q", w.Protocol, api.ProtocolACP, api.ProtocolCommand)}
	case len(w.Command) == 0:
		return api.Invalid("Workload", "has no command")
	case w.TurnLimit.AsDuration() <= 0:
		return api.Invalid("Workload", "has no turn limit")
	case w.State == "" || w.Home == "" || w.Workspace == "":
		return api.Invalid("Workload", "has no state, home or workspace: use the file that the runtime wrote")
	case c.MaxEvents < 0 || c.MaxBytes < 0 || c.Patience < 0 || c.Flush < 0 || c.Stall < 0:
		return api.Invalid("MaxEvents", "MaxBytes, Patience, Flush and Stall are not negative")
	}
	if c.Spoke.Address == "" {
		c.Spoke = Spoke{Socket: w.Socket}
	}
	if err := c.Spoke.validate(); err != nil {
		return err
	}
	if c.Environ == nil && w.Path == "" {
		c.Environ = os.Environ()
	}
	if c.Program == "" {
		c.Program, _ = os.Executable() // unknown: the agent's programs do without it
	}
	c.MaxEvents = orDefault(c.MaxEvents, 4096)
	c.MaxBytes = orDefault(c.MaxBytes, 8<<20)
	c.Patience = orDefault(c.Patience, endPatience)
	c.Flush = orDefault(c.Flush, 30*time.Second)
	c.Stall = orDefault(c.Stall, 20*time.Second)
	if c.Clock == nil {
		c.Clock = boottime.Now
	}
	return nil
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// Harness runs one attempt of one session. Make one with [New]; there is one in a process.
type Harness struct {
	c        Config
	w        *harnessv1.Workload
	out      *outbox
	in       *inbox
	deltas   *deltas
	lease    *lease
	vault    *vault
	backend  *backend
	dial     func() (*grpc.ClientConn, error) // to the spoke
	exit     exitFile
	attached chan struct{} // closed by the first welcome
	welcome  sync.Once

	work work
}

// New checks the configuration. It starts nothing.
func New(c Config) (*Harness, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	in, attached := newInbox(), make(chan struct{})
	dial := func() (*grpc.ClientConn, error) { return c.Spoke.dial(c.Workload.Id) }
	v := &vault{w: c.Workload, dial: dial, now: c.Clock, stall: c.Stall}
	out := newOutbox(c.MaxEvents, c.MaxBytes)
	return &Harness{
		c: c, w: c.Workload, out: out, in: in, deltas: newDeltas(), lease: newLease(c.Clock, c.Patience, in.notify),
		vault: v, dial: dial, exit: exitFile{path: c.Workload.ExitFile, inPlace: c.InPod},
		attached: attached, backend: &backend{w: c.Workload, pod: c.InPod, out: out, send: sendSignal(dial)},
		work: work{
			failed: make(map[uint64]uint32), began: c.Clock(),
			state: &state{w: c.Workload, session: api.SessionID(c.Workload.Session), vault: v, attached: attached, log: c.Log},
		},
	}, nil
}

// Run drives the agent until the spoke says stop or ctx ends; then it ends the turn, hands over the last events and
// returns nil. An error says why the workload could not go on; [FailureOf] tells which kind of failed start it is.
func (h *Harness) Run(ctx context.Context) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the subreaper: %w", err)
	}
	g := run.NewGroup(context.WithoutCancel(ctx)) // the link lives until the last events are handed over
	g.Go("link", h.link)
	var result error
	g.Go("work", func(gctx context.Context) error {
		result = h.run(gctx, ctx)
		e := &harnessv1.Event{Type: string(api.EventEnded), Text: "stopped", Attributes: map[string]string{"reason": "stopped"}}
		if result != nil {
			e.Text, e.Attributes["reason"] = result.Error(), result.Error()
		}
		if f := FailureOf(result); f != "" {
			e.Attributes[api.AttrFailure] = string(f)
		}
		if result != nil || !h.takenAway(ctx) {
			h.out.put(cancelled(), e)
		}
		fctx, cancel := context.WithTimeout(gctx, h.c.Flush)
		defer cancel()
		if !h.out.drained(fctx) {
			h.c.Log.Warn("the last events were not handed over", "workload", h.w.Id)
		}
		g.Stop()
		return nil
	})
	return errors.Join(g.Wait(), result)
}

// startError is an end before the first turn began.
type startError struct {
	kind api.StartFailure
	err  error
}

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

// FailureOf tells which kind of failed start an error of [Harness.Run] is; empty when it is none.
func FailureOf(err error) api.StartFailure {
	var s *startError
	if errors.As(err, &s) {
		return s.kind
	}
	return ""
}

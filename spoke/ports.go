package spoke

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// WorkloadID names one attempt to run a session. A second create of the same id collides instead of doubling.
type WorkloadID struct {
	Session api.SessionID
	Epoch   api.Epoch
	Attempt uint32 // from 1
}

// Source is the source of the events of this workload.
func (id WorkloadID) Source() api.Source { return api.Source{Epoch: id.Epoch, Attempt: id.Attempt} }

// String renders a name that is a valid file name and a valid pod name: lower-case session, incarnation, epoch, attempt.
func (id WorkloadID) String() string {
	return fmt.Sprintf("%s-%d-%d-%d", strings.ToLower(string(id.Session)), id.Epoch.Incarnation, id.Epoch.N, id.Attempt)
}

// ParseWorkloadID is the inverse of [WorkloadID.String].
func ParseWorkloadID(s string) (WorkloadID, error) {
	var id WorkloadID
	session, rest, _ := strings.Cut(s, "-")
	id.Session = api.SessionID(strings.ToUpper(session))
	if n, err := fmt.Sscanf(rest, "%d-%d-%d", &id.Epoch.Incarnation, &id.Epoch.N, &id.Attempt); n != 3 || err != nil || id.String() != s {
		return WorkloadID{}, fmt.Errorf("%q is not a workload id", s)
	}
	_, err := api.ParseULID(string(id.Session))
	return id, err
}

// Runtime makes workloads: pods, or local processes.
type Runtime interface {
	// Capacity reports flavors, room and what cannot be enforced here.
	Capacity(ctx context.Context) (api.Capacity, error)
	// Refuse reports the first field of a revision that this runtime cannot honour, as CodeUnsupported; nil when it can
	// run it. It does no I/O.
	Refuse(rev *api.ResolvedRevision) error
	// Start creates the workload. Creating one that exists is no error. An error means that nothing runs.
	Start(ctx context.Context, w WorkloadSpec) error
	// Stop asks a workload to end, whose orders say so by then; after the grace it is killed, and everything that it started with it. It returns at
	// once; List shows the outcome. Stopping what does not exist is no error. Stopping an ended workload removes its traces.
	Stop(ctx context.Context, id WorkloadID, grace time.Duration) error
	// List returns every workload that exists, whoever started it, ended ones until they are stopped. An error means
	// "unknown", never "none".
	List(ctx context.Context) ([]Workload, error)
}

// WorkloadSpec is what is to run.
type WorkloadSpec struct {
	ID       WorkloadID
	Org      api.OrgID
	Key      string
	Revision *api.ResolvedRevision // Environment with this cluster's override applied
	State    api.StateWant
}

// Workload is one workload as observed.
type Workload struct {
	ID    WorkloadID
	State WorkloadState
	Exit  string // why it ended, for people

	Failure api.StartFailure // what kind of failed start the end was; empty when it was none, or when nobody can tell

	Disrupted  bool      // the platform ended it (evicted, preempted, drained, its node lost): not the agent's doing
	Waiting    string    // why it does not run yet, for people; empty when it runs, or when nothing holds it up
	ObservedAt time.Time // when somebody saw it so, by the wall clock; zero: now
}

// Disruptable is a [Runtime] that can tell the platform when a workload should not be interrupted.
type Disruptable interface {
	// Busy says that a turn of the workload runs, or that none does. It returns at once; the last call wins. Of a workload that
	// does not exist it is no error.
	Busy(id WorkloadID, turn bool)
}

// WorkloadState is the state of a workload.
type WorkloadState string

// The states of a workload.
const (
	WorkloadRunning WorkloadState = "Running" // its harness exists
	WorkloadEnded   WorkloadState = "Ended"   // nothing of it runs any more
	WorkloadLost    WorkloadState = "Lost"    // what it runs on does not answer: nobody can tell whether it runs
)

// Journal keeps what the spoke must not forget. Records are opaque to it.
type Journal interface {
	// Append makes records durable, in order, all or none. It returns after they are on disk. CodeLimit when it is full.
	Append(records [][]byte) error
	// Replay calls f for every record since the last Compact, in order. Only before the first Append.
	Replay(f func(record []byte) error) error
	// Compact replaces everything appended so far by these records, atomically.
	Compact(records [][]byte) error
	// Size is the bytes of the records since the last Compact, those of Compact included.
	Size() int64
	// ID is random per journal; a new one means that memory was lost.
	ID() string
}

// Link is the connection to the hub. It reconnects by itself.
type Link interface {
	// Run dials, says hello (asked anew for each connection), and hands what arrives to the handler, in order, until ctx
	// ends.
	Run(ctx context.Context, h LinkHandler) error
	// Send queues a message on the present connection. It never blocks: CodeUnavailable without a connection, CodeLimit
	// when the queue is full; the sender then says everything again with the next hello. A message of deltas, which are alone
	// in it, is refused from a quarter of that on. Several goroutines may call it.
	Send(m api.SpokeMessage) error
}

// LinkHandler is called by a link from one goroutine.
type LinkHandler interface {
	Hello(ctx context.Context) (api.Hello, error)
	Connected(ctx context.Context, w api.Welcome) error
	Receive(ctx context.Context, m api.HubMessage) error
	// Renewed: the hub answered a heartbeat that was sent at this time of the boot-time clock: the cluster's lease was
	// prolonged after it. It is called from another goroutine than the rest.
	Renewed(ctx context.Context, sent time.Duration) error
	Disconnected(ctx context.Context, err error)
}

// Vault takes checkpoints to the hub's bucket and brings them back, over the present connection. CodeUnavailable without one.
type Vault interface {
	// SaveCheckpoint reads the manifest and then the pack. It returns nil when the checkpoint is verified and durable.
	SaveCheckpoint(ctx context.Context, header api.CheckpointHeader, content io.Reader) error
	// FetchCheckpoint writes a part of a checkpoint of the source's session; length 0 means to the end.
	FetchCheckpoint(ctx context.Context, session api.SessionID, source api.Source, id api.CheckpointID, part api.CheckpointPart, offset, length int64, w io.Writer) error
}

// Messenger sends signals of sessions.
type Messenger interface {
	// Signal returns when the hub has accepted the signal, which the session sends by the workload that the source names.
	// CodeUnavailable without a connection, and when it is lost meanwhile: with the same idempotency key it is safe to repeat.
	Signal(ctx context.Context, session api.SessionID, source api.Source, s api.AgentSignal) (api.Accepted, error)
}

// Door is what harnesses connect to.
type Door interface {
	// Run serves until ctx ends. Harnesses outlive it and come back.
	Run(ctx context.Context, h DoorHandler) error
	// Tell gives the harness of a workload its orders. Level: the last call wins; a harness that connects later gets
	// them then. It never blocks.
	Tell(id WorkloadID, o Orders)
	// Lease says until when, by the boot-time clock, the agent of a workload may act; LeaseForever without an end. The door
	// answers its harness's requests from it. Level: the last call wins; before the first a request waits, and what an
	// earlier program allowed holds.
	Lease(id WorkloadID, until time.Duration)
	// Asked says when the harness of a workload last asked for its lease, and until when at most it was told that its agent
	// may act; by the boot-time clock, zero when it has not asked since the door was made.
	Asked(id WorkloadID) (at, until time.Duration)
	// Forget drops the orders and the lease of a workload and cuts its harness off.
	Forget(id WorkloadID)
}

// LeaseForever is a lease without an end.
const LeaseForever = time.Duration(math.MaxInt64)

// Orders is what a harness is to know.
type Orders struct {
	Signals []api.Signal // to be worked on, in order; those that it has consumed it leaves alone
	Single  bool         // one signal per turn: the one before failed
	Stop    bool         // finish or interrupt the turn, then end

	// What follows is as the hub said it to this process last. Before it has named the session it is empty, whatever an
	// earlier process was told.
	Cancelled api.Cancellation     // signals up to it are to be consumed without further work
	Answers   []api.ApprovalAnswer // to what the workload asked; in a shared slice
}

// DoorHandler takes what harnesses say. Calls for one workload come one after another.
type DoorHandler interface {
	// Attached: the workload proved who it is. The answer is the source number up to which its events are durable here. An
	// error refuses it: a workload that the spoke does not want.
	Attached(ctx context.Context, id WorkloadID) (upTo uint64, err error)
	// Events takes over events, dense from the last number on; when it returns nil they are durable and the harness may
	// forget them.
	Events(ctx context.Context, id WorkloadID, events []api.Event) error
	// Deltas takes over pieces of text, within their bounds, and how many were dropped on the way. It never blocks, and may
	// drop them.
	Deltas(id WorkloadID, deltas []api.Delta, dropped int)
	// Detached: the harness is not connected any more.
	Detached(id WorkloadID)
}

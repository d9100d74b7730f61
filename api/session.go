package api

import (
	"slices"
	"time"
)

// Intent is what people want of a session.
type Intent string

// The intents.
const (
	IntentActive     Intent = "Active"
	IntentPaused     Intent = "Paused"
	IntentTerminated Intent = "Terminated"
)

// PauseReason says who wants a session to pause. A session is paused as long as it has one; resuming takes away only its own.
type PauseReason string

// The reasons for a pause.
const (
	PausePerson        PauseReason = "person"         // somebody asked for it
	PauseBudget        PauseReason = "budget"         // its money is spent
	PauseStartFailures PauseReason = "start failures" // MaxStartFailures starts in a row failed
)

// MaxStartFailures is how many starts in a row may fail before a session is paused.
const MaxStartFailures = 10

// Phase is what a session is doing. [PhaseTransitions] is the table of legal changes.
type Phase string

// The phases.
const (
	PhaseDormant  Phase = "Dormant"  // no workload, and no work or not to run: costs its record
	PhasePlacing  Phase = "Placing"  // has work and no assignment
	PhaseStarting Phase = "Starting" // assigned; the spoke makes the workload
	PhaseRunning  Phase = "Running"  // the workload's harness answers
	PhaseStopping Phase = "Stopping" // released; waits until the spoke confirms that nothing runs
	PhaseLost     Phase = "Lost"     // assigned to a cluster that is not heard
)

// Phases lists the phases in the order of their declaration.
func Phases() []Phase {
	return []Phase{PhaseDormant, PhasePlacing, PhaseStarting, PhaseRunning, PhaseStopping, PhaseLost}
}

// PhaseTransitions is the table of legal changes of phase:
//
//	from      to        because
//	Dormant   Placing   a signal was accepted
//	Placing   Starting  an assignment was committed
//	Placing   Dormant   paused or terminated before it was placed
//	Starting  Running   the spoke saw the harness
//	Starting  Placing   the spoke refused the assignment
//	Starting  Stopping  released before it ran
//	Starting  Lost      the cluster's lease ran out
//	Running   Starting  the workload ended; the spoke makes the next attempt
//	Running   Stopping  sleep was granted
//	Running   Lost      the cluster's lease ran out
//	Stopping  Dormant   confirmed gone, no work
//	Stopping  Placing   confirmed gone, work arrived meanwhile
//	Stopping  Lost      the cluster's lease ran out
//	Lost      Starting  the cluster came back; the next epoch was issued
//	Lost      Running   the cluster came back within the epoch's right to act
//	Lost      Stopping  the cluster came back; released
//	Lost      Placing   placed anew elsewhere
var PhaseTransitions = map[Phase][]Phase{
	PhaseDormant:  {PhasePlacing},
	PhasePlacing:  {PhaseStarting, PhaseDormant},
	PhaseStarting: {PhaseRunning, PhasePlacing, PhaseStopping, PhaseLost},
	PhaseRunning:  {PhaseStarting, PhaseStopping, PhaseLost},
	PhaseStopping: {PhaseDormant, PhasePlacing, PhaseLost},
	PhaseLost:     {PhaseStarting, PhaseRunning, PhaseStopping, PhasePlacing},
}

// Session is a durable instance of an agent for one key, as it is stored by its shard's owner.
type Session struct {
	ID        SessionID
	Org       OrgID
	Agent     ObjectID // the agent's id
	AgentName string   // at creation, for people
	Key       string
	Labels    map[string]string
	Intent    Intent
	Phase     Phase
	Reason    string // why it is in this phase when that needs saying; at most 1 KiB
	CreatedAt time.Time

	LastSequence uint64      // sequence of the last accepted signal; the first is 1
	HubNumber    uint64      // number of the last event of the hub's own source
	Epoch        Epoch       // the last epoch that was issued
	Assignment   *Assignment // nil without one
	LastCluster  ClusterID   // where it ran last, for stickiness
	TurnSource   Source      // source of the last turn record whose signals were settled
	TurnNumber   uint64      // its number in that source

	Pauses        []PauseReason  // why it is paused, sorted; empty unless Intent is Paused
	StartFailures uint32         // starts in a row that failed, over all epochs; a turn that ends ends the row
	Checkpoints   []CheckpointID // the last durable ones, newest last, at most KeepCheckpoints
	SavedIn       Epoch          // in which the last of them was taken; zero: not known
	Cancelled     Cancellation
}

// Cancellation says that every signal up to one is to be consumed without being worked on any further. It is a level: it
// only rises, and is without effect on what is consumed already.
type Cancellation struct {
	UpTo   uint64 // sequence; 0: none
	Reason string // who and why, for people; at most 1 KiB
}

// Paused reports whether one of the reasons for the pause is r.
func (s *Session) Paused(r PauseReason) bool { return slices.Contains(s.Pauses, r) }

// Checkpoint is the last durable checkpoint; empty when there is none.
func (s *Session) Checkpoint() CheckpointID {
	if len(s.Checkpoints) == 0 {
		return ""
	}
	return s.Checkpoints[len(s.Checkpoints)-1]
}

// Assignment says that a session belongs to a cluster at an epoch.
type Assignment struct {
	Cluster             ClusterID
	Epoch               Epoch
	AgentRevision       uint64
	EnvironmentRevision uint64
	PolicyRevision      uint64        // 0 without a policy
	Summary             string        // of the decision; at most 1 KiB
	Releasing           bool          // asleep, paused, ended, lapsed or forgotten: the workload is to stop, the assignment ends when it is gone
	Checkpoint          CheckpointID  // that the epoch begins from; empty: it begins with an empty state directory
	StopAfter           time.Duration // of the agent, fixed for the epoch; StopNever
}

// Signal is a durable message to a session.
type Signal struct {
	ID             SignalID
	Session        SessionID
	Sequence       uint64 // dense per session, from 1, in order of acceptance
	IdempotencyKey string // empty: not deduplicated
	PayloadHash    [32]byte
	Payload        []byte // at most MaxPayloadInline
	PayloadRef     string // object in the bucket that holds a larger payload
	Sender         string // who sent it: subject of the credential
	AcceptedAt     time.Time
	Deliveries     uint32     // times that it was handed to the agent and the agent failed
	ReplayOf       SignalID   // the dead letter that it repeats; empty for one that was sent
	Origin         []Origin   // the sessions that led to it, the first one first; empty for one that no session sent
	Approval       ApprovalID // whose answer it carries; empty for all others
	Reported       uint64     // number of the hub's source for the event that it was accepted; 0 outside of the hub's store

	// The turn record that consumed it, once that is archived. It stays until a checkpoint covers that turn, and is handed
	// out anew when the state goes back behind it. ConsumedNumber 0: not consumed.
	ConsumedBy     Source
	ConsumedNumber uint64
	ConsumedAs     Outcome // of that record
}

// Origin is one session in the chain that led to a signal.
type Origin struct {
	Session SessionID
	Agent   string   // name
	Key     string   // of the session
	Signal  SignalID // that it was working on
}

// AgentSignal is what one session sends to another.
type AgentSignal struct {
	Agent          string // name, of the same organization
	Key            string // of the session
	Payload        []byte // at most MaxPayload
	IdempotencyKey string // made by the harness when the agent gives none
}

// Consumed reports whether an archived turn record consumed the signal.
func (s *Signal) Consumed() bool { return s.ConsumedNumber > 0 }

// Limits on signals and events.
const (
	MaxPayload           = 1 << 20  // bytes of a signal's payload
	MaxPayloadInline     = 64 << 10 // above this the payload goes to the bucket
	MaxEventBytes        = 64 << 10 // bytes of one event's body
	MaxSignalsPerCall    = 100      // signals in one call
	MaxIdempotencyKey    = 256      // bytes
	MaxPendingPerSession = 1000     // unsettled signals of one session
	MaxPendingPerOrg     = 100_000  // unsettled signals of one organization
	IdempotencyRetention = 7 * 24 * time.Hour
	MaxOrigin            = 8 // sessions in the chain that leads to a signal
)

// Accepted is the answer to a signal.
type Accepted struct {
	Signal    SignalID
	Session   SessionID
	Sequence  uint64
	Duplicate bool   // the key was used before with the same payload: this is the first one's answer
	After     uint64 // whatever the signal leads to has a higher number in the log; 0 for a duplicate
}

// EventType says what an event reports.
type EventType string

// The event types. Spoke-made ones come from an attempt, hub-made ones from the hub's own source.
const (
	EventAccepted EventType = "signal.accepted"    // hub: a signal was accepted
	EventPlaced   EventType = "session.placed"     // hub: an assignment was made
	EventWaiting  EventType = "session.waiting"    // hub: nothing fits; the reason
	EventDead     EventType = "signal.dead"        // hub: a signal failed too often and left the inbox; the reason
	EventSlept    EventType = "session.slept"      // hub: the assignment ended, whatever the reason: nothing runs for the session any more
	EventLost     EventType = "session.lost"       // hub: its cluster is not heard; it waits for it
	EventPaused   EventType = "session.paused"     // hub: a reason for a pause was added
	EventResumed  EventType = "session.resumed"    // hub: a reason for a pause was taken away
	EventEnd      EventType = "session.terminated" // hub: the session ends; its unsettled signals become dead letters
	EventStarted  EventType = "workload.started"   // spoke: the harness of an attempt began
	EventEnded    EventType = "workload.ended"     // spoke: the workload of an attempt is gone
	EventTurn     EventType = "turn.started"       // spoke: a turn began; names its signals
	EventMessage  EventType = "message"            // spoke: text of the agent
	EventTool     EventType = "tool.call"          // spoke: a tool call of the agent
	EventLog      EventType = "log"                // spoke: a line of the agent's standard error
	EventTurnDone EventType = "turn.ended"         // spoke: the turn record; names the signals that it consumed
	EventSaved    EventType = "checkpoint.saved"   // spoke: a checkpoint is in the bucket; it covers every event of its source before it
	EventState    EventType = "state.restored"     // spoke: what the attempt begins from; names consumed signals whose turns are forgotten

	EventThought EventType = "thought"     // spoke: what the agent thinks, when it says so
	EventResult  EventType = "tool.result" // spoke: how a tool call ended
	EventPlan    EventType = "plan"        // spoke: the agent's plan, as it is now
	EventUsage   EventType = "usage"       // spoke: tokens and money, as the agent reports them
	EventNote    EventType = "note"        // spoke: what the agent's program reported by the harness's local API

	EventAsked     EventType = "approval.requested" // spoke: the agent asks for a permission
	EventTaken     EventType = "approval.taken"     // spoke: the agent got the answer
	EventAnswered  EventType = "approval.answered"  // hub: a person answered
	EventExpired   EventType = "approval.expired"   // hub: nobody answered in time
	EventWithdrawn EventType = "approval.withdrawn" // hub: nobody needs the answer any more
	EventCancelled EventType = "session.cancelled"  // hub: somebody cancelled the signals up to one
)

// Valid reports whether a type has the form of one, known or not: 1 to 64 lower-case letters, digits, dots, dashes and
// underscores. What is stored and shown as a word must be one: a database may refuse other characters for ever.
func (t EventType) Valid() bool { return isWord(string(t)) }

// isWord reports whether a text can stand where programs want a word.
func isWord(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// Event is one durable item of a session's log.
type Event struct {
	Session      SessionID
	Number       uint64 // dense per session from 1; 0 until the owner has settled it
	Source       Source
	SourceNumber uint64 // dense per source from 1
	Type         EventType
	Time         time.Time // by the producer's clock, UTC
	Cluster      ClusterID // where it happened; empty for the hub's own
	Text         string    // for people and agents
	Signals      []uint64  // sequences that a turn or turn record names
	Outcome      Outcome   // of a turn record
	Attributes   map[string]string
}

// Attributes of events that programs read.
const (
	// AttrCheckpoint names a checkpoint: in turn.ended the state after the turn, kept at least beside the workload; in
	// checkpoint.saved the one that is durable now; in state.restored what was restored.
	AttrCheckpoint = "checkpoint"
	// AttrFrom says in state.restored where the state came from: "kept" (the directory was as the last checkpoint left it),
	// "local" (chunks beside the workload), "bucket", "empty" (nothing was ever saved), or "lost" (nothing could be
	// restored and the agent's on_state_loss says continue).
	AttrFrom = "from"
	// AttrFailure tells in workload.ended which kind of start failure the end is; absent when the start did not fail.
	AttrFailure = "failure"
	// AttrReplayOf names in signal.accepted the dead letter that was replayed.
	AttrReplayOf = "replay_of"
	// AttrStream names in a message, a thought or a tool's event the stream of deltas that it supersedes.
	AttrStream = "stream"
	// AttrApproval names an approval, in every event about one.
	AttrApproval = "approval"
	// AttrTitle, AttrOptions (JSON: [{"id","name","kind"}]), AttrFingerprint and AttrHold (a duration) describe an approval in
	// approval.requested; the text is its detail.
	AttrTitle       = "title"
	AttrOptions     = "options"
	AttrFingerprint = "fingerprint"
	AttrHold        = "hold"
	// AttrDecision says in approval.answered and approval.taken what the answer is: "approved" or "denied".
	AttrDecision = "decision"
	// AttrOption is the id of the option that was chosen.
	AttrOption = "option"
	// AttrStopReason says in turn.ended why an agent of the Agent Client Protocol stopped, when it is not "end_turn".
	AttrStopReason = "stop_reason"
	// AttrUpTo is in session.cancelled the last sequence that is cancelled.
	AttrUpTo = "up_to"
	// AttrTool is in tool.call and tool.result the agent's id of the call; AttrToolKind and AttrStatus as the agent names them.
	AttrTool     = "tool"
	AttrToolKind = "kind"
	AttrStatus   = "status"
	// AttrBy says who.
	AttrBy = "by"
)

// StartFailure is a kind of failed start.
type StartFailure string

// The kinds of failed starts.
const (
	StartFailureConfig  StartFailure = "configuration" // the definition cannot be run as it is: command not found, init script
	StartFailureRestore StartFailure = "restore"       // the state directory could not be restored
	StartFailureImage   StartFailure = "image"         // the image could not be had
	StartFailureCrash   StartFailure = "crash"         // the workload ended before its first turn
	StartFailureRuntime StartFailure = "runtime"       // the runtime could not make the workload
)

// Outcome is how a turn ended.
type Outcome string

// The outcomes of turns.
const (
	OutcomeDone   Outcome = "done"   // consumed: the named signals are settled
	OutcomeFailed Outcome = "failed" // the agent caused it: the named signals stay and count a failure
	OutcomeCut    Outcome = "cut"    // somebody else caused it: the named signals stay and count nothing

	// OutcomeCancelled: a person cancelled the turn, or a later signal interrupted it and the agent keeps in mind what it was
	// sent: the named signals are consumed all the same.
	OutcomeCancelled Outcome = "cancelled"
)

// Valid reports whether an outcome has the form of one, known or not, as [EventType.Valid] says.
func (o Outcome) Valid() bool { return isWord(string(o)) }

// Consumes reports whether the signals of a turn that ended so are consumed.
func (o Outcome) Consumes() bool { return o == OutcomeDone || o == OutcomeCancelled }

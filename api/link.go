package api

import "time"

// Protocol range of the link that this version speaks.
const (
	LinkProtocolMin = 1
	LinkProtocolMax = 1
)

// Hello is the first message of a spoke on a link.
type Hello struct {
	ProtocolMin, ProtocolMax uint32
	Version                  string // of the spoke program
	Boot                     string // random per start of the spoke program
	Journal                  string // random per journal
	Fingerprint              string // of the cluster itself: UID of kube-system, or of the data directory
	Capacity                 Capacity
	Held                     []Held     // what the spoke has
	Positions                []Position // the highest that it has seen, per shard
}

// Held is one session that a spoke has, as observed there. It says what is, not what changed.
type Held struct {
	Session SessionID
	Epoch   Epoch
	Attempt uint32
	State   HeldState
	Reason  string // why it was refused or failed
	Seen    uint64 // highest signal sequence that the spoke journaled
	Number  uint64 // last event number of Attempt that the spoke journaled; 0 for none

	StartFailures uint32 // starts in a row that failed in this epoch; a turn that ends ends the row
}

// HeldState is the state of a session at its spoke.
type HeldState string

// The states of a session at its spoke.
const (
	HeldAdmitted HeldState = "Admitted" // journaled and accepted; a workload is being made
	HeldRefused  HeldState = "Refused"  // not accepted; the reason says why
	HeldRunning  HeldState = "Running"  // the harness answers
	HeldIdle     HeldState = "Idle"     // without work for the idle timeout: sleep is proposed; Seen is the highest signal
	HeldLapsed   HeldState = "Lapsed"   // the epoch's right to act has ended here: it is being stopped and never started again
	HeldGone     HeldState = "Gone"     // nothing runs and nothing will under this epoch
)

// Welcome is the first message of a hub on a link.
type Welcome struct {
	Protocol uint32
	Cluster  ClusterID
	Name     string
	Labels   map[string]string // of the cluster, for overrides
	Beat     time.Duration     // send a heartbeat this often
}

// ShardUpdate says what is wanted of a spoke for one shard.
type ShardUpdate struct {
	Position Position
	Full     bool // Sessions is all there is of this shard for this cluster; else only these changed
	Sessions []Desired
}

// Desired is one session as its owner wants it at this spoke.
type Desired struct {
	Session    SessionID
	Org        OrgID
	Key        string
	Epoch      Epoch
	Release    bool              // stop the workload, report Gone
	Revision   *ResolvedRevision // nil when Release, or when the spoke has it already for this epoch
	Signals    []Signal          // all that are unsettled and not consumed, in order
	Checkpoint CheckpointID      // that the epoch begins from; empty: with an empty state directory
	Cancelled  Cancellation
	Answers    []ApprovalAnswer // to what the workload asked, as long as it may not have them yet
}

// Delta is a piece of text while it is written: live only, in no log, dropped freely. What it belongs to comes whole as an
// event with the attribute AttrStream.
type Delta struct {
	Session SessionID
	Source  Source
	Stream  string    // unique within the source
	Type    EventType // of the event that will supersede it
	Offset  uint64    // bytes of the stream before this piece
	Text    string
}

// MaxDeltaBytes bounds the text of one delta.
const MaxDeltaBytes = 4 << 10

// EventBatch is a run of events of one source, dense and in order. Session, Source and Cluster of the events are the
// batch's.
type EventBatch struct {
	Session SessionID
	Source  Source
	Events  []Event
}

// Ack tells the producer of a source that everything up to a number is settled and may be forgotten.
type Ack struct {
	Session SessionID
	Source  Source
	UpTo    uint64

	Position Position // of the owner that says so; a spoke takes no word of an owner that was replaced
}

// SpokeMessage is what a spoke sends after its hello: any of the parts may be empty.
type SpokeMessage struct {
	Held     []Held
	Capacity *Capacity
	Events   []EventBatch
	Deltas   []Delta
}

// MaxFates bounds the sessions of one question of a spoke what became of them.
const MaxFates = 500

// Fates is what became of sessions whose state a spoke keeps and that no workload is of, as far as the hub says. No session is in
// both lists, and of one that is in neither nothing is said.
type Fates struct {
	Ended []SessionID // over for good
	Moved []SessionID // went on in another cluster, where a checkpoint was taken that is durable: what is here is never begun from
}

// HubMessage is what a hub sends after its welcome: any of the parts may be empty.
type HubMessage struct {
	Updates []ShardUpdate
	Acks    []Ack
}

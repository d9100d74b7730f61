package api

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"
)

// ApprovalID names a permission that an agent asked for: the session's id, a hyphen and eight letters. It is the same when
// the same turn is run again and asks for the same, so that a restart asks nobody twice.
type ApprovalID string

// NewApprovalID makes the id of the nth request (from 0) for the same thing in the turn that begins with a signal.
// fingerprint tells what is asked for.
func NewApprovalID(session SessionID, firstSignal uint64, fingerprint string, nth int) ApprovalID {
	h := sha256.New()
	var n [16]byte
	binary.BigEndian.PutUint64(n[:8], firstSignal)
	binary.BigEndian.PutUint64(n[8:], uint64(nth))
	h.Write(n[:])
	h.Write([]byte(fingerprint))
	return ApprovalID(string(session) + "-" + strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)))[:8])
}

// Session is the session that the id belongs to; an error when it has not the form of one.
func (id ApprovalID) Session() (SessionID, error) {
	session, short, _ := strings.Cut(string(id), "-")
	if _, err := ParseULID(session); err != nil || len(short) != 8 || strings.Trim(short, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return "", Invalid("approval", "%.60q is not the id of an approval: it is a session's id, a hyphen and eight letters", id)
	}
	return SessionID(session), nil
}

// ApprovalState is how far a request for permission is.
type ApprovalState string

// The states of approvals. Only Open can change.
const (
	ApprovalOpen      ApprovalState = "Open"
	ApprovalApproved  ApprovalState = "Approved"
	ApprovalDenied    ApprovalState = "Denied"
	ApprovalExpired   ApprovalState = "Expired"   // nobody answered in time
	ApprovalWithdrawn ApprovalState = "Withdrawn" // its session ended, or its signal became a dead letter
)

// ApprovalStates lists the states.
func ApprovalStates() []ApprovalState {
	return []ApprovalState{ApprovalOpen, ApprovalApproved, ApprovalDenied, ApprovalExpired, ApprovalWithdrawn}
}

// Approval is a permission that an agent asked a person for. Its session's owner keeps it.
type Approval struct {
	ID          ApprovalID
	Session     SessionID
	Org         OrgID
	Source      Source // of the workload that asked last
	Sequence    uint64 // first signal of the turn that asks
	Fingerprint string // tells what is asked for
	Title       string // at most 1 KiB
	Detail      string // at most 16 KiB: what the agent wants to do, for people
	Options     []ApprovalOption
	AskedAt     time.Time
	ExpiresAt   time.Time
	HeldUntil   time.Time // until then the workload waits for the answer; afterwards it comes as a signal

	State      ApprovalState
	Option     string    // id of the option that was chosen
	By         string    // who answered
	Reason     string    // that they gave; at most 1 KiB
	AnsweredAt time.Time // or when it ended without an answer

	Taken    bool     // the turn that asked got the answer
	Detached bool     // that turn ended without the answer: the answer becomes a signal
	Moot     bool     // nobody needs the answer: somebody cancelled that turn, or its signal became a dead letter
	Signal   SignalID // that carries the answer; empty when none does
}

// ApprovalOption is one of the answers that the agent offers.
type ApprovalOption struct {
	ID   string
	Name string
	Kind OptionKind
}

// OptionKind says what choosing an option means.
type OptionKind string

// The kinds of options, as the Agent Client Protocol has them.
const (
	OptionAllowOnce    OptionKind = "allow_once"
	OptionAllowAlways  OptionKind = "allow_always"
	OptionRejectOnce   OptionKind = "reject_once"
	OptionRejectAlways OptionKind = "reject_always"
)

// Allows reports whether choosing the option lets the agent go on.
func (k OptionKind) Allows() bool { return k == OptionAllowOnce || k == OptionAllowAlways }

// ApprovalAnswer is what a spoke and its harness are told of an answered approval.
type ApprovalAnswer struct {
	Approval ApprovalID
	Allow    bool
	Option   string // id of the option
	By       string
	Reason   string
}

// Limits on approvals.
const (
	MaxApprovalTitle   = 1 << 10
	MaxApprovalDetail  = 16 << 10
	MaxApprovalOptions = 16
	MaxOpenApprovals   = 100 // of one session
)

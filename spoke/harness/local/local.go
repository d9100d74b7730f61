package local

import "context"

// Bounds of what a call may bring.
const (
	MaxPayload    = 1 << 20  // bytes of a signal's payload
	MaxText       = 64 << 10 // bytes of a note's text
	MaxAttributes = 32       // of a note
	MaxName       = 64       // bytes of an attribute's name
	MaxValue      = 4 << 10  // bytes of an attribute's value
)

// Backend is the harness. Its errors reach the caller with their code, field and text. Calls come from several goroutines.
type Backend interface {
	// Signal returns when the hub has accepted the signal.
	Signal(ctx context.Context, r SignalRequest) (SignalAnswer, error)
	// Emit puts an event of type note into the session's log.
	Emit(ctx context.Context, text string, attributes map[string]string) error
	State(ctx context.Context) State
}

// SignalRequest is a signal to another session. It was checked: names are valid, the payload is within its bound.
type SignalRequest struct {
	Agent          string // name, of the same organization
	Key            string // of the session
	Payload        []byte // at most MaxPayload
	IdempotencyKey string // empty: the backend makes one
}

// SignalAnswer says what became of a signal.
type SignalAnswer struct {
	SignalID  string `json:"signal_id"`
	SessionID string `json:"session_id"`
	Sequence  uint64 `json:"sequence"`
	Duplicate bool   `json:"duplicate"` // the key was known: this is the answer of the first one
}

// State says where a program runs.
type State struct {
	Session      string   `json:"session"`
	Key          string   `json:"key"`
	Agent        string   `json:"agent"`
	Organization string   `json:"organization"`
	Cluster      string   `json:"cluster"`
	Workload     string   `json:"workload"`
	Attempt      uint32   `json:"attempt"`
	Signals      []uint64 `json:"signals"` // sequences that the turn works on; none between turns
	StateLost    bool     `json:"state_lost"`
}

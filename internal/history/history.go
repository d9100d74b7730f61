package history

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
)

// Accepted is what a client was told about one call.
type Accepted struct {
	Agent    string
	Key      string // of the session
	Idem     string // idempotency key: one signal, however often it is sent
	Signal   api.SignalID
	Session  api.SessionID
	Sequence uint64
}

// Kind is what a witness line says.
type Kind string

// The kinds of witness lines.
const (
	Begin  Kind = "begin"  // the agent has the session's lock and begins a turn
	End    Kind = "end"    // it has done what the turn asked for; the lock is freed after this line
	Locked Kind = "locked" // it found the session's lock taken: somebody else acts
)

// Witness is one line that an agent wrote, in the order of the file.
type Witness struct {
	Kind    Kind          `json:"kind"`
	Session api.SessionID `json:"session"`
	Epoch   api.Epoch     `json:"epoch"`
	Attempt uint32        `json:"attempt"`
	Signals []uint64      `json:"signals"`
	PID     int           `json:"pid"`
	Boot    time.Duration `json:"boot"` // boot-time clock of the machine

	// Memory is, at the beginning of a turn, which signals the state directory remembers as done. An agent adds the signals of
	// a turn just before its end. Nil: this agent keeps none.
	Memory []uint64 `json:"memory"`
}

// ParseWorkload reads session, epoch and attempt out of a workload id, which is what an agent knows of itself.
func ParseWorkload(id string) (session api.SessionID, epoch api.Epoch, attempt uint32, err error) {
	f := strings.Split(id, "-")
	if len(f) != 4 {
		return "", epoch, 0, fmt.Errorf("%q is not a workload id", id)
	}
	var n [3]uint64
	for i := range n {
		if n[i], err = strconv.ParseUint(f[i+1], 10, 64); err != nil {
			return "", epoch, 0, fmt.Errorf("%q is not a workload id: %w", id, err)
		}
	}
	return api.SessionID(strings.ToUpper(f[0])), api.Epoch{Incarnation: uint32(n[0]), N: n[1]}, uint32(n[2]), nil
}

// Input is everything that is known after a run.
type Input struct {
	Accepted []Accepted                    // every answer, duplicates too
	Witness  []Witness                     // in the order of the file
	Logs     map[api.SessionID][]api.Event // as the archive has them, every session that was ever answered
	Dead     map[api.SignalID]bool         // dead letters that no event reports: of sessions that were terminated
	Running  []string                      // what still runs though nothing should
}

// Finding is one contradiction.
type Finding struct {
	Promise string // P1 to P5, P10
	Session api.SessionID
	Text    string
}

func (f Finding) String() string {
	if f.Session == "" {
		return f.Promise + ": " + f.Text
	}
	return f.Promise + ": session " + string(f.Session) + ": " + f.Text
}

// Tally counts what was judged, so that a run that did too little can be told.
type Tally struct {
	Signals    int // distinct signals that were accepted
	Duplicates int // answers for a signal that was accepted before
	Sessions   int
	Events     int
	Turns      int // turn records
	Attempts   int // distinct workloads in the logs
	Redone     int // signals that were named by more than one turn record
	Forgotten  int // signals whose turns were forgotten because the state went back
	Dead       int
	Begun      int // turns that agents began
}

// Judge compares what clients were told, what agents did, and what the archive says.
func Judge(in Input) ([]Finding, Tally) {
	j := &judge{in: in, bySession: map[api.SessionID][]Witness{}}
	for _, w := range in.Witness {
		j.bySession[w.Session] = append(j.bySession[w.Session], w)
	}
	j.answers()
	for _, id := range sorted(j.accepted) {
		if _, ok := in.Logs[id]; !ok {
			j.find("P1", id, "has no log, and %d signals were accepted", len(j.accepted[id]))
		}
	}
	for _, id := range sorted(in.Logs) {
		j.log(id, in.Logs[id])
	}
	for _, id := range sorted(j.bySession) {
		j.acting(id, j.bySession[id])
		if _, ok := in.Logs[id]; !ok {
			j.find("P4", id, "an agent acted for it and it has no log")
		}
	}
	for _, what := range in.Running {
		j.find("P4", "", "left running: %s", what)
	}
	return j.findings, j.tally
}

type judge struct {
	in        Input
	bySession map[api.SessionID][]Witness
	accepted  map[api.SessionID]map[uint64]Accepted // distinct ones, by sequence
	findings  []Finding
	tally     Tally
}

func (j *judge) find(promise string, id api.SessionID, format string, args ...any) {
	j.findings = append(j.findings, Finding{promise, id, fmt.Sprintf(format, args...)})
}

// answers checks what clients were told: one idempotency key is one signal (P2), and no two signals share a place (P3).
func (j *judge) answers() {
	j.accepted = map[api.SessionID]map[uint64]Accepted{}
	type scope struct{ agent, key, idem string }
	first := map[scope]Accepted{}
	ids := map[api.SignalID]Accepted{}
	for _, a := range j.in.Accepted {
		k := scope{a.Agent, a.Key, a.Idem}
		if f, ok := first[k]; ok && a.Idem != "" {
			j.tally.Duplicates++
			if f != a {
				j.find("P2", a.Session, "idempotency key %q was answered with signal %s (sequence %d) and with signal %s (sequence %d, session %s)", a.Idem, f.Signal, f.Sequence, a.Signal, a.Sequence, a.Session)
			}
			continue
		}
		first[k] = a
		j.tally.Signals++
		if b, ok := ids[a.Signal]; ok {
			j.find("P2", a.Session, "signal id %s was given to key %q and to key %q", a.Signal, b.Idem, a.Idem)
		}
		ids[a.Signal] = a
		of := j.accepted[a.Session]
		if of == nil {
			of = map[uint64]Accepted{}
			j.accepted[a.Session] = of
		}
		if b, ok := of[a.Sequence]; ok {
			j.find("P3", a.Session, "sequence %d was given to signal %s and to signal %s", a.Sequence, b.Signal, a.Signal)
		}
		of[a.Sequence] = a
	}
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

package archive

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// nanos is a time as it is stored; the zero time is 0.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func timeOf(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// signed is a counter as SQL has it.
func signed(what string, n uint64) (int64, error) {
	if n > math.MaxInt64 {
		return 0, &rowError{what, fmt.Errorf("%d is too large", n)}
	}
	return int64(n), nil
}

// eventRow is an event as it is stored. Two rows are the same when they are equal.
type eventRow struct {
	session      string
	number       int64
	source       string
	sourceNumber int64
	org          string
	typ          string
	time         int64
	cluster      string
	text         string
	signals      string
	outcome      string
	attributes   string
}

// rowOf renders an event. source is its source as it is stored.
func rowOf(org api.OrgID, source string, e *api.Event) (r eventRow, err error) {
	r = eventRow{session: string(e.Session), source: source, org: string(org), typ: string(e.Type), time: nanos(e.Time), cluster: string(e.Cluster),
		text: e.Text, outcome: string(e.Outcome)}
	if r.number, err = signed("number of an event", e.Number); err != nil {
		return r, err
	}
	if r.sourceNumber, err = signed("source number of an event", e.SourceNumber); err != nil {
		return r, err
	}
	if len(e.Signals) > 0 {
		b, err := json.Marshal(e.Signals)
		if err != nil {
			return r, &rowError{"signals of an event", err}
		}
		r.signals = string(b)
	}
	if len(e.Attributes) > 0 {
		b, err := json.Marshal(e.Attributes) // keys are sorted
		if err != nil {
			return r, &rowError{"attributes of an event", err}
		}
		r.attributes = string(b)
	}
	return r, nil
}

func (r *eventRow) scan(row interface{ Scan(...any) error }) error {
	return row.Scan(&r.session, &r.number, &r.source, &r.sourceNumber, &r.org, &r.typ, &r.time, &r.cluster, &r.text, &r.signals, &r.outcome, &r.attributes)
}

// sideArgs are those of an event of a side branch, which has no number and no shard.
func (r *eventRow) sideArgs(d dialect, received time.Time) []any {
	return []any{r.session, r.source, r.sourceNumber, r.org, r.typ, r.time, r.cluster, d.text(r.text), r.signals, r.outcome, r.attributes, nanos(received)}
}

func (r *eventRow) event() (api.Event, error) {
	e := api.Event{Session: api.SessionID(r.session), Number: uint64(r.number), SourceNumber: uint64(r.sourceNumber), Type: api.EventType(r.typ), Time: timeOf(r.time),
		Cluster: api.ClusterID(r.cluster), Text: r.text, Outcome: api.Outcome(r.outcome)}
	var err error
	if e.Source, err = api.ParseSource(r.source); err != nil {
		return e, &rowError{"source of an event", err}
	}
	if r.signals != "" {
		if err := json.Unmarshal([]byte(r.signals), &e.Signals); err != nil {
			return e, &rowError{"signals of an event", err}
		}
	}
	if r.attributes != "" {
		if err := json.Unmarshal([]byte(r.attributes), &e.Attributes); err != nil {
			return e, &rowError{"attributes of an event", err}
		}
	}
	return e, nil
}

// settledRow is a settled signal as it is stored.
type settledRow struct {
	signal, org, agent, sessionKey, key, session string
	sequence                                     int64
	hash                                         [32]byte
	ref, sender                                  string
	payload                                      []byte // of a dead signal
	acceptedAt                                   int64
	deliveries                                   int64
	outcome                                      string
	settledAt                                    int64
	reason, agentName, replayOf                  string
	origin, approval                             string
	chain                                        []api.Origin // what origin says
}

func settledRowOf(org api.OrgID, s *hub.SettledSignal) (r settledRow, err error) {
	r = settledRow{signal: string(s.Signal.ID), org: string(org), agent: string(s.Scope.Agent), sessionKey: s.Scope.SessionKey, key: s.Scope.Key,
		session: string(s.Signal.Session), hash: s.Signal.PayloadHash, ref: s.Signal.PayloadRef, payload: s.Signal.Payload, sender: s.Signal.Sender, acceptedAt: nanos(s.Signal.AcceptedAt),
		deliveries: int64(s.Signal.Deliveries), outcome: s.Outcome, settledAt: nanos(s.SettledAt),
		reason: s.Reason, agentName: s.AgentName, replayOf: string(s.Signal.ReplayOf), approval: string(s.Signal.Approval)}
	if len(s.Signal.Origin) > 0 {
		b, err := json.Marshal(s.Signal.Origin)
		if err != nil {
			return r, &rowError{"origin of a signal", err}
		}
		r.origin = string(b)
	}
	r.sequence, err = signed("sequence of a signal", s.Signal.Sequence)
	return r, err
}

// scan reads the columns of settledColumns and further ones behind them.
func (r *settledRow) scan(row interface{ Scan(...any) error }, more ...any) error {
	var hash []byte
	err := row.Scan(append([]any{&r.signal, &r.org, &r.agent, &r.sessionKey, &r.key, &r.session, &r.sequence, &hash, &r.ref, &r.payload, &r.sender, &r.acceptedAt, &r.deliveries,
		&r.outcome, &r.settledAt, &r.reason, &r.agentName, &r.replayOf, &r.origin, &r.approval}, more...)...)
	copy(r.hash[:], hash)
	if err == nil && r.origin != "" {
		if err = json.Unmarshal([]byte(r.origin), &r.chain); err != nil {
			err = &rowError{"origin of a signal", err}
		}
	}
	return err
}

func (r *settledRow) args(d dialect) []any {
	return []any{r.signal, r.org, r.agent, r.sessionKey, r.key, r.session, r.sequence, r.hash[:], r.ref, r.payload, r.sender, r.acceptedAt, r.deliveries, r.outcome, r.settledAt,
		d.text(r.reason), r.agentName, r.replayOf, d.text(r.origin), r.approval}
}

// same reports that the row that is there and another one are of one signal. When and how it was settled is the first row's
// to say. A key that is no longer kept may have been any.
func (r *settledRow) same(o *settledRow) bool {
	return r.signal == o.signal && r.org == o.org && r.agent == o.agent && r.sessionKey == o.sessionKey && (r.key == o.key || r.key == "") && r.session == o.session &&
		r.sequence == o.sequence && r.hash == o.hash
}

func (r *settledRow) settled() hub.SettledSignal {
	return hub.SettledSignal{
		Signal: api.Signal{ID: api.SignalID(r.signal), Session: api.SessionID(r.session), Sequence: uint64(r.sequence), IdempotencyKey: r.key, PayloadHash: r.hash,
			PayloadRef: r.ref, Payload: r.payload, Sender: r.sender, AcceptedAt: timeOf(r.acceptedAt), Deliveries: uint32(r.deliveries), ReplayOf: api.SignalID(r.replayOf), Approval: api.ApprovalID(r.approval), Origin: r.chain},
		Scope:     hub.KeyScope{Agent: api.ObjectID(r.agent), SessionKey: r.sessionKey, Key: r.key},
		Outcome:   r.outcome,
		Reason:    r.reason,
		AgentName: r.agentName,
		SettledAt: timeOf(r.settledAt),
	}
}

package archive

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// Append implements [hub.Archive]. The generation must have been raised before: a later one than the raised is CodeInternal.
// CodeConflict carries a [hub.StaleError].
func (a *Archive) Append(ctx context.Context, appends []hub.Append) error {
	const op = "append to archive"
	if len(appends) == 0 {
		return nil
	}
	ctx, cancel := a.bound(ctx)
	defer cancel()
	return a.transact(ctx, op, func(t *tx) error { return t.run(appends) })
}

// transact runs f in one transaction.
func (a *Archive) transact(ctx context.Context, op string, f func(*tx) error) error {
	sqlTx, err := a.write.BeginTx(ctx, nil)
	if err != nil {
		return failure(op, err)
	}
	t := &tx{a: a, op: op, ctx: a.d.context(ctx), tx: sqlTx, bound: make(map[*sql.Stmt]*sql.Stmt, 8), logs: make(map[logKey]*logState)}
	err = f(t)
	if err == nil {
		err = sqlTx.Commit()
	}
	if err != nil {
		_ = sqlTx.Rollback() // after a failed commit there is nothing to roll back
		return failure(op, err)
	}
	return nil
}

// tx is one writing transaction.
type tx struct {
	a     *Archive
	op    string
	ctx   context.Context
	tx    *sql.Tx
	bound map[*sql.Stmt]*sql.Stmt
	logs  map[logKey]*logState

	last     api.Source // of an event; they come in runs of one source
	lastText string     // as it is stored; empty before the first one
}

type logKey struct {
	shard   api.Shard
	session api.SessionID
}

// logState is how far a log reaches, as the transaction goes on.
type logState struct {
	org     api.OrgID
	number  uint64
	moved   bool
	sources map[api.Source]*sourceState
}

type sourceState struct {
	number uint64
	moved  bool
}

// stmt returns the statement inside the transaction.
func (t *tx) stmt(s *sql.Stmt) *sql.Stmt {
	b, ok := t.bound[s]
	if !ok {
		b = t.tx.StmtContext(t.ctx, s)
		t.bound[s] = b
	}
	return b
}

func (t *tx) run(appends []hub.Append) error {
	if err := t.fence(appends); err != nil {
		return err
	}
	for i := range appends {
		ap := &appends[i]
		for j := range ap.Events {
			if err := t.event(ap, &ap.Events[j]); err != nil {
				return err
			}
		}
		for j := range ap.Settled {
			if err := t.settle(ap.Org, &ap.Settled[j]); err != nil {
				return err
			}
		}
		for j := range ap.Decisions {
			if err := t.decide(ap.Org, &ap.Decisions[j]); err != nil {
				return err
			}
		}
		for j := range ap.Terminated {
			if err := t.terminate(ap.Org, &ap.Terminated[j]); err != nil {
				return err
			}
		}
	}
	return t.moveLogs()
}

// fence compares every generation with the owner's. Shards are locked in order, so that two transactions cannot wait for
// each other.
func (t *tx) fence(appends []hub.Append) error {
	owners := make(map[api.Shard]api.Generation)
	for i := range appends {
		owners[appends[i].Shard] = api.Generation{}
	}
	for _, shard := range slices.Sorted(maps.Keys(owners)) {
		var incarnation, n int64
		err := t.stmt(t.a.st.owner).QueryRowContext(t.ctx, int64(shard)).Scan(&incarnation, &n)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		owners[shard] = api.Generation{Incarnation: uint32(incarnation), N: uint64(n)}
	}
	var stale []int
	for i := range appends {
		owner := owners[appends[i].Shard]
		switch c := appends[i].Generation.Compare(owner); {
		case c < 0:
			stale = append(stale, i)
		case c > 0 || owner == (api.Generation{}):
			return refuse(t.op, api.CodeInternal, "generation %v of shard %d was never raised, %v is the owner", appends[i].Generation, appends[i].Shard, owner)
		}
	}
	if len(stale) > 0 {
		return &api.Error{Code: api.CodeConflict, Op: t.op, Err: &hub.StaleError{Indexes: stale}}
	}
	return nil
}

func (t *tx) event(ap *hub.Append, e *api.Event) error {
	row, err := rowOf(ap.Org, t.sourceText(e.Source), e)
	if err != nil {
		return err
	}
	l, err := t.log(ap, e.Session)
	if err != nil {
		return err
	}
	if e.Number != 0 && e.Number <= l.number {
		var is eventRow
		if err := is.scan(t.stmt(t.a.st.event).QueryRowContext(t.ctx, row.session, row.number)); err != nil {
			return &rowError{"event " + row.session, err}
		}
		if is != row {
			return refuse(t.op, api.CodeInternal, "event %d of session %s is there with another content", e.Number, e.Session)
		}
		return nil
	}
	if e.Number != l.number+1 {
		return refuse(t.op, api.CodeInternal, "event %d of session %s does not continue its log, which reaches %d", e.Number, e.Session, l.number)
	}
	s, err := t.source(ap.Shard, e.Session, l, e.Source)
	if err != nil {
		return err
	}
	if e.SourceNumber != s.number+1 {
		return refuse(t.op, api.CodeInternal, "event %d of session %s has source number %d and source %v reaches %d", e.Number, e.Session, e.SourceNumber, e.Source, s.number)
	}
	if _, err := t.stmt(t.a.st.putEvent).ExecContext(t.ctx, row.args(t.a.d, ap.Shard)...); err != nil {
		return err
	}
	l.number, l.moved = e.Number, true
	s.number, s.moved = e.SourceNumber, true
	return nil
}

// sourceText is a source as it is stored.
func (t *tx) sourceText(s api.Source) string {
	if t.lastText == "" || s != t.last {
		t.last, t.lastText = s, s.String()
	}
	return t.lastText
}

func (t *tx) log(ap *hub.Append, session api.SessionID) (*logState, error) {
	k := logKey{ap.Shard, session}
	if l, ok := t.logs[k]; ok {
		return l, nil
	}
	if shard, err := session.Shard(); err != nil || shard != ap.Shard {
		return nil, refuse(t.op, api.CodeInternal, "session %q does not belong to shard %d", session, ap.Shard)
	}
	var n int64
	err := t.stmt(t.a.st.log).QueryRowContext(t.ctx, int64(ap.Shard), string(session)).Scan(&n)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	l := &logState{org: ap.Org, number: uint64(n), sources: make(map[api.Source]*sourceState, 1)}
	t.logs[k] = l
	return l, nil
}

func (t *tx) source(shard api.Shard, session api.SessionID, l *logState, source api.Source) (*sourceState, error) {
	if s, ok := l.sources[source]; ok {
		return s, nil
	}
	var n int64
	err := t.stmt(t.a.st.position).QueryRowContext(t.ctx, int64(shard), string(session), source.String()).Scan(&n)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	s := &sourceState{number: uint64(n)}
	l.sources[source] = s
	return s, nil
}

// moveLogs writes once per log and source how far they reach now.
func (t *tx) moveLogs() error {
	for k, l := range t.logs {
		if !l.moved {
			continue
		}
		if _, err := t.stmt(t.a.st.putLog).ExecContext(t.ctx, int64(k.shard), string(k.session), string(l.org), int64(l.number)); err != nil {
			return err
		}
		for source, s := range l.sources {
			if !s.moved {
				continue
			}
			if _, err := t.stmt(t.a.st.putPosition).ExecContext(t.ctx, int64(k.shard), string(k.session), source.String(), int64(s.number)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tx) settle(org api.OrgID, s *hub.SettledSignal) error {
	row, err := settledRowOf(org, s)
	if err != nil {
		return err
	}
	inserted, err := t.insert(t.a.st.putSettled, row.args(t.a.d)...)
	if err != nil || inserted {
		return err
	}
	var is settledRow
	err = is.scan(t.stmt(t.a.st.settled).QueryRowContext(t.ctx, row.signal))
	if errors.Is(err, sql.ErrNoRows) {
		return refuse(t.op, api.CodeInternal, "the idempotency key of signal %s was settled with another signal", s.Signal.ID)
	}
	if err == nil && !is.same(&row) {
		return refuse(t.op, api.CodeInternal, "signal %s is settled with another content", s.Signal.ID)
	}
	return err
}

func (t *tx) decide(org api.OrgID, d *api.Decision) error {
	body, err := json.Marshal(d)
	if err != nil {
		return &rowError{"decision", err}
	}
	epoch, err := signed("epoch of a decision", d.Epoch.N)
	if err != nil {
		return err
	}
	inserted, err := t.insert(t.a.st.putDecision, string(org), string(d.Session), int64(d.Epoch.Incarnation), epoch, nanos(d.Time), string(d.Cluster), d.Summary, string(body))
	if err != nil || inserted {
		return err
	}
	var isOrg, isBody string
	err = t.stmt(t.a.st.decision).QueryRowContext(t.ctx, string(d.Session), nanos(d.Time), int64(d.Epoch.Incarnation), epoch).Scan(&isOrg, &isBody)
	if err == nil && (isOrg != string(org) || isBody != string(body)) {
		return refuse(t.op, api.CodeInternal, "the decision for session %s at epoch %v is there with another content", d.Session, d.Epoch)
	}
	return err
}

// terminate keeps the record of a session that ended. What is there stays: the first one counts.
func (t *tx) terminate(org api.OrgID, s *api.Session) error {
	body, err := json.Marshal(s)
	if err != nil {
		return &rowError{"terminated session", err}
	}
	inserted, err := t.insert(t.a.st.putTerminated, string(s.ID), string(org), string(s.Agent), string(body))
	if err != nil || inserted {
		return err
	}
	var isOrg string
	err = t.stmt(t.a.st.terminatedOrg).QueryRowContext(t.ctx, string(s.ID)).Scan(&isOrg)
	if err == nil && isOrg != string(org) {
		return refuse(t.op, api.CodeInternal, "session %s ended in another organization", s.ID)
	}
	return err
}

// insert reports whether the row was not there before.
func (t *tx) insert(s *sql.Stmt, args ...any) (bool, error) {
	res, err := t.stmt(s).ExecContext(t.ctx, args...)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

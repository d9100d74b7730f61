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
	guessed, err := a.append(ctx, op, appends, true)
	if guessed && api.CodeOf(err) == api.CodeInternal {
		_, err = a.append(ctx, op, appends, false) // what contradicted a guess may agree with the database
	}
	return err
}

// append writes in one transaction, in which memory may guess how far logs reach. It reports whether it did.
func (a *Archive) append(ctx context.Context, op string, appends []hub.Append, guess bool) (guessed bool, err error) {
	var heads []*head
	err = a.transact(ctx, op, func(t *tx) error {
		t.guess = guess
		err := t.run(appends)
		heads, guessed = t.heads, t.guessed
		return err
	})
	if err != nil {
		a.reach.forget(heads)
	} else {
		a.reach.keep(heads)
	}
	return guessed, err
}

// transact runs f in one transaction.
func (a *Archive) transact(ctx context.Context, op string, f func(*tx) error) error {
	sqlTx, err := a.write.BeginTx(ctx, nil)
	if err != nil {
		return failure(op, err)
	}
	t := &tx{a: a, op: op, ctx: a.d.context(ctx), tx: sqlTx, bound: make(map[*sql.Stmt]*sql.Stmt, 8), known: make(map[api.SessionID]*head)}
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

// maxWaiting bounds the rows that wait until they are written together.
const maxWaiting = 256

// tx is one writing transaction.
type tx struct {
	a     *Archive
	op    string
	ctx   context.Context
	tx    *sql.Tx
	bound map[*sql.Stmt]*sql.Stmt

	guess, guessed bool                    // memory may say how far logs reach; it did
	known          map[api.SessionID]*head // of the logs that events go to
	heads          []*head                 // the same, in the order of the appends
	rows           []eventRow              // that are not written yet
	args           []any                   // of the statement under way

	last     api.Source // of an event; they come in runs of one source
	lastText string     // as it is stored; empty before the first one
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
	if err := t.flush(); err != nil {
		return err
	}
	return t.move()
}

// fence compares every generation with the owner's. Shards are locked in order, so that two transactions cannot wait for
// each other.
func (t *tx) fence(appends []hub.Append) error {
	owners := make(map[api.Shard]api.Generation)
	for i := range appends {
		owners[appends[i].Shard] = api.Generation{}
	}
	shards := slices.Sorted(maps.Keys(owners))
	for len(shards) > 0 {
		w := wider(len(shards))
		n := min(len(shards), widths[w])
		t.args = t.args[:0]
		for i := range widths[w] {
			t.args = append(t.args, int64(shards[min(i, n-1)]))
		}
		err := each(t.ctx, t.stmt(t.a.st.owners[w]), t.args, func(rows *sql.Rows) error {
			var shard, incarnation, n int64
			err := rows.Scan(&shard, &incarnation, &n)
			owners[api.Shard(shard)] = api.Generation{Incarnation: uint32(incarnation), N: uint64(n)}
			return err
		})
		if err != nil {
			return err
		}
		shards = shards[n:]
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
	h, err := t.head(ap, e.Session)
	if err != nil {
		return err
	}
	if e.Number != 0 && e.Number <= h.now {
		return t.again(&row)
	}
	if e.Number != h.now+1 {
		return refuse(t.op, api.CodeInternal, "event %d of session %s does not continue its log, which reaches %d", e.Number, e.Session, h.now)
	}
	s, err := t.source(h, e.Source)
	if err != nil {
		return err
	}
	if e.SourceNumber != s.now+1 {
		return refuse(t.op, api.CodeInternal, "event %d of session %s has source number %d and source %v reaches %d", e.Number, e.Session, e.SourceNumber, e.Source, s.now)
	}
	t.rows = append(t.rows, row)
	h.now, s.now = e.Number, e.SourceNumber
	if len(t.rows) == maxWaiting {
		return t.flush()
	}
	return nil
}

// again compares an event with the one that is there.
func (t *tx) again(row *eventRow) error {
	if err := t.flush(); err != nil { // it may be one of this very call
		return err
	}
	var is eventRow
	if err := is.scan(t.stmt(t.a.st.event).QueryRowContext(t.ctx, row.session, row.number)); err != nil {
		return &rowError{"event " + row.session, err}
	}
	if is != *row {
		return refuse(t.op, api.CodeInternal, "event %d of session %s is there with another content", row.number, row.session)
	}
	return nil
}

// flush writes the rows that wait: many with one statement, as far as they are alike.
func (t *tx) flush() error {
	for rows := t.rows; len(rows) > 0; {
		first := &rows[0]
		n := 1
		for n < len(rows) && rows[n].continues(first, n) {
			n++
		}
		t.args = t.args[:0]
		by := &t.a.st.putRun
		if w := narrower(n); w > 0 && first.continues(first, 0) {
			n = widths[w]
			t.args = first.run(t.args)
			for i := range rows[:n] {
				t.args = rows[i].line(t.a.d, t.args)
			}
		} else {
			by = &t.a.st.putEvents
			for n = 1; n < len(rows) && n < widths[len(widths)-1] && rows[n].alike(first); n++ {
			}
			n = widths[narrower(n)]
			t.args = first.shared(t.args)
			for i := range rows[:n] {
				t.args = rows[i].own(t.a.d, t.args)
			}
		}
		if _, err := t.stmt(by[narrower(n)]).ExecContext(t.ctx, t.args...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	t.rows = t.rows[:0]
	return nil
}

// sourceText is a source as it is stored.
func (t *tx) sourceText(s api.Source) string {
	if t.lastText == "" || s != t.last {
		t.last, t.lastText = s, s.String()
	}
	return t.lastText
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

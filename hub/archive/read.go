package archive

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"math"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// Positions implements [hub.Archive].
func (a *Archive) Positions(ctx context.Context, shard api.Shard) (map[api.SessionID]hub.LogPosition, error) {
	const op = "read positions"
	ctx, cancel := a.bound(ctx)
	defer cancel()
	out := make(map[api.SessionID]hub.LogPosition)
	tx, err := a.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: a.snapshot()})
	if err != nil {
		return nil, failure(op, err)
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	var (
		session, source string
		n               int64
	)
	err = each(ctx, tx.StmtContext(ctx, a.st.logs), []any{int64(shard)}, func(rows *sql.Rows) error {
		if err := rows.Scan(&session, &n); err != nil {
			return err
		}
		out[api.SessionID(session)] = hub.LogPosition{Number: uint64(n), Sources: make(map[api.Source]uint64, 1)}
		return nil
	})
	if err != nil {
		return nil, failure(op, err)
	}
	err = each(ctx, tx.StmtContext(ctx, a.st.positions), []any{int64(shard)}, func(rows *sql.Rows) error {
		if err := rows.Scan(&session, &source, &n); err != nil {
			return err
		}
		src, err := api.ParseSource(source)
		if err != nil {
			return &rowError{"source of a position", err}
		}
		out[api.SessionID(session)].Sources[src] = uint64(n)
		return nil
	})
	if err != nil {
		return nil, failure(op, err)
	}
	return out, nil
}

// snapshot is the isolation in which two statements see the same state; SQLite's transactions always do.
func (a *Archive) snapshot() sql.IsolationLevel {
	if a.d.numbered {
		return sql.LevelRepeatableRead
	}
	return sql.LevelDefault
}

// Events implements [hub.Reader].
func (a *Archive) Events(ctx context.Context, org api.OrgID, session api.SessionID, from uint64, limit int) ([]api.Event, error) {
	const op = "read events"
	if limit <= 0 || from > math.MaxInt64 {
		return nil, nil
	}
	ctx, cancel := a.bound(ctx)
	defer cancel()
	var out []api.Event
	err := each(ctx, a.st.events, []any{string(session), int64(from), string(org), limit}, func(rows *sql.Rows) error {
		var r eventRow
		if err := r.scan(rows); err != nil {
			return err
		}
		e, err := r.event()
		if err != nil {
			return err
		}
		out = append(out, e)
		return nil
	})
	if err != nil {
		return nil, failure(op, err)
	}
	return out, nil
}

// Decisions implements [hub.Reader].
func (a *Archive) Decisions(ctx context.Context, org api.OrgID, session api.SessionID, limit int) ([]api.Decision, error) {
	const op = "read decisions"
	if limit <= 0 {
		return nil, nil
	}
	ctx, cancel := a.bound(ctx)
	defer cancel()
	var out []api.Decision
	err := each(ctx, a.st.decisions, []any{string(session), string(org), limit}, func(rows *sql.Rows) error {
		var (
			body []byte
			d    api.Decision
		)
		if err := rows.Scan(&body); err != nil {
			return err
		}
		if err := json.Unmarshal(body, &d); err != nil {
			return &rowError{"decision", err}
		}
		out = append(out, d)
		return nil
	})
	if err != nil {
		return nil, failure(op, err)
	}
	return out, nil
}

// each calls f with every row.
func each(ctx context.Context, s *sql.Stmt, args []any, f func(*sql.Rows) error) error {
	rows, err := s.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	return eachRow(rows, f)
}

// eachRow calls f with every row and closes them.
func eachRow(rows *sql.Rows, f func(*sql.Rows) error) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

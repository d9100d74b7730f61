package archive

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// statements are prepared once per archive.
type statements struct {
	// Writing; each is used inside a transaction.
	owner, raise                  *sql.Stmt
	log, position, event          *sql.Stmt
	putEvent, putLog, putPosition *sql.Stmt
	putSettled, settled           *sql.Stmt
	putDecision, decision         *sql.Stmt
	// Reading.
	logs, positions, events, key, decisions *sql.Stmt

	all []*sql.Stmt
}

const (
	eventColumns   = "session, number, source, source_number, org, type, time, cluster, text, signals, outcome, attributes"
	settledColumns = "signal, org, agent, session_key, idempotency_key, session, sequence, payload_hash, payload_ref, payload, sender, accepted_at, deliveries, outcome, settled_at"
)

func (s *statements) prepare(ctx context.Context, a *Archive) error {
	for _, p := range []struct {
		to *(*sql.Stmt)
		db *sql.DB
		q  string
	}{
		{&s.owner, a.write, "SELECT incarnation, n FROM shard_owner WHERE shard = ?" + a.d.lock},
		{&s.raise, a.write, `INSERT INTO shard_owner (shard, incarnation, n) VALUES (?, ?, ?) ON CONFLICT (shard) DO UPDATE
			SET incarnation = excluded.incarnation, n = excluded.n
			WHERE (shard_owner.incarnation, shard_owner.n) <= (excluded.incarnation, excluded.n)`},
		{&s.log, a.write, "SELECT number FROM logs WHERE shard = ? AND session = ?"},
		{&s.position, a.write, "SELECT number FROM positions WHERE shard = ? AND session = ? AND source = ?"},
		{&s.event, a.write, "SELECT " + eventColumns + " FROM events WHERE session = ? AND number = ?"},
		{&s.putEvent, a.write, "INSERT INTO events (" + eventColumns + ", shard) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"},
		{&s.putLog, a.write, "INSERT INTO logs (shard, session, org, number) VALUES (?, ?, ?, ?) ON CONFLICT (shard, session) DO UPDATE SET number = excluded.number"},
		{&s.putPosition, a.write, "INSERT INTO positions (shard, session, source, number) VALUES (?, ?, ?, ?) ON CONFLICT (shard, session, source) DO UPDATE SET number = excluded.number"},
		{&s.putSettled, a.write, "INSERT INTO settled (" + settledColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"},
		{&s.settled, a.write, "SELECT " + settledColumns + " FROM settled WHERE signal = ?"},
		{&s.putDecision, a.write, "INSERT INTO decisions (org, session, incarnation, epoch, time, cluster, summary, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"},
		{&s.decision, a.write, "SELECT org, body FROM decisions WHERE session = ? AND time = ? AND incarnation = ? AND epoch = ?"},
		{&s.logs, a.read, "SELECT session, number FROM logs WHERE shard = ?"},
		{&s.positions, a.read, "SELECT session, source, number FROM positions WHERE shard = ?"},
		{&s.events, a.read, "SELECT " + eventColumns + " FROM events WHERE session = ? AND number >= ? AND org = ? ORDER BY number LIMIT ?"},
		{&s.key, a.read, "SELECT " + settledColumns + " FROM settled WHERE org = ? AND agent = ? AND session_key = ? AND idempotency_key = ? AND idempotency_key <> ''"},
		{&s.decisions, a.read, "SELECT body FROM decisions WHERE session = ? AND org = ? ORDER BY time DESC, id DESC LIMIT ?"},
	} {
		st, err := p.db.PrepareContext(ctx, a.d.query(p.q))
		if err != nil {
			return fmt.Errorf("prepare %q: %w", p.q, err)
		}
		*p.to = st
		s.all = append(s.all, st)
	}
	return nil
}

func (s *statements) close() error {
	var errs []error
	for _, st := range s.all {
		errs = append(errs, st.Close())
	}
	return errors.Join(errs...)
}

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
	putSettled, settled           *sql.Stmt
	putDecision, decision         *sql.Stmt
	putTerminated, terminatedOrg  *sql.Stmt
	putSide, sideNumber           *sql.Stmt
	owners                        wide
	putEvents, putRun             wide
	newLog, moveLog               wide
	newSource, moveSource         wide
	due, dropReplayed, drop, bare *sql.Stmt
	// Reading.
	logs, positions, events, decisions *sql.Stmt
	keys                               [len(keyWidths)]*sql.Stmt
	branch, side, dead, terminated     *sql.Stmt

	all []*sql.Stmt
}

const (
	eventColumns   = "session, number, source, source_number, org, type, time, cluster, text, signals, outcome, attributes"
	settledColumns = "signal, org, agent, session_key, idempotency_key, session, sequence, payload_hash, payload_ref, payload, sender, accepted_at, deliveries, outcome, settled_at, reason, agent_name, replay_of, origin, approval"
	sideColumns    = "session, source, source_number, org, type, time, cluster, text, signals, outcome, attributes, received_at"
	// due is what settled_due indexes: a row that keeps a key, or nothing but one.
	due = "(outcome <> 'dead' OR idempotency_key <> '')"
)

func (s *statements) prepare(ctx context.Context, a *Archive) error {
	type statement struct {
		to *(*sql.Stmt)
		db *sql.DB
		q  string
	}
	list := []statement{
		{&s.owner, a.write, "SELECT incarnation, n FROM shard_owner WHERE shard = ?" + a.d.lock},
		{&s.raise, a.write, `INSERT INTO shard_owner (shard, incarnation, n) VALUES (?, ?, ?) ON CONFLICT (shard) DO UPDATE
			SET incarnation = excluded.incarnation, n = excluded.n
			WHERE (shard_owner.incarnation, shard_owner.n) <= (excluded.incarnation, excluded.n)`},
		{&s.log, a.write, "SELECT number FROM logs WHERE shard = ? AND session = ?"},
		{&s.position, a.write, "SELECT number FROM positions WHERE shard = ? AND session = ? AND source = ?"},
		{&s.event, a.write, "SELECT " + eventColumns + " FROM events WHERE session = ? AND number = ?"},
		{&s.putSettled, a.write, "INSERT INTO settled (" + settledColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"},
		{&s.settled, a.write, "SELECT " + settledColumns + " FROM settled WHERE signal = ?"},
		{&s.putDecision, a.write, "INSERT INTO decisions (org, session, incarnation, epoch, time, cluster, summary, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"},
		{&s.decision, a.write, "SELECT org, body FROM decisions WHERE session = ? AND time = ? AND incarnation = ? AND epoch = ?"},
		{&s.putTerminated, a.write, "INSERT INTO terminated (session, org, agent, body) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"},
		{&s.terminatedOrg, a.write, "SELECT org FROM terminated WHERE session = ?"},
		{&s.putSide, a.write, "INSERT INTO side_events (" + sideColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"},
		{&s.sideNumber, a.write, "SELECT COALESCE(MAX(source_number), 0) FROM side_events WHERE session = ? AND source = ?"},
		{&s.due, a.write, "SELECT signal, outcome, replay_of FROM settled WHERE settled_at < ? AND " + due + " ORDER BY settled_at LIMIT ?" + a.d.lock},
		{&s.dropReplayed, a.write, "DELETE FROM settled WHERE signal = ? AND outcome = 'dead'"},
		{&s.drop, a.write, "DELETE FROM settled WHERE signal = ?"},
		{&s.bare, a.write, "UPDATE settled SET idempotency_key = '' WHERE signal = ?"},
		{&s.logs, a.read, "SELECT session, number FROM logs WHERE shard = ?"},
		{&s.positions, a.read, "SELECT session, source, number FROM positions WHERE shard = ?"},
		{&s.events, a.read, "SELECT " + eventColumns + " FROM events WHERE session = ? AND number >= ? AND org = ? ORDER BY number LIMIT ?"},
		{&s.branch, a.read, `SELECT d.org, d.cluster,
			COALESCE((SELECT number FROM positions WHERE shard = ? AND session = ? AND source = ?), 0),
			COALESCE((SELECT MAX(source_number) FROM side_events WHERE session = ? AND source = ?), 0)
			FROM decisions d WHERE d.session = ? AND d.incarnation = ? AND d.epoch = ? AND d.cluster <> '' ORDER BY d.id DESC LIMIT 1`},
		{&s.side, a.read, "SELECT id, " + sideColumns + " FROM side_events WHERE session = ? AND id > ? AND org = ? ORDER BY id LIMIT ?"},
		{&s.dead, a.read, "SELECT " + deadColumns(settledColumns) + " FROM settled s WHERE s.signal = ? AND s.org = ? AND s.outcome = 'dead'"},
		{&s.terminated, a.read, "SELECT body FROM terminated WHERE session = ? AND org = ?"},
		{&s.decisions, a.read, "SELECT body FROM decisions WHERE session = ? AND org = ? ORDER BY time DESC, id DESC LIMIT ?"},
	}
	for i, n := range keyWidths {
		list = append(list, statement{&s.keys[i], a.read, keysQuery(n)})
	}
	for i, n := range widths {
		list = append(list,
			statement{&s.owners[i], a.write, a.d.owners(n)},
			statement{&s.putEvents[i], a.write, a.d.putEvents(n)},
			statement{&s.putRun[i], a.write, a.d.putRun(n)},
			statement{&s.newLog[i], a.write, a.d.newLogs(n)},
			statement{&s.moveLog[i], a.write, a.d.moveLogs(n)},
			statement{&s.newSource[i], a.write, a.d.newSources(n)},
			statement{&s.moveSource[i], a.write, a.d.moveSources(n)})
	}
	for _, p := range list {
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

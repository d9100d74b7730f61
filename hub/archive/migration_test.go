package archive_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/archive"
)

// before opens a database beside the archive, with the tables of a former version.
func before(t *testing.T, cfg archive.Config, version int64) *sql.DB {
	t.Helper()
	db, dialect, folder := direct(t, cfg), goose.DialectPostgres, "migrations/postgres"
	if cfg.File != "" {
		dialect, folder = goose.DialectSQLite3, "migrations/sqlite"
	}
	p, err := goose.NewProvider(dialect, db, os.DirFS(folder), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	return db
}

// exec executes what has ? for its arguments.
func exec(t *testing.T, cfg archive.Config, db interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, q string, args ...any) {
	t.Helper()
	for i := 1; cfg.PostgreSQL != "" && strings.Contains(q, "?"); i++ {
		q = strings.Replace(q, "?", fmt.Sprint("$", i), 1)
	}
	if _, err := db.ExecContext(t.Context(), q, args...); err != nil {
		t.Fatal(err)
	}
}

// testMigration writes with the tables of version 1, opens the archive, and goes on writing as version 1 does: replicas are
// replaced one by one, so that both work at once for a time.
func testMigration(t *testing.T, cfg archive.Config) {
	db := before(t, cfg, 1)
	put := func(n int) {
		t.Helper()
		exec(t, cfg, db, `INSERT INTO settled (signal, org, agent, session_key, idempotency_key, session, sequence, payload_hash, payload_ref, payload, sender, accepted_at, deliveries, outcome, settled_at)
			VALUES (?, 'default', 'agent', 'key', ?, 's', ?, ?, '', ?, 'x', 0, 3, 'dead', 7)`, fmt.Sprint("signal", n), fmt.Sprint("k", n), n, make([]byte, 32), []byte("payload"))
	}
	put(1)
	a := open(t, cfg)
	defer func() { _ = a.Close() }()
	put(2)
	list, next, err := a.DeadLetters(t.Context(), "default", hub.DeadFilter{}, "", 10)
	if err != nil || len(list) != 2 || next != "" {
		t.Fatalf("DeadLetters = %v, %q, %v; want the two of version 1", list, next, err)
	}
	for n := 1; n <= 2; n++ {
		d, err := a.DeadLetter(t.Context(), "default", api.SignalID(fmt.Sprint("signal", n)))
		if err != nil || string(d.Signal.Payload) != "payload" || d.Reason != "" || d.Scope.Key != fmt.Sprint("k", n) {
			t.Errorf("DeadLetter(%d) = %+v, %v", n, d, err)
		}
	}
}

// testMigrationOfEvents writes many events as version 3 does, opens the archive, and lets version 3 and the archive own the shard
// by turns. Every event is there as it was written.
func testMigrationOfEvents(t *testing.T, cfg archive.Config) {
	const shard, sessions, many, text = api.Shard(9), 7, 20_000, "\x00 日本語 "
	ctx, db := t.Context(), before(t, cfg, 3)
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	source := api.Source{Epoch: api.Epoch{Incarnation: 1, N: 1}, Attempt: 1}
	logs := map[api.SessionID][]api.Event{}
	next := func(i int) api.Event {
		s := api.NewSessionID(began, shard, [10]byte{9: byte(i % sessions)})
		n := uint64(len(logs[s]) + 1)
		e := api.Event{Session: s, Number: n, Source: source, SourceNumber: n, Type: api.EventLog, Time: began.Add(time.Duration(i)), Cluster: "c",
			Text: text + fmt.Sprint(i), Signals: []uint64{7}, Attributes: map[string]string{"a": "b"}}
		logs[s] = append(logs[s], e)
		return e
	}
	gen := api.Generation{Incarnation: 1}
	third := func(events int) { // what version 3 writes when it owns the shard
		t.Helper()
		gen.N++
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		exec(t, cfg, tx, `INSERT INTO shard_owner (shard, incarnation, n) VALUES (?, 1, ?) ON CONFLICT (shard) DO UPDATE SET n = excluded.n`, int64(shard), int64(gen.N))
		for i := range events {
			e := next(i)
			var stored any = e.Text
			if cfg.PostgreSQL != "" {
				stored = []byte(e.Text)
			}
			exec(t, cfg, tx, `INSERT INTO events (session, number, source, source_number, org, type, time, cluster, text, signals, outcome, attributes, shard)
				VALUES (?, ?, ?, ?, 'default', ?, ?, 'c', ?, '[7]', '', '{"a":"b"}', ?)`, string(e.Session), int64(e.Number), source.String(), int64(e.SourceNumber), string(e.Type), e.Time.UnixNano(), stored, int64(shard))
		}
		for s, log := range logs {
			exec(t, cfg, tx, `INSERT INTO logs (shard, session, org, number) VALUES (?, ?, 'default', ?) ON CONFLICT (shard, session) DO UPDATE SET number = excluded.number`, int64(shard), string(s), len(log))
			exec(t, cfg, tx, `INSERT INTO positions (shard, session, source, number) VALUES (?, ?, ?, ?) ON CONFLICT (shard, session, source) DO UPDATE SET number = excluded.number`,
				int64(shard), string(s), source.String(), len(log))
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	third(many)
	a := open(t, cfg)
	defer func() { _ = a.Close() }()
	for range 3 {
		gen.N++
		if err := a.Raise(ctx, shard, gen); err != nil {
			t.Fatal(err)
		}
		ap := hub.Append{Shard: shard, Generation: gen, Org: api.DefaultOrg}
		for i := range 40 {
			ap.Events = append(ap.Events, next(i))
		}
		if err := a.Append(ctx, []hub.Append{ap}); err != nil {
			t.Fatal(err)
		}
		third(30)
	}
	total := 0
	for s, want := range logs {
		got, err := a.Events(ctx, api.DefaultOrg, s, 0, 2*many)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("log of %s (-want +got):\n%s", s, d)
		}
		total += len(got)
	}
	if total < many {
		t.Fatalf("%d events, want at least %d", total, many)
	}
	p, err := a.Positions(ctx, shard)
	if err != nil || len(p) != sessions {
		t.Fatalf("%d positions, %v; want %d", len(p), err, sessions)
	}
	for s, log := range logs {
		if n := uint64(len(log)); p[s].Number != n || p[s].Sources[source] != n {
			t.Errorf("position of %s = %v, want %d", s, p[s], n)
		}
	}
}

func TestSQLiteMigration(t *testing.T) {
	testMigration(t, archive.Config{File: filepath.Join(t.TempDir(), "a.db")})
}

func TestSQLiteMigrationOfEvents(t *testing.T) {
	testMigrationOfEvents(t, archive.Config{File: filepath.Join(t.TempDir(), "a.db")})
}

// TestQueriesUseTheirIndexes asks SQLite for its plans: what is read while others write must not walk through a whole table.
func TestQueriesUseTheirIndexes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.db")
	if err := open(t, archive.Config{File: file}).Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for index, query := range map[string]string{
		"settled_due":         "SELECT signal FROM settled WHERE settled_at < 7 AND (outcome <> 'dead' OR idempotency_key <> '') ORDER BY settled_at LIMIT 9",
		"settled_dead":        "SELECT signal FROM settled s WHERE s.org = 'x' AND s.outcome = 'dead' AND (s.settled_at, s.signal) < (7, 'x') ORDER BY s.settled_at DESC, s.signal DESC LIMIT 9",
		"settled_replay":      "SELECT MIN(r.signal) FROM settled r WHERE r.replay_of = 'x' AND r.replay_of <> ''",
		"decisions_placed":    "SELECT org FROM decisions WHERE session = 'x' AND incarnation = 1 AND epoch = 2 AND cluster <> '' ORDER BY id DESC LIMIT 1",
		"events_number":       "SELECT text FROM events WHERE session = 'x' AND number >= 7 AND org = 'x' ORDER BY number LIMIT 9",
		"side_events_arrival": "SELECT id FROM side_events WHERE session = 'x' AND id > 7 AND org = 'x' ORDER BY id LIMIT 9",
	} {
		rows, err := db.Query("EXPLAIN QUERY PLAN " + query)
		if err != nil {
			t.Fatal(err)
		}
		plan := ""
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			plan += detail + "\n"
		}
		_ = rows.Close()
		if !strings.Contains(plan, index) || strings.Contains(plan, "SCAN") || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("plan of %s:\n%swant index %s and no sorting", query, plan, index)
		}
	}
}

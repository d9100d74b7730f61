package archive_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/archive"
)

// testMigration writes with the tables of version 1, opens the archive, and goes on writing as version 1 does: replicas are
// replaced one by one, so that both work at once for a time.
func testMigration(t *testing.T, cfg archive.Config, driver, folder string) {
	dsn, dialect := cfg.PostgreSQL, goose.DialectPostgres
	if driver == "sqlite" {
		dsn, dialect = "file:"+cfg.File+"?_pragma=busy_timeout(5000)", goose.DialectSQLite3
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	p, err := goose.NewProvider(dialect, db, os.DirFS(folder), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	put := func(n int) {
		t.Helper()
		q := `INSERT INTO settled (signal, org, agent, session_key, idempotency_key, session, sequence, payload_hash, payload_ref, payload, sender, accepted_at, deliveries, outcome, settled_at)
			VALUES (?, 'default', 'agent', 'key', ?, 's', ?, ?, '', ?, 'x', 0, 3, 'dead', 7)`
		if driver == "pgx" {
			for i := 1; strings.Contains(q, "?"); i++ {
				q = strings.Replace(q, "?", fmt.Sprint("$", i), 1)
			}
		}
		if _, err := db.ExecContext(t.Context(), q, fmt.Sprint("signal", n), fmt.Sprint("k", n), n, make([]byte, 32), []byte("payload")); err != nil {
			t.Fatal(err)
		}
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

func TestSQLiteMigration(t *testing.T) {
	testMigration(t, archive.Config{File: filepath.Join(t.TempDir(), "a.db")}, "sqlite", "migrations/sqlite")
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

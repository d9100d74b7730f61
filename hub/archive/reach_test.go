package archive_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/archive"
)

// direct opens the database of an archive beside it.
func direct(t *testing.T, cfg archive.Config) *sql.DB {
	t.Helper()
	driver, dsn := "pgx", cfg.PostgreSQL
	if cfg.File != "" {
		driver, dsn = "sqlite", "file:"+cfg.File+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// testReach lets the database become another one than a replica remembers: another replica goes on with the log, and the
// database loses what it had. The log stays dense, nothing is overwritten, and the replica goes on by itself.
func testReach(t *testing.T, cfg archive.Config) {
	const shard = api.Shard(9)
	ctx := t.Context()
	one, two := open(t, cfg), open(t, cfg)
	t.Cleanup(func() { _, _ = one.Close(), two.Close() })
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	session := api.NewSessionID(began, shard, [10]byte{})
	source := api.Source{Epoch: api.Epoch{Incarnation: 1, N: 1}, Attempt: 1}
	gen := api.Generation{Incarnation: 1}
	owner := func(a *archive.Archive) {
		t.Helper()
		gen.N++
		if err := a.Raise(ctx, shard, gen); err != nil {
			t.Fatal(err)
		}
	}
	put := func(a *archive.Archive, text string, numbers ...uint64) error {
		ap := hub.Append{Shard: shard, Generation: gen, Org: api.DefaultOrg}
		for _, n := range numbers {
			ap.Events = append(ap.Events, api.Event{Session: session, Number: n, Source: source, SourceNumber: n, Type: api.EventLog, Time: began, Text: text})
		}
		return a.Append(ctx, []hub.Append{ap})
	}
	want := func(what string, err error, code api.Code, log string) {
		t.Helper()
		if api.CodeOf(err) != code {
			t.Fatalf("%s = %v, want code %q", what, err, code)
		}
		events, err := one.Events(ctx, api.DefaultOrg, session, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		is := ""
		for i, e := range events {
			if e.Number != uint64(i+1) {
				t.Fatalf("after %s: event %d at %d", what, e.Number, i)
			}
			is += e.Text
		}
		p, err := one.Positions(ctx, shard)
		if err != nil {
			t.Fatal(err)
		}
		if is != log || p[session].Number != uint64(len(log)) || p[session].Sources[source] != uint64(len(log)) {
			t.Fatalf("after %s: log %q, positions %v; want %q", what, is, p[session], log)
		}
	}

	owner(one)
	want("the first", put(one, "a", 1, 2, 3), "", "aaa")
	owner(two)
	want("another replica", put(two, "b", 4, 5), "", "aaabb")
	owner(one)
	want("another content of what is remembered as missing", put(one, "x", 4, 5, 6), api.CodeInternal, "aaabb")
	want("what another replica wrote", put(one, "b", 4, 5), "", "aaabb")
	owner(two)
	want("another replica again", put(two, "b", 6), "", "aaabbb")
	owner(one)
	want("what continues both", put(one, "a", 7), "", "aaabbba")
	owner(two)
	want("what the first one wrote, and more", put(two, "a", 7, 8), "", "aaabbbaa")
	want("a gap", put(two, "x", 10), api.CodeInternal, "aaabbbaa")

	db := direct(t, cfg)
	lose := func(queries ...string) {
		t.Helper()
		for _, q := range queries {
			if _, err := db.ExecContext(ctx, q); err != nil {
				t.Fatal(err)
			}
		}
	}
	want("go on", put(two, "a", 9), "", "aaabbbaaa") // it remembers 9
	lose("DELETE FROM events WHERE number > 6", "UPDATE logs SET number = 6", "UPDATE positions SET number = 6")
	want("what continues an event that was lost", put(two, "x", 10), api.CodeInternal, "aaabbb")
	want("the lost ones again", put(two, "c", 7), "", "aaabbbc")
	lose("DELETE FROM events", "DELETE FROM logs", "DELETE FROM positions")
	want("what continues a log that was lost", put(two, "x", 8), api.CodeInternal, "")
	want("the log from its beginning", put(two, "d", 1, 2), "", "dd")

	// Each of the two tables alone keeps the append from being written.
	log := "dd"
	for _, table := range []string{"logs", "positions"} {
		log += "d"
		n := uint64(len(log))
		want("go on", put(two, "d", n), "", log)
		lose(fmt.Sprintf("UPDATE %s SET number = %d", table, n-1))
		if err := put(two, "x", n+1); api.CodeOf(err) != api.CodeInternal {
			t.Fatalf("an append after %s lost something = %v, want CodeInternal", table, err)
		}
		lose(fmt.Sprintf("UPDATE %s SET number = %d", table, n))
		want("an append after "+table+" lost something", nil, "", log)
	}
}

func TestSQLiteReach(t *testing.T) {
	testReach(t, archive.Config{File: filepath.Join(t.TempDir(), "a.db")})
}

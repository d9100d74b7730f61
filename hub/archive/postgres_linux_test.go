package archive_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/archive"
	"github.com/nave-dev/nave/hub/archive/archivetest"
	"github.com/nave-dev/nave/internal/postgrestest"
	"github.com/nave-dev/nave/internal/realpart"
	"github.com/nave-dev/nave/internal/run"
)

// postgres runs a server until the test ends.
func postgres(t testing.TB, cfg postgrestest.Config) *postgrestest.Server {
	t.Helper()
	cfg.Bin = filepath.Dir(realpart.Path(t, realpart.PostgreSQL))
	s, err := postgrestest.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestPostgreSQL(t *testing.T) {
	server := postgres(t, postgrestest.Config{})
	admin, err := sql.Open("pgx", server.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	n := 0
	create := func(t *testing.T) archive.Config {
		n++
		name := fmt.Sprintf("test%d", n)
		if err := server.Create(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		return archive.Config{PostgreSQL: server.DSN(name)}
	}
	archivetest.Run(t, func(t *testing.T) archivetest.Database { return &database{cfg: create(t)} })
	t.Run("TwoReplicasOpenAnEmptyDatabaseAtOnce", func(t *testing.T) { testOpenTogether(t, create(t)) })
	t.Run("ARaiseWaitsForAnAppend", func(t *testing.T) { testRaiseWaits(t, admin, create(t)) })
	t.Run("ARaiseFencesAnotherReplica", func(t *testing.T) { testFenceAcross(t, create(t)) })
	t.Run("TheVersionBeforeGoesOnWriting", func(t *testing.T) { testMigration(t, create(t)) })
	t.Run("Version3GoesOnWritingEvents", func(t *testing.T) { testMigrationOfEvents(t, create(t)) })
	t.Run("AnotherReplicaAndALoss", func(t *testing.T) { testReach(t, create(t)) })
	t.Run("IsKilled", func(t *testing.T) { testKilled(t, server, create(t)) })
}

func BenchmarkAppendPostgreSQL(b *testing.B) {
	server := postgres(b, postgrestest.Config{})
	for i, l := range loads {
		b.Run(l.name, func(b *testing.B) {
			name := fmt.Sprintf("bench%d_%d", i, time.Now().UnixNano())
			if err := server.Create(b.Context(), name); err != nil {
				b.Fatal(err)
			}
			benchmarkAppend(b, l, archive.Config{PostgreSQL: server.DSN(name)})
		})
	}
}

// testKilled kills the server again and again while a shard's owner appends to a log and a spoke to a side branch: calls answer
// CodeUnavailable meanwhile, and go on by themselves when it is back. Nothing is lost and nothing is there twice.
func testKilled(t *testing.T, server *postgrestest.Server, cfg archive.Config) {
	const shard, kills, least = api.Shard(9), 3, 40
	cfg.Timeout = 5 * time.Second
	a := open(t, cfg)
	defer func() { _ = a.Close() }()
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	gen := api.Generation{Incarnation: 1, N: 1}
	if err := a.Raise(t.Context(), shard, gen); err != nil {
		t.Fatal(err)
	}
	log, side := api.NewSessionID(began, shard, [10]byte{9: 1}), api.NewSessionID(began, shard, [10]byte{9: 2})
	source := api.Source{Epoch: api.Epoch{Incarnation: 1, N: 1}, Attempt: 1}
	event := func(s api.SessionID, n uint64) api.Event {
		return api.Event{Session: s, Source: source, SourceNumber: n, Number: n, Type: api.EventLog, Time: began, Text: fmt.Sprint(n)}
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Minute, errors.New("not within 3m"))
	defer cancel()
	g := run.NewGroup(ctx)
	var (
		done               atomic.Bool
		written, away, two atomic.Uint64
	)
	write := func(count *atomic.Uint64, put func(context.Context, uint64) error) func(context.Context) error {
		return func(ctx context.Context) error {
			for n := uint64(1); !done.Load(); {
				began := time.Now()
				err := put(ctx, n)
				if took := time.Since(began); took > 7*time.Second {
					return fmt.Errorf("a call took %v, and its bound is 5s", took)
				}
				switch {
				case err == nil:
					count.Store(n)
					n++
				case ctx.Err() != nil:
					return context.Cause(ctx)
				case api.CodeOf(err) != api.CodeUnavailable:
					return fmt.Errorf("write %d = %w (code %s), want CodeUnavailable", n, err, api.CodeOf(err))
				default:
					away.Add(1)
				}
			}
			return nil
		}
	}
	g.Go("owner", write(&written, func(ctx context.Context, n uint64) error {
		return a.Append(ctx, []hub.Append{{Shard: shard, Generation: gen, Org: api.DefaultOrg, Events: []api.Event{event(log, n)}}})
	}))
	g.Go("spoke", write(&two, func(ctx context.Context, n uint64) error {
		return a.AppendSide(ctx, api.DefaultOrg, api.EventBatch{Session: side, Source: source, Events: []api.Event{event(side, n)}}, "", began)
	}))
	g.Go("killer", func(ctx context.Context) error {
		defer done.Store(true)
		more := func() error {
			for until, until2 := written.Load()+least, two.Load()+least; written.Load() < until || two.Load() < until2; {
				select {
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(time.Millisecond):
				}
			}
			return nil
		}
		for range kills {
			if err := more(); err != nil {
				return err
			}
			if err := server.Kill(); err != nil {
				return err
			}
			for seen := away.Load(); away.Load() == seen; { // a call is refused while it is away
				select {
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(time.Millisecond):
				}
			}
			if err := server.Start(ctx); err != nil {
				return err
			}
		}
		return more()
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	events, err := a.Events(t.Context(), api.DefaultOrg, log, 0, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	late, _, err := a.Side(t.Context(), api.DefaultOrg, side, 0, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	if uint64(len(events)) != written.Load() || uint64(len(late)) != two.Load() {
		t.Errorf("%d events and %d of the side branch, want the %d and %d that were acknowledged", len(events), len(late), written.Load(), two.Load())
	}
	for i, e := range events {
		if e.Number != uint64(i+1) || e.Text != fmt.Sprint(i+1) {
			t.Fatalf("event %d at %d", e.Number, i)
		}
	}
	for i, e := range late {
		if e.Event.SourceNumber != uint64(i+1) {
			t.Fatalf("event %d of the side branch at %d", e.Event.SourceNumber, i)
		}
	}
	t.Logf("%d and %d written over %d kills, %d calls refused meanwhile", len(events), len(late), kills, away.Load())
}

func TestPostgreSQLRefuses(t *testing.T) {
	server := postgres(t, postgrestest.Config{Password: "right one"})
	for _, statement := range []string{"CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0", "CREATE DATABASE readonly", "ALTER DATABASE readonly SET default_transaction_read_only = on",
		"CREATE DATABASE locked", "CREATE ROLE guest LOGIN PASSWORD 'guest'"} {
		if err := server.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	right := server.DSN("postgres")
	as := func(user, password, database string) string {
		u, err := url.Parse(server.DSN(database))
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(user, password)
		return u.String()
	}
	for what, tt := range map[string]struct {
		dsn  string
		code api.Code
		says string
	}{
		"what is no connection string": {"postgres://nave:topsecret@[x/nave", api.CodeInvalid, "connection string"},
		"a wrong password":             {as("nave", "topsecret", "postgres"), api.CodeDenied, "password"},
		"an unknown user":              {as("nobody", "topsecret", "postgres"), api.CodeDenied, "password"},
		"a missing database":           {strings.Replace(right, "/postgres?", "/none?", 1), api.CodeInvalid, "create"},
		"another encoding":             {server.DSN("latin"), api.CodeInvalid, "UTF8"},
		"a read-only one":              {server.DSN("readonly"), api.CodeFailed, "primary"},
		"a user without rights":        {as("guest", "guest", "locked"), api.CodeDenied, "CREATE"},
		"nobody there":                 {"postgres://nave:topsecret@/x?host=" + t.TempDir(), api.CodeUnavailable, "reached"},
	} {
		a, err := archive.Open(t.Context(), archive.Config{PostgreSQL: tt.dsn, Timeout: 5 * time.Second})
		if err == nil {
			_ = a.Close()
		}
		if api.CodeOf(err) != tt.code || api.FieldOf(err) != "postgresql" || err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s = %v (code %q, field %q), want code %q of postgresql that says %q", what, err, api.CodeOf(err), api.FieldOf(err), tt.code, tt.says)
		} else if strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%s = %v, which holds the password", what, err)
		}
	}
}

// testRaiseWaits holds an append between its comparison and its commit; a raise must wait for it, or the append would be
// written after the next owner read the positions.
func testRaiseWaits(t *testing.T, admin *sql.DB, cfg archive.Config) {
	const shard = api.Shard(9)
	a := open(t, cfg)
	defer func() { _ = a.Close() }()
	if err := a.Raise(t.Context(), shard, api.Generation{Incarnation: 1, N: 1}); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", cfg.PostgreSQL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	hold, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hold.Rollback() }()
	if _, err := hold.Exec("LOCK TABLE logs IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	waiting := func(n int) { // until n connections wait for a lock
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for got := -1; got != n; {
			err := admin.QueryRowContext(ctx, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").Scan(&got)
			if err != nil {
				t.Fatalf("%d of %d connections wait for a lock: %v", got, n, err)
			}
		}
	}
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	session := api.NewSessionID(began, shard, [10]byte{})
	g := run.NewGroup(t.Context())
	g.Go("append", func(ctx context.Context) error {
		e := api.Event{Session: session, Number: 1, SourceNumber: 1, Type: api.EventWaiting, Time: began}
		return a.Append(ctx, []hub.Append{{Shard: shard, Generation: api.Generation{Incarnation: 1, N: 1}, Org: api.DefaultOrg, Events: []api.Event{e}}})
	})
	waiting(1)
	g.Go("raise", func(ctx context.Context) error {
		if err := a.Raise(ctx, shard, api.Generation{Incarnation: 1, N: 2}); err != nil {
			return err
		}
		p, err := a.Positions(ctx, shard)
		if err == nil && p[session].Number != 1 {
			err = fmt.Errorf("positions after the raise = %v, want the append in them", p)
		}
		return err
	})
	waiting(2)
	if err := hold.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

package archive_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/hub/archive"
	"github.com/nave-dev/nave/hub/archive/archivetest"
	"github.com/nave-dev/nave/internal/realpart"
	"github.com/nave-dev/nave/internal/run"
)

func TestPostgreSQL(t *testing.T) {
	socket := postgres(t)
	admin, err := sql.Open("pgx", dsn(socket, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	n := 0
	create := func(t *testing.T) archive.Config {
		n++
		name := fmt.Sprintf("test%d", n)
		if _, err := admin.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
			t.Fatal(err)
		}
		return archive.Config{PostgreSQL: dsn(socket, name)}
	}
	archivetest.Run(t, func(t *testing.T) archivetest.Database { return &database{cfg: create(t)} })
	t.Run("TwoReplicasOpenAnEmptyDatabaseAtOnce", func(t *testing.T) { testOpenTogether(t, create(t)) })
	t.Run("ARaiseWaitsForAnAppend", func(t *testing.T) { testRaiseWaits(t, admin, create(t)) })
	t.Run("ARaiseFencesAnotherReplica", func(t *testing.T) { testFenceAcross(t, create(t)) })
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

func dsn(socket, database string) string {
	return fmt.Sprintf("host=%s user=nave dbname=%s", socket, database)
}

// postgres runs a server of its own without a network and returns the directory of its socket. The server refuses root, so
// it runs as another user then.
func postgres(t *testing.T) string {
	t.Helper()
	bin := filepath.Dir(realpart.Path(t, realpart.PostgreSQL))
	dir, err := os.MkdirTemp("/tmp", "nave-pg-") // socket paths are short, and parents must let the other user in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT} // an aborted test leaves no server
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Fatal(err)
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 != nil || err2 != nil {
			t.Fatalf("user postgres has ids %s and %s", u.Uid, u.Gid)
		}
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	data := filepath.Join(dir, "data")
	initdb := exec.CommandContext(t.Context(), filepath.Join(bin, "initdb"), "-D", data, "-U", "nave", "-A", "trust", "-E", "UTF8", "--locale=C")
	initdb.SysProcAttr, initdb.Dir = attr, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	logs, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = logs.Close() })
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-c", "listen_addresses=", "-c", "unix_socket_directories="+dir)
	server.SysProcAttr, server.Dir, server.Stdout, server.Stderr = attr, dir, logs, logs
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGINT) // shuts down, ending connections
		killer := time.AfterFunc(10*time.Second, func() { _ = server.Process.Kill() })
		_ = server.Wait()
		killer.Stop()
	})
	awaitPostgres(t, dir, logs.Name())
	return dir
}

func awaitPostgres(t *testing.T, socket, logs string) {
	t.Helper()
	db, err := sql.Open("pgx", dsn(socket, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for err = db.PingContext(ctx); err != nil; err = db.PingContext(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			text, _ := os.ReadFile(logs)
			t.Fatalf("PostgreSQL does not answer: %v\n%s", err, text)
		}
	}
}

package archive

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

// Config configures an [Archive]: exactly one of File and PostgreSQL.
type Config struct {
	File       string        // path of a SQLite database; made with mode 0600 when missing
	PostgreSQL string        // connection string, "postgres://…"
	Readers    int           // connections for reading; default 4, 1 to 64
	Timeout    time.Duration // bound of each call, on top of the caller's context; default 30 s
}

func (c *Config) validate() error {
	if (c.File == "") == (c.PostgreSQL == "") {
		return api.Invalid("file", "give a file or a PostgreSQL connection string, exactly one of them")
	}
	if c.Readers == 0 {
		c.Readers = 4
	}
	if c.Readers < 1 || c.Readers > 64 {
		return api.Invalid("readers", "%d: want 1 to 64", c.Readers)
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Timeout < 0 {
		return api.Invalid("timeout", "%v: want more than 0", c.Timeout)
	}
	return nil
}

// Archive is safe for concurrent use.
type Archive struct {
	d       dialect
	write   *sql.DB // SQLite: one connection
	read    *sql.DB // PostgreSQL: the same as write
	st      statements
	raises  *run.Together[raise]
	reach   reach
	timeout time.Duration
}

var (
	_ hub.Archive = (*Archive)(nil)
	_ hub.Reader  = (*Archive)(nil)
	_ hub.Pruner  = (*Archive)(nil)
)

// Open opens the database and brings it to this version's tables. CodeUnsupported when a newer version of Nave wrote it.
// The caller closes the archive.
func Open(ctx context.Context, cfg Config) (*Archive, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*cfg.Timeout) // a migration may take its time
	defer cancel()
	a := &Archive{timeout: cfg.Timeout}
	a.raises = run.NewTogether(a.raiseAll)
	err := a.connect(cfg)
	if err == nil && a.d.numbered {
		err = a.greet(ctx)
	}
	if err == nil {
		err = a.migrate(ctx)
	}
	if err == nil {
		err = a.st.prepare(ctx, a)
	}
	if err != nil {
		if a.d.numbered {
			err = refused(err)
		}
		return nil, errors.Join(failure("open archive", err), a.Close())
	}
	return a, nil
}

func (a *Archive) connect(cfg Config) (err error) {
	if cfg.PostgreSQL != "" {
		a.d = postgresDialect
		if _, err := pgconn.ParseConfig(cfg.PostgreSQL); err != nil { // its error leaves the password out
			return api.Invalid("postgresql", "is no connection string such as postgres://user:password@host:5432/database: %v", err)
		}
		if a.write, err = sql.Open(a.d.driver, cfg.PostgreSQL); err != nil {
			return err
		}
		a.write.SetMaxOpenConns(cfg.Readers + 2)
		a.write.SetMaxIdleConns(cfg.Readers + 2)
		a.read = a.write
		return nil
	}
	a.d = sqliteDialect
	path, err := filepath.Abs(cfg.File)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // SQLite's own files take over the mode
	if err != nil {
		return fmt.Errorf("open database file: %w", err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(5000)"
	if a.write, err = sql.Open(a.d.driver, dsn+"&_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"+
		"&_pragma=wal_autocheckpoint(4000)&_pragma=journal_size_limit(67108864)&_pragma=cache_size(-32768)"); err != nil {
		return err
	}
	a.write.SetMaxOpenConns(1)
	if a.read, err = sql.Open(a.d.driver, dsn+"&_pragma=query_only(1)"); err != nil {
		return err
	}
	a.read.SetMaxOpenConns(cfg.Readers)
	a.read.SetMaxIdleConns(cfg.Readers)
	return nil
}

func (a *Archive) migrate(ctx context.Context) error {
	files, err := a.d.migrations()
	if err != nil {
		return err
	}
	opts := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	if a.d.numbered { // several replicas may come at once
		l, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, uint64(max(time.Second, a.timeout)/time.Second)))
		if err != nil {
			return err
		}
		opts = append(opts, goose.WithSessionLocker(l))
	}
	p, err := goose.NewProvider(a.d.goose, a.write, files, opts...)
	if err != nil {
		return err
	}
	has, knows, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read version of the database: %w", err)
	}
	if has > knows {
		return api.Errorf(api.CodeUnsupported, "the archive has version %d and this program knows up to %d: run a newer nave-hub", has, knows)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	return nil
}

// Close closes the database. It must be the last call.
func (a *Archive) Close() error {
	err := a.st.close()
	if a.read != nil && a.read != a.write {
		err = errors.Join(err, a.read.Close())
	}
	if a.write != nil {
		err = errors.Join(err, a.write.Close())
	}
	return err
}

func (a *Archive) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, a.timeout)
}

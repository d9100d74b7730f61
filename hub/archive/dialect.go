package archive

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"

	"github.com/nave-dev/nave/api"
)

//go:embed migrations
var migrations embed.FS

// dialect is where the databases differ.
type dialect struct {
	name     string // folder of the migrations
	driver   string
	goose    goose.Dialect
	numbered bool   // placeholders are $1, $2, … instead of ?
	lock     string // ends a SELECT that holds its rows until the end of the transaction
	bytes    bool   // the text of events is a column of bytes
	// interrupts says that statements are given the caller's context. SQLite's are short and local, and watching the context costs
	// a goroutine for each: there the transaction is given the context, and its statements are not.
	interrupts bool
}

var (
	sqliteDialect   = dialect{name: "sqlite", driver: "sqlite", goose: goose.DialectSQLite3}
	postgresDialect = dialect{name: "postgres", driver: "pgx", goose: goose.DialectPostgres, numbered: true, lock: " FOR UPDATE", bytes: true, interrupts: true}
)

// query makes a statement with ? placeholders one of the dialect.
func (d dialect) query(q string) string {
	if !d.numbered {
		return q
	}
	var b strings.Builder
	n := 0
	for _, r := range q {
		if r == '?' {
			n++
			b.WriteString("$" + strconv.Itoa(n))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func (d dialect) text(s string) any {
	if d.bytes {
		return []byte(s)
	}
	return s
}

func (d dialect) context(ctx context.Context) context.Context {
	if d.interrupts {
		return ctx
	}
	return context.WithoutCancel(ctx)
}

func (d dialect) migrations() (fs.FS, error) { return fs.Sub(migrations, "migrations/"+d.name) }

// SQLite's primary result codes (sqlite.org/rescode.html).
const (
	sqliteCorrupt    = 11
	sqliteConstraint = 19
	sqliteNotADB     = 26
)

// failure maps an error of a database. What may pass by itself is CodeUnavailable: the call may be repeated.
func failure(op string, err error) error {
	var own *api.Error
	if errors.As(err, &own) {
		return err
	}
	code := api.CodeUnavailable
	var (
		lite *sqlite.Error
		pg   *pgconn.PgError
		bad  *rowError
	)
	switch {
	case errors.As(err, &bad):
		code = api.CodeInternal
	case errors.As(err, &lite):
		if c := lite.Code() & 0xff; c == sqliteConstraint || c == sqliteCorrupt || c == sqliteNotADB {
			code = api.CodeInternal
		}
	case errors.As(err, &pg):
		if c := pg.Code[:2]; c == "22" || c == "23" || c == "42" { // data, integrity, syntax (PostgreSQL's appendix A)
			code = api.CodeInternal
		}
	}
	return &api.Error{Code: code, Op: op, Err: fmt.Errorf("archive: %w", err)}
}

// rowError is a row that cannot be read or written.
type rowError struct {
	what string
	err  error
}

func (e *rowError) Error() string { return e.what + ": " + e.err.Error() }
func (e *rowError) Unwrap() error { return e.err }

// refuse makes an error of this package with its operation.
func refuse(op string, code api.Code, format string, args ...any) error {
	e := api.Errorf(code, format, args...)
	e.Op = op
	return e
}

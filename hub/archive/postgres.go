package archive

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/nave-dev/nave/api"
)

// oldestPostgres is the oldest version that is known to do what the archive needs, as server_version_num has it.
const oldestPostgres = 130000

// field is what the connection string is called in errors.
const field = "postgresql"

// greet looks whether the server is one to work with.
func (a *Archive) greet(ctx context.Context) error {
	ctx, cancel := a.bound(ctx)
	defer cancel()
	var version, encoding, readOnly string
	err := a.write.QueryRowContext(ctx, "SELECT current_setting('server_version_num'), current_setting('server_encoding'), current_setting('transaction_read_only')").
		Scan(&version, &encoding, &readOnly)
	if err != nil {
		return err
	}
	return suits(version, encoding, readOnly)
}

// suits says what is wrong with a server.
func suits(version, encoding, readOnly string) error {
	n, err := strconv.Atoi(version)
	switch {
	case err != nil || n < oldestPostgres:
		return &api.Error{Code: api.CodeUnsupported, Field: field, Err: fmt.Errorf("the server has version %s: want PostgreSQL %d or newer", version, oldestPostgres/10_000)}
	case encoding != "UTF8":
		return &api.Error{Code: api.CodeInvalid, Field: field, Err: fmt.Errorf("the database has encoding %s: create it with encoding UTF8", encoding)}
	case readOnly != "off":
		return &api.Error{Code: api.CodeFailed, Field: field, Err: errors.New("the server only reads: name the primary, or all of them with target_session_attrs=read-write")}
	}
	return nil
}

// refused names the field and the remedy when the server does not let us begin. The causes of PostgreSQL are in its appendix A.
func refused(err error) error {
	var (
		own     *api.Error
		pg      *pgconn.PgError
		connect *pgconn.ConnectError
	)
	if errors.As(err, &own) {
		return err
	}
	if errors.As(err, &pg) {
		switch pg.Code {
		case "28P01", "28000": // invalid_password, invalid_authorization_specification
			return &api.Error{Code: api.CodeDenied, Field: field, Err: fmt.Errorf("the server does not let the user in: mend user and password: %s", pg.Message)}
		case "3D000": // invalid_catalog_name
			return &api.Error{Code: api.CodeInvalid, Field: field, Err: fmt.Errorf("%s: create it with encoding UTF8", pg.Message)}
		case "42501": // insufficient_privilege
			return &api.Error{Code: api.CodeDenied, Field: field, Err: fmt.Errorf("%s: make the user the owner of the database, or GRANT CREATE on its schema", pg.Message)}
		}
	}
	if errors.As(err, &connect) {
		return &api.Error{Code: api.CodeUnavailable, Field: field, Err: fmt.Errorf("the server cannot be reached, or is not ready: %w", err)}
	}
	return err
}

package store

import (
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/api"
)

// failure maps an error of etcd to the code that says what the caller can do. What is not known to be final is
// CodeUnavailable: the outcome of a write is unknown then.
func failure(op string, err error) error {
	var own *api.Error
	if errors.As(err, &own) {
		return err
	}
	code := api.CodeUnavailable
	var bad *recordError
	switch {
	case errors.As(err, &bad), errors.Is(err, rpctypes.ErrDuplicateKey), errors.Is(err, rpctypes.ErrEmptyKey):
		code = api.CodeInternal
	case errors.Is(err, rpctypes.ErrTooManyOps), errors.Is(err, rpctypes.ErrRequestTooLarge), tooLargeToSend(err):
		code = api.CodeLimit
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		code, err = api.CodeDenied, fmt.Errorf("%w: grant the user reading and writing of the prefix", err)
	case errors.Is(err, rpctypes.ErrUserEmpty), errors.Is(err, rpctypes.ErrAuthFailed):
		code, err = api.CodeDenied, fmt.Errorf("%w: name a user and its password", err)
	case errors.Is(err, rpctypes.ErrNoSpace):
		err = fmt.Errorf("%w: raise etcd's quota or compact and defragment it, then disarm the alarm", err)
	}
	return &api.Error{Code: code, Op: op, Err: fmt.Errorf("etcd: %w", err)}
}

// tooLargeToSend reports that the client refused the request before it was sent. The library has no name for it.
func tooLargeToSend(err error) bool {
	return status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "larger than max")
}

// recordError is a record that cannot be read or written.
type recordError struct {
	key string
	err error
}

func (e *recordError) Error() string { return fmt.Sprintf("record %s: %v", e.key, e.err) }
func (e *recordError) Unwrap() error { return e.err }

// refuse makes an error of this package with its operation.
func refuse(op string, code api.Code, format string, args ...any) error {
	e := api.Errorf(code, format, args...)
	e.Op = op
	return e
}

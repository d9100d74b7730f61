package transport

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/api"
)

// statusCodes is the one table between codes of Nave and statuses on the link.
var statusCodes = map[api.Code]codes.Code{
	api.CodeInvalid:         codes.InvalidArgument,
	api.CodeNotFound:        codes.NotFound,
	api.CodeExists:          codes.AlreadyExists,
	api.CodeConflict:        codes.Aborted,
	api.CodeInUse:           codes.FailedPrecondition,
	api.CodeUnauthenticated: codes.Unauthenticated,
	api.CodeDenied:          codes.PermissionDenied,
	api.CodeLimit:           codes.ResourceExhausted,
	api.CodeUnavailable:     codes.Unavailable,
	api.CodeUnsupported:     codes.Unimplemented,
	api.CodeFailed:          codes.OutOfRange,
	api.CodeInternal:        codes.Internal,
}

// callStatus turns the error of a call into what the peer sees. The end of a context is one too: a call whose answer is
// nothing must not look like one that was done.
func callStatus(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) {
		return status.Error(codes.Unavailable, err.Error())
	}
	return toStatus(err)
}

// toStatus turns the end of a stream into what the peer sees. An end in order is none.
func toStatus(err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(statusCodes[api.CodeOf(err)], err.Error())
}

// fromStatus turns what the peer answered into an error of ours.
func fromStatus(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	for code, c := range statusCodes {
		if c == st.Code() {
			return api.Errorf(code, "%s", st.Message())
		}
	}
	return api.Errorf(api.CodeUnavailable, "%s: %s", st.Code(), st.Message())
}

package rpc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/api"
)

// errorDomain is the domain of the error details.
const errorDomain = "nave.dev"

// statusOf is the one table from codes to statuses. Connect's codes and gRPC's are the same numbers. The exact code travels
// in an ErrorInfo detail: reason is the code, metadata has "field" and "op" where they are set.
var statusOf = map[api.Code]connect.Code{
	api.CodeInvalid:         connect.CodeInvalidArgument,
	api.CodeNotFound:        connect.CodeNotFound,
	api.CodeExists:          connect.CodeAlreadyExists,
	api.CodeConflict:        connect.CodeAborted,
	api.CodeInUse:           connect.CodeFailedPrecondition,
	api.CodeUnauthenticated: connect.CodeUnauthenticated,
	api.CodeDenied:          connect.CodePermissionDenied,
	api.CodeLimit:           connect.CodeResourceExhausted,
	api.CodeUnavailable:     connect.CodeUnavailable,
	api.CodeUnsupported:     connect.CodeUnimplemented,
	api.CodeFailed:          connect.CodeFailedPrecondition,
	api.CodeInternal:        connect.CodeInternal,
}

// answer is an error as it goes out.
type answer struct {
	code    connect.Code
	message string
	info    *errdetails.ErrorInfo
}

// answerTo turns an error of a handler into what the caller may see. What is Nave's own fault is logged under a reference.
func (s *Server) answerTo(method string, err error) answer {
	var e *api.Error
	switch {
	case errors.As(err, &e) && e.Code != api.CodeInternal && statusOf[e.Code] != 0:
		a := answer{code: statusOf[e.Code], message: string(e.Code), info: &errdetails.ErrorInfo{Reason: string(e.Code), Domain: errorDomain, Metadata: map[string]string{}}}
		if e.Err != nil {
			a.message = e.Err.Error()
		}
		if e.Field != "" {
			a.info.Metadata["field"] = e.Field
		}
		if e.Op != "" {
			a.info.Metadata["op"] = e.Op
		}
		return a
	case e == nil && errors.Is(err, context.Canceled):
		return answer{code: connect.CodeCanceled, message: "the caller cancelled the request", info: info(api.CodeUnavailable)}
	case e == nil && errors.Is(err, context.DeadlineExceeded):
		return answer{code: connect.CodeDeadlineExceeded, message: "the deadline of the request passed: repeat, the same request is safe", info: info(api.CodeUnavailable)}
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	ref := hex.EncodeToString(b[:])
	s.cfg.Log.Error("internal error", "method", method, "reference", ref, "error", err)
	return answer{code: connect.CodeInternal, message: "internal error, see the hub's log, reference " + ref, info: info(api.CodeInternal)}
}

func info(c api.Code) *errdetails.ErrorInfo {
	return &errdetails.ErrorInfo{Reason: string(c), Domain: errorDomain}
}

// connectError is an error for connect. Errors of connect itself, such as a broken connection, pass.
func (s *Server) connectError(method string, err error) error {
	var own *connect.Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	a := s.answerTo(method, err)
	out := connect.NewError(a.code, errors.New(a.message))
	if d, err := connect.NewErrorDetail(a.info); err == nil {
		out.AddDetail(d)
	}
	return out
}

// grpcError is an error for gRPC. Errors of gRPC itself pass.
func (s *Server) grpcError(method string, err error) error {
	if _, own := status.FromError(err); err == nil || own {
		return err
	}
	a := s.answerTo(method, err)
	st := status.New(codes.Code(a.code), a.message)
	if with, err := st.WithDetails(a.info); err == nil {
		st = with
	}
	return st.Err()
}

// label is the code of an error in metrics and logs.
func label(err error) string {
	var e *api.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &e):
		return string(e.Code)
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return string(api.CodeUnavailable)
	}
	var c *connect.Error
	if _, own := status.FromError(err); own || errors.As(err, &c) {
		return "transport"
	}
	return string(api.CodeInternal)
}

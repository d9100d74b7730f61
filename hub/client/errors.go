package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/nave-dev/nave/api"
)

// errorDomain marks the error details that a hub wrote.
const errorDomain = "nave.dev"

// statuses maps each code to the status that a hub sends it with. It serves answers without a detail (from a proxy, or
// made by the connection itself); several codes may share a status, and the first one in the list is then meant.
var statuses = []struct {
	code   api.Code
	status connect.Code
}{
	{api.CodeInvalid, connect.CodeInvalidArgument},
	{api.CodeNotFound, connect.CodeNotFound},
	{api.CodeExists, connect.CodeAlreadyExists},
	{api.CodeConflict, connect.CodeAborted},
	{api.CodeFailed, connect.CodeFailedPrecondition},
	{api.CodeInUse, connect.CodeFailedPrecondition},
	{api.CodeUnauthenticated, connect.CodeUnauthenticated},
	{api.CodeDenied, connect.CodePermissionDenied},
	{api.CodeLimit, connect.CodeResourceExhausted},
	{api.CodeUnavailable, connect.CodeUnavailable},
	{api.CodeUnsupported, connect.CodeUnimplemented},
	{api.CodeInternal, connect.CodeInternal},
	// Statuses that no code is sent with.
	{api.CodeInvalid, connect.CodeOutOfRange},
	{api.CodeUnavailable, connect.CodeDeadlineExceeded},
	{api.CodeUnavailable, connect.CodeCanceled},
	{api.CodeInternal, connect.CodeUnknown},
	{api.CodeInternal, connect.CodeDataLoss},
}

// decode turns what a call returned into an *api.Error. The caller's cancellation stays what it is.
func decode(ctx context.Context, err error) error {
	var done *api.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &done):
		return done // what the transport wrapped around it says nothing more
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	}
	if e := trustError(err); e != nil {
		return e
	}
	var ce *connect.Error
	if !errors.As(err, &ce) {
		if ctx.Err() != nil {
			return api.Errorf(api.CodeUnavailable, "no answer in time")
		}
		return &api.Error{Code: api.CodeUnavailable, Err: err}
	}
	if e := detailed(ce); e != nil {
		return e
	}
	if ctx.Err() != nil {
		return api.Errorf(api.CodeUnavailable, "no answer in time: %s", ce.Message())
	}
	code := api.CodeInternal
	for _, s := range statuses {
		if s.status == ce.Code() {
			code = s.code
			break
		}
	}
	if !connect.IsWireError(err) && code == api.CodeInternal {
		code = api.CodeUnavailable // broken off: no hub said anything
	}
	if ce.Message() == "" {
		return api.Errorf(code, "the answer was %q without a reason", ce.Code())
	}
	return &api.Error{Code: code, Err: errors.New(ce.Message())}
}

// detailed rebuilds the error that the hub described in a detail. It returns nil when there is none, or when its code is
// newer than this program.
func detailed(ce *connect.Error) *api.Error {
	for _, d := range ce.Details() {
		v, err := d.Value()
		if err != nil {
			continue
		}
		info, ok := v.(*errdetails.ErrorInfo)
		if !ok || info.GetDomain() != errorDomain {
			continue
		}
		for _, code := range api.Codes() {
			if string(code) != info.GetReason() {
				continue
			}
			e := &api.Error{Code: code, Op: info.GetMetadata()["op"], Field: info.GetMetadata()["field"]}
			if m := ce.Message(); m != "" {
				e.Err = errors.New(m)
			}
			return e
		}
	}
	return nil
}

// trustError explains a certificate that does not fit: repeating the call would not help.
func trustError(err error) *api.Error {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &authority):
		return api.Invalid("ca", "the hub's certificate is not from the configured authority: check the address, or take over the hub's present authority")
	case errors.As(err, &host):
		return api.Invalid("address", "%v: use a name that the hub's certificate holds", host)
	case errors.As(err, &invalid), errors.As(err, &verify):
		return &api.Error{Code: api.CodeFailed, Err: fmt.Errorf("the hub's certificate cannot be used: %w", err)}
	}
	return nil
}

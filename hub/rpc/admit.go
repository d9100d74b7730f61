package rpc

import (
	"context"
	"errors"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
	"github.com/nave-dev/nave/internal/run"
)

type callerKey struct{}

// caller returns who calls: the zero credential in a public method.
func caller(ctx context.Context) hub.Credential {
	c, _ := ctx.Value(callerKey{}).(hub.Credential)
	return c
}

func accountOf(c hub.Credential) string { return "credential " + string(c.Org) + "/" + c.Subject }

// admit decides whether a call may go on. The context that it returns carries the caller.
func (s *Server) admit(ctx context.Context, method string, authorization []string, peer string) (context.Context, error) {
	err := protect(ctx, func(given context.Context) (err error) {
		ctx, err = s.check(given, method, authorization, peer)
		return err
	})
	if err != nil {
		s.metrics.ended(method, err)
		s.cfg.Log.Debug("request refused", "method", method, "code", label(err))
	}
	return ctx, err
}

func (s *Server) check(ctx context.Context, method string, authorization []string, peer string) (context.Context, error) {
	r, ok := access[method]
	if !ok {
		return nil, api.Errorf(api.CodeDenied, "nobody may call this method")
	}
	if r.public != "" {
		if host, _, err := net.SplitHostPort(peer); err == nil {
			peer = host
		}
		return ctx, s.quotas.public("peer " + peer)
	}
	token, err := bearer(authorization)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, s.cfg.Limits.Deadline)
	defer cancel()
	c, err := s.cfg.Auth.Authenticate(limited, token)
	if err != nil {
		return nil, err
	}
	if err := s.quotas.call(accountOf(c)); err != nil {
		return nil, err
	}
	if !c.Role.Allows(r.role) {
		return nil, api.Errorf(api.CodeDenied, "role %q is needed and this credential has role %q: ask an administrator", r.role, c.Role)
	}
	return context.WithValue(ctx, callerKey{}, c), nil
}

// bearer takes the token out of the Authorization header.
func bearer(authorization []string) (string, error) {
	if len(authorization) == 0 {
		return "", nil
	}
	scheme, token, ok := strings.Cut(authorization[0], " ")
	if len(authorization) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", api.Errorf(api.CodeUnauthenticated, "the Authorization header is malformed: send one, \"Bearer nave_...\"")
	}
	return strings.TrimSpace(token), nil
}

// unary calls a handler under the deadline.
func (s *Server) unary(ctx context.Context, method string, handle func(context.Context) error) error {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Limits.Deadline)
	defer cancel()
	err := protect(ctx, handle)
	took := time.Since(begin)
	s.metrics.called(method, err, took)
	s.cfg.Log.Debug("request", "method", method, "subject", caller(ctx).Subject, "code", label(err), "took", took)
	return err
}

// stream calls a handler that runs for as long as the caller listens and the server is not drained.
func (s *Server) stream(ctx context.Context, method string, handle func(context.Context) error) (err error) {
	defer func() {
		s.metrics.ended(method, err)
		s.cfg.Log.Debug("stream ended", "method", method, "subject", caller(ctx).Subject, "code", label(err))
	}()
	done, err := s.quotas.open(accountOf(caller(ctx)))
	if err != nil {
		return err
	}
	defer done()
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.draining, func() { cancel(errDraining) })()
	err = protect(ctx, handle)
	if s.draining.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return errDraining
	}
	return err
}

// protect turns a panic into an error.
func protect(ctx context.Context, handle func(context.Context) error) (err error) {
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler:
			panic(v) // net/http's own way to end a request
		default:
			err = &run.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return handle(ctx)
}

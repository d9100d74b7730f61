package client_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/api/navev1/navev1connect"
	"github.com/nave-dev/nave/hub/client"
)

// system answers Info as the test says.
type system struct {
	navev1connect.UnimplementedSystemHandler
	info func(context.Context) (*navev1.InfoResponse, error)
}

func (s system) Info(ctx context.Context, _ *navev1.InfoRequest) (*navev1.InfoResponse, error) {
	return s.info(ctx)
}

func systemHandler(info func(context.Context) (*navev1.InfoResponse, error)) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(navev1connect.NewSystemHandler(system{info: info}))
	return mux
}

// statusOf is what a hub sends each code with.
var statusOf = map[api.Code]connect.Code{
	api.CodeInvalid: connect.CodeInvalidArgument, api.CodeNotFound: connect.CodeNotFound, api.CodeExists: connect.CodeAlreadyExists,
	api.CodeConflict: connect.CodeAborted, api.CodeInUse: connect.CodeFailedPrecondition, api.CodeUnauthenticated: connect.CodeUnauthenticated,
	api.CodeDenied: connect.CodePermissionDenied, api.CodeLimit: connect.CodeResourceExhausted, api.CodeUnavailable: connect.CodeUnavailable,
	api.CodeUnsupported: connect.CodeUnimplemented, api.CodeFailed: connect.CodeFailedPrecondition, api.CodeInternal: connect.CodeInternal,
}

func wireError(t *testing.T, e *api.Error) error {
	t.Helper()
	ce := connect.NewError(statusOf[e.Code], e.Err)
	d, err := connect.NewErrorDetail(&errdetails.ErrorInfo{Domain: "nave.dev", Reason: string(e.Code), Metadata: map[string]string{"field": e.Field, "op": e.Op}})
	if err != nil {
		t.Fatal(err)
	}
	ce.AddDetail(d)
	return ce
}

func TestErrorsComeBack(t *testing.T) {
	for _, code := range api.Codes() {
		t.Run(string(code), func(t *testing.T) {
			sent := &api.Error{Code: code, Op: "put agent", Field: "spec.volumes[2].mount", Err: errors.New("ünder \"quotes\": use /data")}
			c := start(t, systemHandler(func(context.Context) (*navev1.InfoResponse, error) { return nil, wireError(t, sent) }), nil)
			_, err := c.System.Info(t.Context(), &navev1.InfoRequest{})
			var got *api.Error
			if !errors.As(err, &got) {
				t.Fatalf("not an api.Error: %v", err)
			}
			if got.Code != sent.Code || got.Op != sent.Op || got.Field != sent.Field || got.Error() != sent.Error() {
				t.Errorf("got %#v (%v), want %#v", got, got, sent)
			}
		})
	}
}

func TestErrorsWithoutDetail(t *testing.T) {
	foreign := func(code connect.Code, domain, reason string) error {
		ce := connect.NewError(code, errors.New("why"))
		if domain != "" {
			d, _ := connect.NewErrorDetail(&errdetails.ErrorInfo{Domain: domain, Reason: reason})
			ce.AddDetail(d)
		}
		return ce
	}
	for _, tc := range []struct {
		name string
		err  error
		want api.Code
	}{
		{"invalid", foreign(connect.CodeInvalidArgument, "", ""), api.CodeInvalid},
		{"range", foreign(connect.CodeOutOfRange, "", ""), api.CodeInvalid},
		{"precondition", foreign(connect.CodeFailedPrecondition, "", ""), api.CodeFailed},
		{"deadline", foreign(connect.CodeDeadlineExceeded, "", ""), api.CodeUnavailable},
		{"unknown", foreign(connect.CodeUnknown, "", ""), api.CodeInternal},
		{"data loss", foreign(connect.CodeDataLoss, "", ""), api.CodeInternal},
		{"other domain", foreign(connect.CodeNotFound, "example.org", "denied"), api.CodeNotFound},
		{"code of the future", foreign(connect.CodeAborted, "nave.dev", "brand_new"), api.CodeConflict},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := start(t, systemHandler(func(context.Context) (*navev1.InfoResponse, error) { return nil, tc.err }), nil)
			_, err := c.System.Info(t.Context(), &navev1.InfoRequest{})
			if api.CodeOf(err) != tc.want || err.Error() != "why" {
				t.Errorf("got %q %v, want %q", api.CodeOf(err), err, tc.want)
			}
		})
	}
}

func TestErrorsOfTheConnection(t *testing.T) {
	ok := systemHandler(func(context.Context) (*navev1.InfoResponse, error) { return &navev1.InfoResponse{}, nil })
	a, other := newAuthority(t, "right"), newAuthority(t, "wrong")
	for _, tc := range []struct {
		name, address string
		code          api.Code
		field         string
	}{
		{"wrong authority", other.serve(t, ok, leafOptions{}, other.cert), api.CodeInvalid, "ca"},
		{"other host", a.serve(t, ok, leafOptions{host: "elsewhere.example"}, a.cert), api.CodeInvalid, "address"},
		{"expired", a.serve(t, ok, leafOptions{expired: true}, a.cert), api.CodeFailed, ""},
		{"nobody there", "https://127.0.0.1:1", api.CodeUnavailable, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := client.New(client.Config{Address: tc.address, CA: a.pem(), Timeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, err = c.System.Info(t.Context(), &navev1.InfoRequest{})
			if api.CodeOf(err) != tc.code || api.FieldOf(err) != tc.field {
				t.Errorf("got %q field %q: %v", api.CodeOf(err), api.FieldOf(err), err)
			}
		})
	}
}

func TestCancellationIsNotAnError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := start(t, systemHandler(func(serving context.Context) (*navev1.InfoResponse, error) {
		cancel()
		<-serving.Done()
		return nil, serving.Err()
	}), nil)
	_, err := c.System.Info(ctx, &navev1.InfoRequest{})
	var e *api.Error
	if !errors.Is(err, context.Canceled) || errors.As(err, &e) {
		t.Errorf("got %v, want the cancellation itself", err)
	}
}

func TestASilentHubIsUnavailable(t *testing.T) {
	c := start(t, systemHandler(func(serving context.Context) (*navev1.InfoResponse, error) {
		<-serving.Done()
		return nil, serving.Err()
	}), func(cfg *client.Config) { cfg.Timeout = 200 * time.Millisecond })
	_, err := c.System.Info(t.Context(), &navev1.InfoRequest{})
	if api.CodeOf(err) != api.CodeUnavailable {
		t.Errorf("got %q: %v", api.CodeOf(err), err)
	}
}

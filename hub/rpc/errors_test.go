package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/hub"
)

// fails makes every call of the sessions end with an error.
func (w *world) fails(f func(context.Context) error) {
	w.sessions.mu.Lock()
	defer w.sessions.mu.Unlock()
	w.sessions.fail = f
}

func TestEveryCodeTravels(t *testing.T) {
	w := newWorld(t, nil)
	token := w.token(hub.RoleAdmin, time.Time{})
	get := everyMethod()["Sessions/Get"]
	statuses := map[api.Code]codes.Code{
		api.CodeInvalid: codes.InvalidArgument, api.CodeNotFound: codes.NotFound, api.CodeExists: codes.AlreadyExists, api.CodeConflict: codes.Aborted,
		api.CodeInUse: codes.FailedPrecondition, api.CodeUnauthenticated: codes.Unauthenticated, api.CodeDenied: codes.PermissionDenied,
		api.CodeLimit: codes.ResourceExhausted, api.CodeUnavailable: codes.Unavailable, api.CodeUnsupported: codes.Unimplemented,
		api.CodeFailed: codes.FailedPrecondition, api.CodeInternal: codes.Internal,
	}
	for _, code := range api.Codes() {
		for _, e := range []*api.Error{
			{Code: code, Op: "read session", Field: "spec.volumes[2].mount", Err: errors.New("is wrong: mend it")},
			{Code: code, Err: errors.New("is wrong: mend it")},
		} {
			w.fails(func(context.Context) error { return fmt.Errorf("wrapped: %w", e) })
			want := answer{Code: code, Field: e.Field, Op: e.Op, Message: "is wrong: mend it"}
			if code == api.CodeInternal {
				want.Field, want.Op, want.Message = "", "", "internal error, see the hub's log, reference "
			}
			got := w.post("/nave.v1.Sessions/Get", "Bearer "+token, `{"id": "`+someULID+`"}`)
			if code == api.CodeInternal {
				reference := strings.TrimPrefix(got.Message, want.Message)
				if reference == "" || !strings.Contains(w.logs.String(), reference) {
					t.Errorf("the log has no reference %q", reference)
				}
				got.Message = strings.TrimSuffix(got.Message, reference)
			}
			got.Status, got.Body = 0, nil
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s over HTTP (-want +got):\n%s", code, d)
			}

			ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
			err := w.invoke(ctx, get, &navev1.GetSessionRequest{Id: someULID})
			st := status.Convert(err)
			if st.Code() != statuses[code] {
				t.Errorf("%s over gRPC has status %s, want %s", code, st.Code(), statuses[code])
			}
			over := answer{Message: st.Message()}
			for _, d := range st.Details() {
				if i, ok := d.(*errdetails.ErrorInfo); ok {
					over.Code, over.Field, over.Op = api.Code(i.GetReason()), i.GetMetadata()["field"], i.GetMetadata()["op"]
				}
			}
			if code == api.CodeInternal && strings.HasPrefix(over.Message, want.Message) {
				over.Message = want.Message
			}
			if d := cmp.Diff(want, over); d != "" {
				t.Errorf("%s over gRPC (-want +got):\n%s", code, d)
			}
		}
	}
}

func TestWhatIsInternalStaysInside(t *testing.T) {
	w := newWorld(t, nil)
	token := w.token(hub.RoleAdmin, time.Time{})
	for what, fail := range map[string]func(context.Context) error{
		"a plain error": func(context.Context) error { return errors.New("the password is swordfish") },
		"a panic":       func(context.Context) error { panic("the password is swordfish") },
	} {
		w.fails(fail)
		for _, name := range []string{"Sessions/Get", "Sessions/Events"} {
			m := everyMethod()[name]
			body := strings.ReplaceAll(*row(goodRequests, name, nil), "\n", "")
			a := w.call(m, token, body)
			if a.Code != api.CodeInternal || strings.Contains(a.Message, "swordfish") {
				t.Errorf("%s in %s over HTTP answered %v", what, name, a)
			}
			ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
			var in any = &navev1.GetSessionRequest{Id: someULID}
			if name == "Sessions/Events" {
				in = &navev1.EventsRequest{SessionId: someULID}
			}
			err := w.invoke(ctx, m, in)
			if grpcCode(t, err) != api.CodeInternal || strings.Contains(err.Error(), "swordfish") {
				t.Errorf("%s in %s over gRPC answered %v", what, name, err)
			}
		}
	}
	if !strings.Contains(w.logs.String(), "swordfish") {
		t.Error("the log does not say what went wrong")
	}
}

func TestACallEndsAtItsDeadline(t *testing.T) {
	w := newWorld(t, func(c *rpcConfig) { c.Limits.Deadline = 50 * time.Millisecond })
	token := w.token(hub.RoleAdmin, time.Time{})
	w.fails(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	a := w.post("/nave.v1.Sessions/Get", "Bearer "+token, `{"id": "`+someULID+`"}`)
	if a.Code != api.CodeUnavailable || a.Body["code"] != "deadline_exceeded" {
		t.Errorf("over HTTP: %v", a)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	if err := w.invoke(ctx, everyMethod()["Sessions/Get"], &navev1.GetSessionRequest{Id: someULID}); status.Code(err) != codes.DeadlineExceeded || grpcCode(t, err) != api.CodeUnavailable {
		t.Errorf("over gRPC: %v", err)
	}
}

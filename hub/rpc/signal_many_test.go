package rpc_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/api/navev1/navev1connect"
	"github.com/nave-dev/nave/hub"
)

// manyCallers calls SignalMany over each listener.
func (w *world) manyCallers(token string) map[string]func(...*navev1.SignalRequest) ([]*navev1.SignalResult, error) {
	overHTTP := navev1connect.NewSessionsClient(w.http.Client(), w.http.URL)
	overGRPC := navev1.NewSessionsClient(w.grpc)
	return map[string]func(...*navev1.SignalRequest) ([]*navev1.SignalResult, error){
		"HTTP": func(signals ...*navev1.SignalRequest) ([]*navev1.SignalResult, error) {
			ctx, call := connect.NewClientContext(w.t.Context())
			call.RequestHeader().Set("Authorization", "Bearer "+token)
			res, err := overHTTP.SignalMany(ctx, &navev1.SignalManyRequest{Signals: signals})
			return res.GetResults(), err
		},
		"gRPC": func(signals ...*navev1.SignalRequest) ([]*navev1.SignalResult, error) {
			ctx := metadata.AppendToOutgoingContext(w.t.Context(), "authorization", "Bearer "+token)
			res, err := overGRPC.SignalMany(ctx, &navev1.SignalManyRequest{Signals: signals})
			if err != nil {
				err = connect.NewError(connect.Code(status.Code(err)), err)
			}
			return res.GetResults(), err
		},
	}
}

func signalTo(key string) *navev1.SignalRequest {
	return &navev1.SignalRequest{Agent: "present", Key: key, Payload: []byte("x")}
}

func TestEachSignalOfAListHasItsResult(t *testing.T) {
	w := newWorld(t, nil)
	long := signalTo("c")
	long.Payload = make([]byte, api.MaxPayload+1)
	rehearsed, keyed := signalTo("d"), signalTo("e")
	rehearsed.DryRun, keyed.IdempotencyKey = true, "i"
	signals := []*navev1.SignalRequest{signalTo("a"), signalTo("bad\n"), nil, long, rehearsed, keyed}
	for over, call := range w.manyCallers(w.token(hub.RoleOperator, time.Time{})) {
		w.sessions.signals = nil
		got, err := call(signals...)
		must(t, err)
		for i, want := range []*navev1.SignalError{1: {Code: "invalid", Field: "key"}, 2: {Code: "invalid", Field: "agent"}, 3: {Code: "limit", Field: "payload"}, 5: nil} {
			e := got[i].GetError()
			if len(e.GetMessage()) < 8 && want != nil || (want == nil) == (got[i].GetAccepted() == nil) {
				t.Errorf("over %s, signal %d: %v", over, i, got[i])
			}
			if diff := cmp.Diff(want, e, protocmp.Transform(), protocmp.IgnoreFields(&navev1.SignalError{}, "message")); diff != "" {
				t.Errorf("over %s, signal %d: %s", over, i, diff)
			}
		}
		if len(got) != len(signals) || got[5].GetAccepted().GetSequence() != 2 || len(got[0].GetAccepted().GetSignalId()) != 26 {
			t.Errorf("over %s: %v", over, got)
		}
		var kept []string
		for _, s := range w.sessions.signals {
			kept = append(kept, fmt.Sprintf("%s %s %s %t", s.Org, s.Key, s.IdempotencyKey, strings.HasPrefix(s.Sender, "test-operator")))
		}
		if diff := cmp.Diff([]string{"default a  true", "default e i true"}, kept); diff != "" {
			t.Errorf("over %s: %s", over, diff)
		}
	}
}

func TestAListThatIsRefusedAsAWhole(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	w := newWorld(t, func(c *rpcConfig) {
		c.Limits.Rate, c.Limits.Burst = 1, 120
		c.Now = func() time.Time { return at }
	})
	list := func(n int) (out []*navev1.SignalRequest) {
		for i := range n {
			out = append(out, signalTo(fmt.Sprint(i)))
		}
		return out
	}
	for over, call := range w.manyCallers(w.token(hub.RoleOperator, time.Time{})) {
		w.sessions.signals = nil
		at = at.Add(time.Hour)
		refused := func(signals []*navev1.SignalRequest, code connect.Code, words string) {
			t.Helper()
			before := len(w.sessions.signals)
			got, err := call(signals...)
			if err == nil || connect.CodeOf(err) != code || !strings.Contains(err.Error(), words) || len(got) > 0 || len(w.sessions.signals) != before {
				t.Errorf("over %s: %d signals lead to %v, %v, want %v that says %q, and none accepted", over, len(signals), got, err, code, words)
			}
		}
		refused(nil, connect.CodeInvalidArgument, "send 1 to 100")
		refused(list(api.MaxSignalsPerCall+1), connect.CodeResourceExhausted, "at most 100")
		if got, err := call(list(api.MaxSignalsPerCall)...); err != nil || len(got) != api.MaxSignalsPerCall {
			t.Errorf("over %s: %d results, %v", over, len(got), err)
		}
		// 120 less one for each of the refused calls and the hundred.
		refused(list(19), connect.CodeResourceExhausted, "19 signals cost as many requests, and more than 1 per second of one credential (120 at once) came")
		at = at.Add(2 * time.Second)
		if _, err := call(list(18)...); err != nil {
			t.Errorf("over %s: %v", over, err)
		}
		refused(list(3), connect.CodeResourceExhausted, "requests")
		at = at.Add(time.Hour)
		large := list(3)
		for _, s := range large {
			s.Payload = make([]byte, api.MaxPayload-1000)
		}
		refused(large, connect.CodeResourceExhausted, "2097152")
	}
}

// What is wrong inside the hub is told of one signal as it is told of a call: by a reference.
func TestAnInternalErrorOfOneSignalIsHidden(t *testing.T) {
	w := newWorld(t, nil)
	w.sessions.fail = func(context.Context) error { return fmt.Errorf("the secret of the cellar") }
	got, err := w.manyCallers(w.token(hub.RoleOperator, time.Time{}))["gRPC"](signalTo("bad\n"), signalTo("a"))
	must(t, err)
	e := got[1].GetError()
	if got[0].GetError().GetCode() != "invalid" || e.GetCode() != "internal" || !strings.Contains(e.GetMessage(), "reference ") || strings.Contains(e.GetMessage(), "cellar") || !strings.Contains(w.logs.String(), "cellar") {
		t.Errorf("the caller is told %v", e)
	}
}

package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
	"github.com/nave-dev/nave/api/navev1/navev1connect"
	"github.com/nave-dev/nave/hub/client"
)

// manySessions takes lists within a hub's bounds, and keeps what it took.
type manySessions struct {
	navev1connect.UnimplementedSessionsHandler
	most  int   // signals in a call beyond which the caller is too fast
	fail  error // of every call once end signals are taken
	end   int
	calls []int
	taken []*navev1.SignalRequest
}

func (s *manySessions) SignalMany(_ context.Context, r *navev1.SignalManyRequest) (*navev1.SignalManyResponse, error) {
	n := len(r.GetSignals())
	s.calls = append(s.calls, n)
	switch {
	case s.fail != nil && len(s.taken) >= s.end:
		return nil, s.fail
	case n > s.most:
		return nil, connect.NewError(connect.CodeResourceExhausted, errors.New("too fast"))
	case n == 0 || n > api.MaxSignalsPerCall || proto.Size(r) > 2<<20:
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("%d signals of %d bytes", n, proto.Size(r)))
	}
	out := &navev1.SignalManyResponse{}
	for _, sig := range r.GetSignals() {
		s.taken = append(s.taken, sig)
		out.Results = append(out.Results, &navev1.SignalResult{Accepted: &navev1.SignalResponse{Sequence: uint64(len(s.taken))}})
	}
	return out, nil
}

func (s *manySessions) start(t *testing.T) *client.Client {
	mux := http.NewServeMux()
	mux.Handle(navev1connect.NewSessionsHandler(s))
	return start(t, mux, func(c *client.Config) { c.Organization = "acme" })
}

func TestManySignalsGoInCallsThatAHubTakes(t *testing.T) {
	for _, tc := range []struct {
		name  string
		sizes []int // of payloads
		most  int
		calls string
	}{
		{"none", nil, 1000, "[]"},
		{"a few", make([]int, 7), 1000, "[7]"},
		{"more than one call", make([]int, 205), 1000, "[100 100 5]"},
		{"large ones", []int{1 << 20, 900 << 10, 1 << 20, 1 << 20, 1}, 1000, "[2 1 2]"},
		{"too fast for a while", make([]int, 60), 20, "[60 30 15 15 15 15]"},
		{"one at a time", make([]int, 4), 1, "[4 2 1 1 1 1]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &manySessions{most: tc.most}
			var signals []*navev1.SignalRequest
			for i, n := range tc.sizes {
				signals = append(signals, &navev1.SignalRequest{Agent: "a", Key: fmt.Sprint(i), Payload: make([]byte, n)})
			}
			got, err := s.start(t).SignalMany(t.Context(), signals)
			if err != nil || len(got) != len(signals) || fmt.Sprint(s.calls) != tc.calls {
				t.Fatalf("%d results in calls of %v, %v, want %d in %s", len(got), s.calls, err, len(signals), tc.calls)
			}
			for i, sig := range s.taken {
				if sig.GetKey() != fmt.Sprint(i) || sig.GetOrganization() != "acme" || got[i].GetAccepted().GetSequence() != uint64(i+1) {
					t.Errorf("signal %d is %v, answered %v", i, sig, got[i])
				}
			}
		})
	}
}

func TestAListThatFailsInTheMiddleSaysHowFarItCame(t *testing.T) {
	s := &manySessions{most: 1000, end: 100, fail: connect.NewError(connect.CodePermissionDenied, errors.New("no more"))}
	got, err := s.start(t).SignalMany(t.Context(), make([]*navev1.SignalRequest, 250))
	if api.CodeOf(err) != api.CodeDenied || len(got) != 100 || fmt.Sprint(s.calls) != "[100 100]" {
		t.Errorf("%d results in calls of %v, %v", len(got), s.calls, err)
	}
}

package door_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// TestOrdersReachTheHarnessWhole: every field, also when they are too large for one message. All but the signals is said by
// the last part.
func TestOrdersReachTheHarnessWhole(t *testing.T) {
	at := time.Unix(9, 7).UTC()
	o := spoke.Orders{Single: true, Stop: true, Cancelled: api.Cancellation{UpTo: 4, Reason: "ann said so"},
		Answers: []api.ApprovalAnswer{{Approval: "first", Allow: true, Option: "yes", By: "ann", Reason: "fine"}, {Approval: "second", Option: "no", By: "bob"}}}
	want := &harnessv1.Orders{Single: true, Stop: true, CancelUpTo: 4, CancelReason: "ann said so", Answers: []*harnessv1.ApprovalAnswer{
		{Approval: "first", Allow: true, Option: "yes", By: "ann", Reason: "fine"}, {Approval: "second", Option: "no", By: "bob"}}}
	for n := range uint64(3) {
		payload := make([]byte, api.MaxPayload)
		o.Signals = append(o.Signals, api.Signal{ID: "s", Session: id.Session, Sequence: n + 1, Deliveries: 2, Payload: payload, PayloadRef: "ref", Sender: "agent:writer", AcceptedAt: at,
			Origin: []api.Origin{{Session: "a", Agent: "writer", Key: "k", Signal: "b"}, {Session: "c", Agent: "other", Key: "l", Signal: "d"}}, Approval: "third"})
		want.Signals = append(want.Signals, &harnessv1.Signal{Id: "s", Sequence: n + 1, Deliveries: 2, Payload: payload, PayloadRef: "ref", Sender: "agent:writer", AcceptedAt: timestamppb.New(at),
			Origin: []*harnessv1.Origin{{Session: "a", Agent: "writer", Key: "k", Signal: "b"}, {Session: "c", Agent: "other", Key: "l", Signal: "d"}}, Approval: "third"})
	}
	d, c := open(t, &handler{}, nil)
	d.Tell(id, o)
	s := attach(t, c, hello())
	var signals []*harnessv1.Signal
	var got *harnessv1.Orders
	for parts := 1; ; parts++ {
		got = s.orders()
		if signals = append(signals, got.Signals...); !got.More {
			if parts < 3 {
				t.Errorf("3 MiB came in %d parts", parts)
			}
			break
		}
	}
	got.Signals = signals
	if len(signals) != 3 {
		t.Fatalf("%d signals came", len(signals))
	}
	for i := range signals { // too large to be shown
		if len(signals[i].Payload) != api.MaxPayload {
			t.Errorf("the payload of signal %d has %d bytes", i, len(signals[i].Payload))
		}
		signals[i].Payload, want.Signals[i].Payload = nil, nil
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("orders (-want +got):\n%s", diff)
	}
}

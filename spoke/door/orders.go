package door

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nave-dev/nave/spoke"
	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// partBytes bounds one message of orders, a single larger signal aside.
const partBytes = 1 << 20

// encode renders orders as one message, or as several when they are large.
func encode(o spoke.Orders) []*harnessv1.Orders {
	part := levels(o)
	parts, size := []*harnessv1.Orders{part}, 0
	for _, s := range o.Signals {
		m := &harnessv1.Signal{
			Id: string(s.ID), Sequence: s.Sequence, Deliveries: s.Deliveries, Payload: s.Payload, PayloadRef: s.PayloadRef,
			Sender: s.Sender, AcceptedAt: timestamppb.New(s.AcceptedAt), Approval: string(s.Approval),
		}
		for _, from := range s.Origin {
			m.Origin = append(m.Origin, &harnessv1.Origin{Session: string(from.Session), Agent: from.Agent, Key: from.Key, Signal: string(from.Signal)})
		}
		if n := proto.Size(m); len(part.Signals) > 0 && size+n > partBytes {
			part.More = true
			part = levels(o)
			parts, size = append(parts, part), 0
		}
		size += proto.Size(m)
		part.Signals = append(part.Signals, m)
	}
	// The last part is what counts of all but the signals: the harness begins anew with each.
	for _, a := range o.Answers {
		part.Answers = append(part.Answers, &harnessv1.ApprovalAnswer{Approval: string(a.Approval), Allow: a.Allow, Option: a.Option, By: a.By, Reason: a.Reason})
	}
	return parts
}

// levels makes a part of orders without signals and answers.
func levels(o spoke.Orders) *harnessv1.Orders {
	return &harnessv1.Orders{Single: o.Single, Stop: o.Stop, CancelUpTo: o.Cancelled.UpTo, CancelReason: o.Cancelled.Reason}
}

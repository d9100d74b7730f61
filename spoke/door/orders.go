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
	part := &harnessv1.Orders{Single: o.Single, Stop: o.Stop}
	parts, size := []*harnessv1.Orders{part}, 0
	for _, s := range o.Signals {
		m := &harnessv1.Signal{
			Id: string(s.ID), Sequence: s.Sequence, Deliveries: s.Deliveries, Payload: s.Payload, PayloadRef: s.PayloadRef,
			Sender: s.Sender, AcceptedAt: timestamppb.New(s.AcceptedAt),
		}
		if n := proto.Size(m); len(part.Signals) > 0 && size+n > partBytes {
			part.More = true
			part = &harnessv1.Orders{Single: o.Single, Stop: o.Stop}
			parts, size = append(parts, part), 0
		}
		size += proto.Size(m)
		part.Signals = append(part.Signals, m)
	}
	return parts
}

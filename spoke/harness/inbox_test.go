package harness

import (
	"testing"

	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// A spoke that was started again knows nothing of a cancellation until the hub says it: what was cancelled stays so.
func TestCancellationsOnlyRise(t *testing.T) {
	in := newInbox()
	for _, o := range []*harnessv1.Orders{{CancelUpTo: 2, CancelReason: "first"}, {}, {CancelUpTo: 5, CancelReason: "second"}, {CancelUpTo: 2, CancelReason: "first"}} {
		in.order(o)
	}
	if o := in.look(); o.CancelUpTo != 5 || o.CancelReason != "second" {
		t.Errorf("signals up to %d are cancelled because of %q, want 5 because of the second", o.CancelUpTo, o.CancelReason)
	}
}

package harness

import (
	"sync"

	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// inbox holds what the spoke wants: the last orders. It is a level: what came before is overwritten.
type inbox struct {
	mu     sync.Mutex
	orders *harnessv1.Orders // guarded by mu

	changed chan struct{} // holds one token when there is news; full means that the reader will look anyway
}

func newInbox() *inbox {
	return &inbox{orders: &harnessv1.Orders{}, changed: make(chan struct{}, 1)}
}

func (in *inbox) order(o *harnessv1.Orders) {
	in.mu.Lock()
	in.orders = o
	in.mu.Unlock()
	in.notify()
}

// look returns the last orders.
func (in *inbox) look() *harnessv1.Orders {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.orders
}

// notify says that something changed, here or in the lease.
func (in *inbox) notify() {
	select {
	case in.changed <- struct{}{}:
	default:
	}
}

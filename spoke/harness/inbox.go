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
	ordered chan struct{} // the same for orders alone, for the turn that runs
}

func newInbox() *inbox {
	return &inbox{orders: &harnessv1.Orders{}, changed: make(chan struct{}, 1), ordered: make(chan struct{}, 1)}
}

func (in *inbox) order(o *harnessv1.Orders) {
	in.mu.Lock()
	in.orders = o
	in.mu.Unlock()
	token(in.ordered)
	in.notify()
}

// look returns the last orders.
func (in *inbox) look() *harnessv1.Orders {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.orders
}

// notify says that something changed, here or in the lease.
func (in *inbox) notify() { token(in.changed) }

// token puts a token into a channel that holds one.
func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

package harness

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nave-dev/nave/spoke/harness/harnessv1"
)

// inbox holds what the spoke wants: the last orders and the lease. It is a level: what came before is overwritten.
type inbox struct {
	now func() time.Duration // boot-time clock

	mu       sync.Mutex
	orders   *harnessv1.Orders // nil before the first; guarded by mu
	leased   bool              // a lease was given; guarded by mu
	deadline time.Duration     // of the lease, by now; guarded by mu

	changed chan struct{} // holds one token when there is news; full means that the reader will look anyway
}

func newInbox(now func() time.Duration) *inbox {
	return &inbox{now: now, orders: &harnessv1.Orders{}, changed: make(chan struct{}, 1)}
}

func (in *inbox) order(o *harnessv1.Orders) {
	in.mu.Lock()
	in.orders = o
	in.mu.Unlock()
	in.notify()
}

// lease counts from now. Zero is the right to act for ever.
func (in *inbox) lease(d time.Duration) {
	in.mu.Lock()
	in.leased, in.deadline = d > 0, in.now()+d
	in.mu.Unlock()
	in.notify()
}

// look returns the last orders and for how long the lease lasts: negative when it has run out, leased false without one.
func (in *inbox) look() (o *harnessv1.Orders, leased bool, left time.Duration) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.orders, in.leased, in.deadline - in.now()
}

func (in *inbox) notify() {
	select {
	case in.changed <- struct{}{}:
	default:
	}
}

// bootTime is the clock that goes on while the machine sleeps.
func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(fmt.Sprintf("read the boot-time clock: %v", err)) // every supported kernel has it
	}
	return time.Duration(ts.Nano())
}

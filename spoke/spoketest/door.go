package spoketest

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// Door is a door whose harnesses are the test. The zero value is ready.
type Door struct {
	mu     sync.Mutex
	h      spoke.DoorHandler
	orders map[spoke.WorkloadID]spoke.Orders
	leases map[spoke.WorkloadID]time.Duration
	asked  map[spoke.WorkloadID]asked
}

// Run implements [spoke.Door].
func (d *Door) Run(ctx context.Context, h spoke.DoorHandler) error {
	d.mu.Lock()
	d.h = h
	d.mu.Unlock()
	<-ctx.Done()
	d.mu.Lock()
	d.h = nil
	d.mu.Unlock()
	return ctx.Err()
}

// Tell implements [spoke.Door].
func (d *Door) Tell(id spoke.WorkloadID, o spoke.Orders) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.orders == nil {
		d.orders = map[spoke.WorkloadID]spoke.Orders{}
	}
	d.orders[id] = o
}

// Forget implements [spoke.Door].
func (d *Door) Forget(id spoke.WorkloadID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.orders, id)
	delete(d.leases, id)
	delete(d.asked, id)
}

// Orders returns what the harness of a workload was told.
func (d *Door) Orders(id spoke.WorkloadID) (spoke.Orders, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	o, ok := d.orders[id]
	return o, ok
}

// Told returns the workloads that have orders.
func (d *Door) Told() map[spoke.WorkloadID]spoke.Orders {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.orders)
}

func (d *Door) handler() (spoke.DoorHandler, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.h == nil {
		return nil, api.Errorf(api.CodeUnavailable, "the door is closed")
	}
	return d.h, nil
}

// Attach connects the harness of a workload.
func (d *Door) Attach(ctx context.Context, id spoke.WorkloadID) (uint64, error) {
	h, err := d.handler()
	if err != nil {
		return 0, err
	}
	return h.Attached(ctx, id)
}

// Report hands events over as the harness of a workload.
func (d *Door) Report(ctx context.Context, id spoke.WorkloadID, events ...api.Event) error {
	h, err := d.handler()
	if err != nil {
		return err
	}
	return h.Events(ctx, id, events)
}

// Write hands deltas over as the harness of a workload.
func (d *Door) Write(id spoke.WorkloadID, dropped int, deltas ...api.Delta) {
	if h, err := d.handler(); err == nil {
		h.Deltas(id, deltas, dropped)
	}
}

// Detach disconnects the harness of a workload.
func (d *Door) Detach(id spoke.WorkloadID) {
	if h, err := d.handler(); err == nil {
		h.Detached(id)
	}
}

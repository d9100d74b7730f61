package spoketest

import (
	"context"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// Lease implements [spoke.Door].
func (d *Door) Lease(id spoke.WorkloadID, until time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.leases == nil {
		d.leases = map[spoke.WorkloadID]time.Duration{}
	}
	d.leases[id] = until
}

// Asked implements [spoke.Door].
func (d *Door) Asked(id spoke.WorkloadID) (at, until time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.asked[id]
	return a.at, a.until
}

// Ask asks for the lease of a workload as its harness, at a time of the boot-time clock, and returns until when its agent may
// act; 0: there is no right.
func (d *Door) Ask(id spoke.WorkloadID, now time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asked == nil {
		d.asked = map[spoke.WorkloadID]asked{}
	}
	until := d.leases[id]
	d.asked[id] = asked{now, max(until, d.asked[id].until)}
	return until
}

type asked struct{ at, until time.Duration }

// Renew tells the spoke that the hub answered a heartbeat that was sent at this time of the boot-time clock.
func (l *Link) Renew(ctx context.Context, sent time.Duration) error {
	l.mu.Lock()
	h := l.h
	l.mu.Unlock()
	if h == nil {
		return api.Errorf(api.CodeUnavailable, "the link does not run")
	}
	return h.Renewed(ctx, sent)
}

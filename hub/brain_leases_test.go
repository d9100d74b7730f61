package hub_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// heldLeases keeps one look at the leases back after it has read them.
type heldLeases struct {
	hub.Leases
	armed   atomic.Bool
	looks   atomic.Int32 // that have returned
	read    chan struct{}
	release chan struct{}
}

func (l *heldLeases) Holders(ctx context.Context) (map[api.ClusterID]hub.LeaseHolder, error) {
	defer l.looks.Add(1)
	h, err := l.Leases.Holders(ctx)
	if l.armed.CompareAndSwap(true, false) {
		close(l.read)
		select {
		case <-l.release:
		case <-ctx.Done():
		}
	}
	return h, err
}

// A look at the leases that began before a spoke took its lease says nothing about it.
func TestAnOldLookAtTheLeasesLosesNobody(t *testing.T) {
	w := newBrains(t)
	c := w.cluster("aws")
	leases := &heldLeases{Leases: w.store, read: make(chan struct{}), release: make(chan struct{})}
	b := w.start(func(cfg *hub.Config) { cfg.Leases = leases })
	eventually(t, "the identity is known", func() string { // else attaching looks by itself
		if h := b.Status(c).Health; h != api.HealthLost {
			return string(h)
		}
		return ""
	})
	leases.armed.Store(true)
	<-leases.read
	s := b.attach("aws", 4)
	a := b.accept("alice", "", "x")
	s.gets(a.Session, 1)
	looks := leases.looks.Load()
	close(leases.release)
	eventually(t, "the old look has been judged", func() string {
		if leases.looks.Load() < looks+2 {
			return "not yet"
		}
		return ""
	})
	v, err := b.Session(t.Context(), api.DefaultOrg, a.Session)
	must(t, err)
	if h := b.Status(c).Health; v.Phase != api.PhaseStarting || h != api.HealthLive {
		t.Errorf("session %s (%s), cluster %s: want Starting and Live", v.Phase, v.Reason, h)
	}
}

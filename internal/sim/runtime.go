package sim

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// runtime is the workloads of a site. They outlive the spoke's program.
type runtime struct {
	s         *site
	workloads map[spoke.WorkloadID]*harness
}

const flavorRoom = 4

func (r *runtime) Capacity(context.Context) (api.Capacity, error) {
	return api.Capacity{Runtime: "sim", Flavors: []api.FlavorCapacity{{Flavor: api.DefaultFlavor, Total: flavorRoom}}}, nil
}

func (r *runtime) Refuse(*api.ResolvedRevision) error { return nil }

// Start, Stop and List are performed by perform; the core does not call them.
func (r *runtime) Start(context.Context, spoke.WorkloadSpec) error             { panic("performed") }
func (r *runtime) Stop(context.Context, spoke.WorkloadID, time.Duration) error { panic("performed") }
func (r *runtime) List(context.Context) ([]spoke.Workload, error)              { panic("performed") }

// perform performs a call and answers it a little later.
func (r *runtime) perform(c spoke.Call) {
	w, s := r.s.w, r.s
	boot := s.boots
	answer := func(in spoke.Input) {
		w.after(w.between(0, 50*time.Millisecond), "", func() {
			if s.boots == boot {
				s.take(in)
			}
		})
	}
	switch {
	case c.List > 0:
		if w.harsh && w.chance(20) {
			answer(spoke.Listed(c, nil, errUnknown, api.Capacity{}, errUnknown))
			return
		}
		list := r.list()
		capacity, _ := r.Capacity(context.Background())
		answer(spoke.Listed(c, list, nil, capacity, nil))
	case c.Start != nil:
		if w.harsh && w.chance(40) {
			answer(spoke.Done(c, api.Errorf(api.CodeFailed, "the runtime cannot start it now")))
			return
		}
		if r.workloads[c.Start.ID] == nil {
			r.workloads[c.Start.ID] = newHarness(s, *c.Start)
		}
		answer(spoke.Done(c, nil))
	default:
		if h := r.workloads[c.Stop]; h != nil {
			if h.state == spoke.WorkloadEnded {
				delete(r.workloads, c.Stop)
			} else {
				h.stopped(c.Grace)
			}
		}
		answer(spoke.Done(c, nil))
	}
}

func (r *runtime) list() []spoke.Workload {
	var out []spoke.Workload
	for _, h := range r.ordered() {
		out = append(out, spoke.Workload{ID: h.id, State: h.state, Exit: h.exit, Failure: h.failure})
	}
	return out
}

// ordered returns the workloads in a fixed order.
func (r *runtime) ordered() []*harness {
	var out []*harness
	for _, h := range r.workloads {
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b *harness) int { return cmp.Compare(a.id.String(), b.id.String()) })
	return out
}

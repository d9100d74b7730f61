package spoketest

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// Runtime makes workloads that are entries of a map. The zero value has no room; set Room.
type Runtime struct {
	mu        sync.Mutex
	workloads map[spoke.WorkloadID]*spoke.Workload
	specs     map[spoke.WorkloadID]spoke.WorkloadSpec
	most      map[api.SessionID]int

	Room      int           // workloads of each flavor that fit
	Delay     time.Duration // of Start and Stop
	Unwilling bool          // Refuse refuses everything
	Stubborn  bool          // workloads that are asked to stop end only after their grace
	listErr   error
	startErr  error
}

// FailLists makes List fail until it is called with nil.
func (r *Runtime) FailLists(err error) { r.mu.Lock(); r.listErr = err; r.mu.Unlock() }

// FailStarts makes Start fail until it is called with nil.
func (r *Runtime) FailStarts(err error) { r.mu.Lock(); r.startErr = err; r.mu.Unlock() }

// End ends a workload by itself.
func (r *Runtime) End(id spoke.WorkloadID, exit string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.workloads[id]; w != nil {
		w.State, w.Exit = spoke.WorkloadEnded, exit
	}
}

// Lose removes a workload without a trace.
func (r *Runtime) Lose(id spoke.WorkloadID) { r.mu.Lock(); delete(r.workloads, id); r.mu.Unlock() }

// Spec returns what a workload was started with.
func (r *Runtime) Spec(id spoke.WorkloadID) (spoke.WorkloadSpec, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.specs[id]
	return s, ok
}

// Running returns the workloads that run, in order.
func (r *Runtime) Running() []spoke.WorkloadID {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []spoke.WorkloadID
	for _, w := range r.all() {
		if w.State == spoke.WorkloadRunning {
			out = append(out, w.ID)
		}
	}
	return out
}

// Most returns the largest number of workloads of any one session that ran at a time.
func (r *Runtime) Most() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	most := 0
	for _, n := range r.most {
		most = max(most, n)
	}
	return most
}

// Capacity implements [spoke.Runtime].
func (r *Runtime) Capacity(context.Context) (api.Capacity, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return api.Capacity{Runtime: "fake", Flavors: []api.FlavorCapacity{{Flavor: api.DefaultFlavor, Total: r.Room, Used: len(r.workloads)}}}, nil
}

// Refuse implements [spoke.Runtime].
func (r *Runtime) Refuse(*api.ResolvedRevision) error {
	if r.Unwilling {
		return &api.Error{Code: api.CodeUnsupported, Field: "spec.image", Err: context.Canceled}
	}
	return nil
}

// Start implements [spoke.Runtime].
func (r *Runtime) Start(ctx context.Context, w spoke.WorkloadSpec) error {
	if err := wait(ctx, r.Delay); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.startErr != nil {
		return r.startErr
	}
	if r.workloads == nil {
		r.workloads, r.specs, r.most = map[spoke.WorkloadID]*spoke.Workload{}, map[spoke.WorkloadID]spoke.WorkloadSpec{}, map[api.SessionID]int{}
	}
	if r.workloads[w.ID] != nil {
		return nil
	}
	r.workloads[w.ID], r.specs[w.ID] = &spoke.Workload{ID: w.ID, State: spoke.WorkloadRunning}, w
	n := 0
	for id, w2 := range r.workloads {
		if id.Session == w.ID.Session && w2.State == spoke.WorkloadRunning {
			n++
		}
	}
	r.most[w.ID.Session] = max(r.most[w.ID.Session], n)
	return nil
}

// Stop implements [spoke.Runtime].
func (r *Runtime) Stop(ctx context.Context, id spoke.WorkloadID, grace time.Duration) error {
	if err := wait(ctx, r.Delay); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch w := r.workloads[id]; {
	case w == nil:
	case w.State == spoke.WorkloadEnded:
		delete(r.workloads, id)
	case r.Stubborn:
		time.AfterFunc(grace, func() { r.End(id, "killed") })
	default:
		w.State, w.Exit = spoke.WorkloadEnded, "stopped"
	}
	return nil
}

// List implements [spoke.Runtime].
func (r *Runtime) List(context.Context) ([]spoke.Workload, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listErr != nil {
		return nil, r.listErr
	}
	return r.all(), nil
}

func (r *Runtime) all() []spoke.Workload {
	var out []spoke.Workload
	for _, w := range r.workloads {
		out = append(out, *w)
	}
	slices.SortFunc(out, func(a, b spoke.Workload) int { return cmp.Compare(a.ID.String(), b.ID.String()) })
	return out
}

func wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package kube

import (
	"cmp"
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nave-dev/nave/spoke"
)

// List implements [spoke.Runtime].
func (r *Runtime) List(ctx context.Context) ([]spoke.Workload, error) {
	if err := r.await(ctx); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.readyLocked(); err != nil {
		return nil, err
	}
	now := time.Now()
	r.expireLocked(now)
	items := r.itemsLocked()
	out := make([]spoke.Workload, 0, len(items))
	for id, it := range items {
		w := it.observe(now)
		w.ID = id
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b spoke.Workload) int { return cmp.Compare(a.ID.String(), b.ID.String()) })
	return out, nil
}

// item is what is known of one workload.
type item struct {
	claim *corev1.ConfigMap // nil: there is none
	pod   *corev1.Pod       // nil: none is shown
	memory
}

// observe says what a workload is:
//
//	claim  pod       else                     is
//	any    any       its Start runs           Running
//	any    shown     -                        as the pod says; given up: why
//	yes    not       it was terminal          Ended, as the pod said
//	yes    not       confirmed absent         Ended, given up: why; else as the pod said, or that it was never made
//	yes    not       -                        Running: nobody confirmed that it is gone
func (it item) observe(now time.Time) spoke.Workload {
	asked := !it.stopAt.IsZero()
	noted, given := endingOf(it.claim)
	gone := func(e ending) spoke.Workload {
		if given {
			e = noted
		}
		return e.observed()
	}
	switch {
	case it.starting != nil:
		return spoke.Workload{State: spoke.WorkloadRunning, Waiting: "it is being made"}
	case it.pod != nil:
		w := observe(it.pod, asked, now)
		if w.State == spoke.WorkloadEnded {
			return gone(ending{w.Exit, w.Failure, w.Disrupted})
		}
		return w
	case it.last != nil && terminal(it.last), it.absent && it.last != nil:
		return gone(ended(it.last, asked, !terminal(it.last)))
	case it.absent:
		return gone(neverMade(it.memory))
	}
	return spoke.Workload{State: spoke.WorkloadRunning, Waiting: "its pod is not seen, and nobody has confirmed yet that it is gone"}
}

// expireLocked forgets what this process made so long ago that it would be shown, if it were still there.
func (r *Runtime) expireLocked(now time.Time) {
	for _, m := range r.of {
		if now.After(m.made.Add(lagLimit)) {
			m.claim, m.pod = nil, nil
		}
	}
}

// itemsLocked is everything that exists.
func (r *Runtime) itemsLocked() map[spoke.WorkloadID]item {
	out := map[spoke.WorkloadID]item{}
	take := func(f *feed, put func(*item, any)) {
		for _, o := range f.shown.List() {
			if id, ok := idOf(o); ok {
				it := out[id]
				put(&it, o)
				out[id] = it
			}
		}
	}
	for _, p := range r.places {
		take(p.claims, func(it *item, o any) { it.claim = o.(*corev1.ConfigMap) })
		take(p.pods, func(it *item, o any) { it.pod = o.(*corev1.Pod) })
	}
	for id, m := range r.of {
		if it := m.over(out[id]); it.claim != nil || it.pod != nil || it.starting != nil {
			out[id] = it
		}
	}
	return out
}

// itemLocked is one workload.
func (r *Runtime) itemLocked(id spoke.WorkloadID) item {
	var it item
	for _, p := range r.places {
		key := p.namespace + "/" + id.String()
		if o, ok, err := p.claims.shown.GetByKey(key); err == nil && ok {
			it.claim = o.(*corev1.ConfigMap)
		}
		if o, ok, err := p.pods.shown.GetByKey(key); err == nil && ok {
			it.pod = o.(*corev1.Pod)
		}
	}
	if m := r.of[id]; m != nil {
		return m.over(it)
	}
	return it
}

// over adds what this process knows to what is shown.
func (m *memory) over(it item) item {
	it.memory = *m
	if it.claim == nil {
		it.claim = m.claim
	}
	if it.pod == nil {
		it.pod = m.pod
	}
	return it
}

// memoryLocked is what this process knows of a workload.
func (r *Runtime) memoryLocked(id spoke.WorkloadID) *memory {
	if r.of[id] == nil {
		r.of[id] = new(memory)
	}
	return r.of[id]
}

// idOf is the workload that an object is of. What carries our label and another name was made by somebody else.
func idOf(o any) (spoke.WorkloadID, bool) {
	name := ""
	switch o := o.(type) {
	case *corev1.Pod:
		name = o.Name
	case *corev1.ConfigMap:
		name = o.Name
	}
	id, err := spoke.ParseWorkloadID(name)
	return id, err == nil
}

// saw takes a pod that a feed shows.
func (r *Runtime) saw(o any) {
	defer r.nudge()
	pod := o.(*corev1.Pod)
	id, ok := idOf(pod)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.memoryLocked(id)
	m.pod, m.last, m.since, m.again, m.absent, m.trouble = nil, nil, time.Time{}, time.Time{}, false, ""
	r.pinPodLocked(pod)
}

// vanished keeps what a pod was that is not shown any more.
func (r *Runtime) vanished(o any) {
	defer r.nudge()
	id, ok := idOf(o)
	if !ok {
		return
	}
	pod := o.(*corev1.Pod)
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.memoryLocked(id)
	m.pod, m.last = nil, pod
}

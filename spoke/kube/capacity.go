package kube

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// Capacity implements [spoke.Runtime].
func (r *Runtime) Capacity(ctx context.Context) (api.Capacity, error) {
	if err := r.await(ctx); err != nil {
		return api.Capacity{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.readyLocked(); err != nil {
		return api.Capacity{}, err
	}
	used, now := map[string]int{}, time.Now()
	for _, it := range r.itemsLocked() {
		if it.observe(now).State != spoke.WorkloadEnded {
			used[it.flavor()]++
		}
	}
	out := api.Capacity{Runtime: "kubernetes"}
	if r.c.Settings.NetworkPolicies != PoliciesEnforced {
		out.Missing = append(out.Missing, "network")
	}
	for _, name := range slices.Sorted(maps.Keys(r.c.Settings.Flavors)) {
		out.Flavors = append(out.Flavors, api.FlavorCapacity{Flavor: name, Total: r.c.Settings.Flavors[name].Count, Used: used[name]})
	}
	return out, nil
}

func (it item) flavor() string {
	switch {
	case it.claim != nil:
		return it.claim.Labels[LabelFlavor]
	case it.pod != nil:
		return it.pod.Labels[LabelFlavor]
	}
	return ""
}

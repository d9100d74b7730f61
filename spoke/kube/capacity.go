package kube

import (
	"context"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// quotaEvery is how old what is known of quotas may be.
const quotaEvery = 30 * time.Second

// Capacity implements [spoke.Runtime]. Of a flavor fit as many as its operator says, and no more than quotas leave room for.
func (r *Runtime) Capacity(ctx context.Context) (api.Capacity, error) {
	if err := r.await(ctx); err != nil {
		return api.Capacity{}, err
	}
	quotas := r.quotas(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.readyLocked(); err != nil {
		return api.Capacity{}, err
	}
	used, now := map[string]map[string]int{}, time.Now() // by flavor and namespace
	for _, it := range r.itemsLocked() {
		if it.observe(now).State != spoke.WorkloadEnded {
			ns, flavor := it.place()
			if used[flavor] == nil {
				used[flavor] = map[string]int{}
			}
			used[flavor][ns]++
		}
	}
	out := api.Capacity{Runtime: "kubernetes"}
	if r.c.Settings.NetworkPolicies != PoliciesEnforced {
		out.Missing = append(out.Missing, "network")
	}
	places := slices.Collect(maps.Keys(r.places))
	if r.c.Settings.Namespaces.Manage {
		places = append(places, "") // the next namespace that is made, which no quota knows yet
	}
	for _, name := range slices.Sorted(maps.Keys(r.c.Settings.Flavors)) {
		f := r.c.Settings.Flavors[name]
		all := 0
		for _, n := range used[name] {
			all += n
		}
		out.Flavors = append(out.Flavors, api.FlavorCapacity{Flavor: name, Total: total(f, used[name], places, quotas), Used: all})
	}
	return out, nil
}

// total is how many workloads of a flavor fit at all: those that run, and those that quotas leave room for, up to what the
// operator says. A namespace without a quota leaves all the room there is.
func total(f Flavor, used map[string]int, namespaces []string, quotas map[string][]corev1.ResourceQuota) int {
	n := 0
	for _, ns := range namespaces {
		room := f.Count
		for _, q := range quotas[ns] {
			room = min(room, fits(f, q))
		}
		n += used[ns] + room
	}
	return min(n, f.Count)
}

// fits is how many pods of a flavor a quota leaves room for. One with a scope counts some pods only and says nothing of ours.
func fits(f Flavor, q corev1.ResourceQuota) int {
	if len(q.Spec.Scopes) > 0 || q.Spec.ScopeSelector != nil {
		return f.Count
	}
	one := *resource.NewQuantity(1, resource.DecimalSI)
	of := f.resources()
	needs := map[corev1.ResourceName]resource.Quantity{
		"pods": one, "count/pods": one, "configmaps": one, "count/configmaps": one,
		"cpu": of.Requests[corev1.ResourceCPU], "requests.cpu": of.Requests[corev1.ResourceCPU], "limits.cpu": of.Limits[corev1.ResourceCPU],
		"memory": of.Requests[corev1.ResourceMemory], "requests.memory": of.Requests[corev1.ResourceMemory], "limits.memory": of.Limits[corev1.ResourceMemory],
		"ephemeral-storage": of.Requests[corev1.ResourceEphemeralStorage], "requests.ephemeral-storage": of.Requests[corev1.ResourceEphemeralStorage],
		"limits.ephemeral-storage": of.Limits[corev1.ResourceEphemeralStorage],
	}
	room := f.Count
	for name, hard := range q.Status.Hard {
		need := needs[name]
		if need.Sign() <= 0 {
			continue
		}
		left := hard.DeepCopy()
		left.Sub(q.Status.Used[name])
		room = min(room, max(0, int(left.AsApproximateFloat64()/need.AsApproximateFloat64()+1e-9)))
	}
	return room
}

// quotas are those of the namespaces of sessions, as they were a while ago. What may not be read limits nothing here: the API
// server refuses a pod that does not fit.
func (r *Runtime) quotas(ctx context.Context) map[string][]corev1.ResourceQuota {
	now := time.Now()
	r.mu.Lock()
	known, old := r.limits, now.Sub(r.limitsAt) >= quotaEvery
	names := slices.Sorted(maps.Keys(r.places))
	r.mu.Unlock()
	if known != nil && !old {
		return known
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	fresh := map[string][]corev1.ResourceQuota{}
	for _, ns := range names {
		list, err := r.core.ResourceQuotas(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			r.c.Log.Debug("quotas are not known", "namespace", ns, "error", call{"list", "resourcequotas", ns}.fail(err))
			fresh[ns] = known[ns]
			continue
		}
		fresh[ns] = list.Items
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limits, r.limitsAt = fresh, now
	return fresh
}

// place is the namespace and the flavor of a workload.
func (it item) place() (namespace, flavor string) {
	switch {
	case it.claim != nil:
		return it.claim.Namespace, it.claim.Labels[LabelFlavor]
	case it.pod != nil:
		return it.pod.Namespace, it.pod.Labels[LabelFlavor]
	}
	return "", ""
}

package kube

import (
	"context"
	"encoding/json"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// tend gives up pods that do not start, confirms that pods are absent, and forgets what is gone.
func (r *Runtime) tend(ctx context.Context, now time.Time) {
	given, missing := r.look(now)
	for _, g := range given {
		if err := r.give(ctx, g.item, g.ending); err != nil && ctx.Err() == nil {
			r.c.Log.Warn("workload that does not start cannot be given up", "workload", g.id, "error", err)
		}
	}
	for namespace, ids := range missing {
		if err := r.confirm(ctx, namespace, ids); err != nil && ctx.Err() == nil {
			r.c.Log.Warn("nobody can tell whether pods are gone", "namespace", namespace, "error", err)
		}
	}
}

// missed is a workload whose pod is not shown.
type missed struct {
	id    spoke.WorkloadID
	claim types.UID
}

// given is a workload that is given up.
type given struct {
	id spoke.WorkloadID
	item
	ending
}

// look decides what is to be done, and forgets what is not needed any more.
func (r *Runtime) look(now time.Time) (give []given, missing map[string][]missed) {
	missing = map[string][]missed{}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.readyLocked() != nil {
		return nil, nil
	}
	r.expireLocked(now)
	items := r.itemsLocked()
	for id := range r.of {
		if _, ok := items[id]; !ok {
			delete(r.of, id)
		}
	}
	for id, it := range items {
		m := r.memoryLocked(id)
		switch {
		case it.starting != nil || it.absent || it.last != nil && terminal(it.last):
		case it.pod == nil:
			if m.since.IsZero() {
				m.since = now
			}
			_, given := endingOf(it.claim)
			if (it.last != nil || given || now.After(m.since.Add(settleTime))) && !now.Before(m.again) {
				m.again = now.Add(againTime)
				missing[it.claim.Namespace] = append(missing[it.claim.Namespace], missed{id, it.claim.UID})
			}
		case terminal(it.pod) || it.pod.DeletionTimestamp != nil:
		default:
			o := waiting(it.pod)
			if m.met.IsZero() {
				m.met = now
			}
			if m.kind != o.Kind || m.start.IsZero() {
				m.kind, m.start = o.Kind, now
			}
			if e, ok := giveUp(o, now.Sub(m.start), now.Sub(m.met), time.Duration(r.c.Settings.StartLimit)); ok {
				give = append(give, given{id, it, e})
			}
		}
	}
	return give, missing
}

// neverMade is the end of a workload whose pod this process never saw.
func neverMade(m memory) ending {
	if m.trouble != "" {
		return ending{Exit: "its pod was not made: " + m.trouble, Failure: api.StartFailureRuntime}
	}
	return ending{Exit: "its pod does not exist: it was not made, or is gone since before anybody looked", disrupted: m.stopAt.IsZero()}
}

// give notes why with the claim, and deletes the pod.
func (r *Runtime) give(ctx context.Context, it item, e ending) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if _, noted := endingOf(it.claim); it.claim != nil && !noted {
		text, err := e.encode()
		if err != nil {
			return err
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": it.claim.UID, "annotations": map[string]string{annotationExit: text}}})
		if err != nil {
			return err
		}
		if _, err := r.core.ConfigMaps(it.claim.Namespace).Patch(ctx, it.claim.Name, types.MergePatchType, patch, metav1.PatchOptions{}); gone(err) != nil {
			return call{"patch", "configmaps", it.claim.Namespace}.fail(err)
		}
	}
	r.c.Log.Info("workload given up", "workload", it.pod.Name, "reason", e.Exit)
	return r.deletePod(ctx, it.pod, 1)
}

// confirm asks the storage whether pods are gone that are not shown: by a complete list, and by their names, which finds a pod
// whose labels somebody took away.
func (r *Runtime) confirm(ctx context.Context, namespace string, ids []missed) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	there := map[string]bool{}
	o := metav1.ListOptions{LabelSelector: selector(r.label()), Limit: 500}
	for {
		list, err := r.core.Pods(namespace).List(ctx, o)
		if err != nil {
			return call{"list", "pods", namespace}.fail(err)
		}
		for i := range list.Items {
			there[list.Items[i].Name] = true
		}
		if o.Continue = list.Continue; o.Continue == "" {
			break
		}
	}
	for _, m := range ids {
		if there[m.id.String()] {
			continue
		}
		pod, err := r.core.Pods(namespace).Get(ctx, m.id.String(), metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err), err == nil && !ownedBy(pod, m.claim):
			r.mu.Lock()
			if m := r.memoryLocked(m.id); m.pod == nil && m.starting == nil {
				m.absent = true
			}
			r.mu.Unlock()
		case err != nil:
			return call{"get", "pods", namespace}.fail(err)
		}
	}
	return nil
}

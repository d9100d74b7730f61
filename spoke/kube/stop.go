package kube

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// Stop implements [spoke.Runtime].
func (r *Runtime) Stop(ctx context.Context, id spoke.WorkloadID, grace time.Duration) error {
	if err := r.await(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	it := r.itemLocked(id)
	r.mu.Unlock()
	if it.starting != nil {
		done, err := r.begin(ctx, id) // wait until it is made
		if err != nil {
			return err
		}
		done()
		r.mu.Lock()
		it = r.itemLocked(id)
		r.mu.Unlock()
	}
	now := time.Now()
	switch {
	case it.claim == nil && it.pod == nil:
		return nil
	case it.observe(now).State == spoke.WorkloadEnded:
		return r.remove(ctx, it)
	case it.pod != nil:
		return r.end(ctx, id, it.pod, grace, now)
	}
	// Not shown, and not confirmed absent: it may be there.
	pod, err := r.core.Pods(it.claim.Namespace).Get(ctx, id.String(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && !ownedBy(pod, it.claim.UID) {
		r.asks(id, now, grace)
		return nil
	}
	if err != nil {
		return call{"get", "pods", it.claim.Namespace}.fail(err)
	}
	return r.end(ctx, id, pod, grace, now)
}

// asks keeps that a workload was asked to end.
func (r *Runtime) asks(id spoke.WorkloadID, now time.Time, grace time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.memoryLocked(id)
	if m.stopAt.IsZero() {
		m.stopAt = now
	}
	if by := now.Add(grace); m.stopBy.IsZero() || by.Before(m.stopBy) {
		m.stopBy = by
	}
}

// end deletes a pod, which gets its grace; less of it when it has more left.
func (r *Runtime) end(ctx context.Context, id spoke.WorkloadID, pod *corev1.Pod, grace time.Duration, now time.Time) error {
	r.mu.Lock()
	m := *r.memoryLocked(id)
	r.mu.Unlock()
	seconds, needed := period(pod, m.stopAt, m.stopBy, now, grace)
	if !needed {
		return nil
	}
	r.asks(id, now, grace)
	err := r.deletePod(ctx, pod, seconds)
	if err == nil {
		r.c.Log.Info("workload stopping", "workload", id, "grace", grace)
	}
	return err
}

// period is the grace to delete a pod with, in whole seconds and never 0: that would remove the object before its processes are
// dead. A pod that is deleted already has its grace counted by the API server from the first time on; not needed: it has no
// more left than it is to have.
func period(pod *corev1.Pod, stopAt, stopBy, now time.Time, grace time.Duration) (seconds int64, needed bool) {
	began, by := stopAt, stopBy
	if d := pod.DeletionTimestamp; d != nil && began.IsZero() { // somebody else's, or an earlier process's
		by = d.Time
		began = by
		if g := pod.DeletionGracePeriodSeconds; g != nil {
			began = by.Add(-time.Duration(*g) * time.Second)
		}
	}
	left := grace
	if !began.IsZero() {
		if !now.Add(grace).Before(by) && pod.DeletionTimestamp != nil {
			return 0, false
		}
		if pod.DeletionTimestamp != nil {
			left = now.Add(grace).Sub(began)
		}
	}
	return max(1, int64((left+time.Second-1)/time.Second)), true
}

// remove deletes what an ended workload left, the claim last. A pod that is deleted already is its node's to take away.
func (r *Runtime) remove(ctx context.Context, it item) error {
	if it.pod != nil && it.pod.DeletionTimestamp == nil {
		if err := r.deletePod(ctx, it.pod, 1); err != nil {
			return err
		}
	}
	if it.claim == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	err := r.core.ConfigMaps(it.claim.Namespace).Delete(ctx, it.claim.Name, only(it.claim.UID))
	if err = gone(err); err != nil {
		return call{"delete", "configmaps", it.claim.Namespace}.fail(err)
	}
	id, _ := idOf(it.claim)
	r.mu.Lock()
	r.memoryLocked(id).claim = nil
	r.mu.Unlock()
	w := it.observe(time.Now())
	r.c.Log.Info("workload removed", "workload", id, "exit", w.Exit, "failure", w.Failure)
	return nil
}

func (r *Runtime) deletePod(ctx context.Context, pod *corev1.Pod, seconds int64) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if pod.Labels[LabelCluster] != r.label() {
		return api.Errorf(api.CodeFailed, "the pod %s in namespace %s has lost its label %s=%s, and nothing without it is deleted: give it back", pod.Name, pod.Namespace, LabelCluster, r.label())
	}
	o := only(pod.UID)
	o.GracePeriodSeconds = &seconds
	if err := gone(r.core.Pods(pod.Namespace).Delete(ctx, pod.Name, o)); err != nil {
		return call{"delete", "pods", pod.Namespace}.fail(err)
	}
	return nil
}

func (r *Runtime) label() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cluster
}

// only deletes the very object that was seen.
func only(uid types.UID) metav1.DeleteOptions {
	return metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}
}

// gone takes what does not exist any more as deleted.
func gone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

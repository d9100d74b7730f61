package kube

import (
	"context"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/nave-dev/nave/spoke"
)

// LabelBusy is "true" on pods that a turn runs in. A budget of the namespace selects it and keeps drains and evictions away.
const LabelBusy = "nave.dev/busy"

// budgetName is the name of that budget.
const budgetName = "nave-busy"

// budgetOf asks for more pods than there ever are: for pods without a controller no other budget can be counted.
func budgetOf(namespace, cluster string) *policyv1.PodDisruptionBudget {
	never := intstr.FromInt32(1_000_000)
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: budgetName, Namespace: namespace, Labels: map[string]string{
			LabelName: nameSession, LabelManager: nameManager, LabelCluster: cluster,
		}},
		Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &never, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{LabelBusy: "true"}}},
	}
}

// annotationSafe tells autoscalers of clusters not to take the node away.
const annotationSafe = "cluster-autoscaler.kubernetes.io/safe-to-evict"

// busyAfter is how long a pod is marked after its turn: turns that follow each other are one write.
const busyAfter = 30 * time.Second

var _ spoke.Disruptable = (*Runtime)(nil)

// Busy implements [spoke.Disruptable]. Run tells the cluster; each change is a fifth write of a life, and there are none for turns
// that follow each other.
func (r *Runtime) Busy(id spoke.WorkloadID, turn bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if it := r.itemLocked(id); it.claim == nil && it.pod == nil && it.starting == nil {
		return
	}
	m := r.memoryLocked(id)
	m.turn, m.turnAt = &turn, time.Now()
	r.nudge()
}

// marks reports whether a pod is to be marked as busy, and whether that is to be written. After a restart of this process the
// mark stays until somebody says what runs.
func (m *memory) marks(pod *corev1.Pod, now time.Time) (busy, write bool) {
	is := pod.Labels[LabelBusy] == "true"
	switch {
	case m.turn == nil || now.Before(m.markAt.Add(againTime)):
		return is, false
	case *m.turn:
		return true, !is
	}
	return false, is && !now.Before(m.turnAt.Add(busyAfter))
}

// mark writes whether a pod is busy.
func (r *Runtime) mark(ctx context.Context, pod *corev1.Pod, busy bool) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var label, safe any // null takes it away
	if busy {
		label, safe = "true", "false"
		r.budget(ctx, pod.Namespace)
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": pod.UID, "labels": map[string]any{LabelBusy: label}, "annotations": map[string]any{annotationSafe: safe},
	}})
	if err != nil {
		return err
	}
	_, err = r.core.Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return call{"patch", "pods", pod.Namespace}.fail(gone(err))
}

// budget makes the budget of a namespace, once. Without it autoscalers know still, and drains do not.
func (r *Runtime) budget(ctx context.Context, namespace string) {
	r.mu.Lock()
	p, cluster := r.places[namespace], r.cluster
	made := p == nil || p.budget
	if p != nil {
		p.budget = true
	}
	r.mu.Unlock()
	if made {
		return
	}
	_, err := r.policy.PodDisruptionBudgets(namespace).Create(ctx, budgetOf(namespace, cluster), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		r.c.Log.Warn("drains are not kept away from turns", "namespace", namespace, "error", call{"create", "poddisruptionbudgets", namespace}.fail(err))
	}
}

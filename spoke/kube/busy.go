package kube

import (
	"context"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nave-dev/nave/spoke"
)

// LabelBusy is "true" on pods that a turn runs in. A PodDisruptionBudget that selects it keeps drains away from them: with
// minAvailable as a number that is never reached, because such pods have no controller.
const LabelBusy = "nave.dev/busy"

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

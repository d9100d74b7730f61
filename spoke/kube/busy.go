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

// LabelTurn is on a pod while a turn runs that is longer than a moment. The disruption budget of a namespace of sessions selects by it,
// so that the pod is not evicted as long.
const LabelTurn = "nave.dev/turn"

// TurnRuns is its value.
const TurnRuns = "running"

// annotationSafe tells autoscalers of clusters not to take the pod's node away.
const annotationSafe = "cluster-autoscaler.kubernetes.io/safe-to-evict"

// turnLabelAfter is how long a turn must run before its pod is labelled: the many short ones are worth no write.
const turnLabelAfter = 2 * time.Second

// turnMemory is what the spoke said of a workload's turns, and what of it was written.
type turnMemory struct {
	told  bool      // it said something
	since time.Time // when the turn that runs began; zero: none does

	wrote  *bool     // label that the last write gave or took; nil: a feed shows it, or none was written
	writes time.Time // when
	again  time.Time // not before this the same is written once more
}

var _ spoke.Disruptable = (*Runtime)(nil)

// Busy implements [spoke.Disruptable]. [Runtime.Run] gives the pod of a turn that lasts the label [LabelTurn], and takes it away when the
// turn is over; also the one that a former process gave.
func (r *Runtime) Busy(id spoke.WorkloadID, turn bool) {
	r.mu.Lock()
	t := &r.memoryLocked(id).turn
	t.told = true
	switch {
	case !turn:
		t.since = time.Time{}
	case t.since.IsZero():
		t.since = time.Now()
	}
	r.mu.Unlock()
	select {
	case r.turns <- struct{}{}:
	default:
	}
}

// wants says which label a pod should have, and whether it is to be written now. What nobody said anything of stays as it is.
//
//	said          shown  is written
//	nothing       any    nothing
//	no turn runs  yes    the label is taken away
//	a turn runs   no     the label is given, when the turn has lasted for a moment
//	else                 nothing
//
// What was written counts as shown until a feed shows it, and no longer than that can take.
func (t *turnMemory) wants(shown bool, now time.Time) (label, write bool) {
	if t.wrote != nil {
		if shown == *t.wrote || now.After(t.writes.Add(lagLimit)) {
			t.wrote = nil
		} else {
			shown = *t.wrote
		}
	}
	label = !t.since.IsZero()
	switch {
	case !t.told, label == shown, label && now.Before(t.since.Add(turnLabelAfter)):
		return label, false
	}
	return label, true
}

// labelled is a pod whose label is to be written.
type labelled struct {
	id    spoke.WorkloadID
	pod   *corev1.Pod
	label bool
}

// labelTurns writes labels until ctx ends.
func (r *Runtime) labelTurns(ctx context.Context) error {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		for _, l := range r.lookAtTurns(time.Now()) {
			r.labelTurn(ctx, l)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.turns:
		case <-tick.C:
		}
	}
}

// lookAtTurns decides which labels are to be written.
func (r *Runtime) lookAtTurns(now time.Time) (out []labelled) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.readyLocked() != nil {
		return nil
	}
	for id, m := range r.of {
		if !m.turn.told || now.Before(m.turn.again) {
			continue
		}
		pod := r.itemLocked(id).pod
		if pod == nil || terminal(pod) || pod.DeletionTimestamp != nil || pod.Labels[LabelCluster] != r.cluster {
			continue
		}
		if label, write := m.turn.wants(pod.Labels[LabelTurn] == TurnRuns, now); write {
			out = append(out, labelled{id, pod, label})
		}
	}
	return out
}

// labelTurn gives a pod its label or takes it away, if that is wanted still.
func (r *Runtime) labelTurn(ctx context.Context, l labelled) {
	now := time.Now()
	r.mu.Lock()
	turn := r.memoryLocked(l.id).turn
	label, write := turn.wants(l.pod.Labels[LabelTurn] == TurnRuns, now)
	r.mu.Unlock()
	if !write || label != l.label {
		return
	}
	err := r.patchTurn(ctx, l)
	r.mu.Lock()
	t := &r.memoryLocked(l.id).turn
	if err == nil {
		t.wrote, t.writes = &l.label, now
	} else {
		t.again = now.Add(againTime)
	}
	r.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		r.c.Log.Warn("cluster cannot be told whether a turn runs", "workload", l.id, "error", err)
	}
}

func (r *Runtime) patchTurn(ctx context.Context, l labelled) error {
	var value, safe any // null takes it away
	if l.label {
		value, safe = TurnRuns, "false"
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": l.pod.UID,
		"labels": map[string]any{LabelTurn: value}, "annotations": map[string]any{annotationSafe: safe}}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if _, err := r.core.Pods(l.pod.Namespace).Patch(ctx, l.pod.Name, types.MergePatchType, patch, metav1.PatchOptions{}); gone(err) != nil {
		return call{"patch", "pods", l.pod.Namespace}.fail(err)
	}
	return nil
}

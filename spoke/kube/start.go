package kube

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke"
)

// Start implements [spoke.Runtime]. Of several at once for one workload one makes it; the others find it made.
func (r *Runtime) Start(ctx context.Context, w spoke.WorkloadSpec) error {
	if err := r.Refuse(w.Revision); err != nil {
		return err
	}
	namespace, err := r.prepare(ctx, w.Org)
	if err != nil {
		return err
	}
	done, err := r.begin(ctx, w.ID)
	if err != nil {
		return err
	}
	defer done()
	return r.create(ctx, w, namespace)
}

// begin takes the right to change a workload. Whoever else wants to waits until done is called.
func (r *Runtime) begin(ctx context.Context, id spoke.WorkloadID) (done func(), err error) {
	for {
		r.mu.Lock()
		m := r.memoryLocked(id)
		running := m.starting
		if running == nil {
			ours := make(chan struct{})
			m.starting = ours
			r.mu.Unlock()
			return func() {
				r.mu.Lock()
				r.memoryLocked(id).starting = nil
				r.mu.Unlock()
				close(ours)
				r.nudge()
			}, nil
		}
		r.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-running:
		}
	}
}

// create makes the claim, the session's volumes and the pod.
func (r *Runtime) create(ctx context.Context, w spoke.WorkloadSpec, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	volume, err := r.imageVolumes(ctx)
	if err != nil {
		return err
	}
	digests := r.digestsOf(w.Revision)
	want, err := claimOf(w, r.c.Settings, r.c.Cluster(), namespace, digests[imageOf(w.Revision.Environment, r.c.Settings)])
	if err != nil {
		return err
	}
	one, done := context.WithTimeout(ctx, callLimit)
	claim, err := r.core.ConfigMaps(namespace).Create(one, want, metav1.CreateOptions{})
	done()
	switch {
	case apierrors.IsAlreadyExists(err):
		return r.compare(ctx, want)
	case err != nil && !definite(err):
		r.withdraw(want, "") // it may have been made
		fallthrough
	case err != nil:
		return call{"create", "configmaps", namespace}.fail(err)
	}
	r.made(w.ID, claim, nil)
	if err := r.claimVolumes(ctx, volumeClaims(w.ID.Session, w.Revision.Environment, r.c.Cluster(), namespace)); err != nil {
		return errors.Join(err, r.withdraw(claim, claim.UID))
	}
	pod, err := r.createPod(ctx, podOf(podSpec{w, claim, digests, r.c.Authority, volume}, r.c.Settings))
	switch {
	case err == nil:
		r.made(w.ID, claim, pod)
		r.c.Log.Info("workload started", "workload", w.ID, "namespace", namespace)
		return nil
	case definite(err):
		return errors.Join(call{"create", "pods", namespace}.fail(err), r.withdraw(claim, claim.UID))
	}
	// It may exist. The claim stays: what becomes of the pod is seen, or is confirmed absent.
	r.mu.Lock()
	defer r.mu.Unlock()
	r.memoryLocked(w.ID).trouble = call{"create", "pods", namespace}.fail(err).Error()
	r.c.Log.Warn("nobody can tell whether the pod was made", "workload", w.ID, "error", err)
	return nil
}

// createPod makes a pod, and asks again when nobody can tell whether it was made.
func (r *Runtime) createPod(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, error) {
	pods := r.core.Pods(pod.Namespace)
	var err error
	for pause := 100 * time.Millisecond; ; pause *= 3 {
		var made *corev1.Pod
		one, cancel := context.WithTimeout(ctx, callLimit)
		made, err = pods.Create(one, pod, metav1.CreateOptions{})
		cancel()
		if apierrors.IsAlreadyExists(err) {
			if made, err = pods.Get(ctx, pod.Name, metav1.GetOptions{}); err == nil && !ownedBy(made, pod.OwnerReferences[0].UID) {
				return nil, apierrors.NewConflict(corev1.Resource("pods"), pod.Name, errors.New("a pod of that name exists that this claim does not own"))
			}
		}
		if err == nil || definite(err) {
			return made, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

func ownedBy(pod *corev1.Pod, claim types.UID) bool {
	for _, o := range pod.OwnerReferences {
		if o.UID == claim {
			return true
		}
	}
	return false
}

// compare accepts a claim that exists when it is of the same workload.
func (r *Runtime) compare(ctx context.Context, want *corev1.ConfigMap) error {
	have, err := r.core.ConfigMaps(want.Namespace).Get(ctx, want.Name, metav1.GetOptions{})
	if err != nil {
		return call{"get", "configmaps", want.Namespace}.fail(err)
	}
	same, err := sameClaim(have, want)
	if err != nil || !same {
		return api.Errorf(api.CodeExists, "the claim %s in namespace %s exists and is of something else (%v)", want.Name, want.Namespace, err)
	}
	id, _ := idOf(have)
	r.made(id, have, nil)
	return nil
}

// made keeps what was made until a feed shows it.
func (r *Runtime) made(id spoke.WorkloadID, claim *corev1.ConfigMap, pod *corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.memoryLocked(id)
	m.made, m.claim = time.Now(), claim
	if pod != nil && m.last == nil { // else it has come and gone meanwhile
		m.pod = pod
	}
}

// withdraw deletes the claim of a workload that was not made; without a UID, the one of that name if it is ours. It does not
// end with its caller.
func (r *Runtime) withdraw(claim *corev1.ConfigMap, uid types.UID) error {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	claims := r.core.ConfigMaps(claim.Namespace)
	if uid == "" {
		have, err := claims.Get(ctx, claim.Name, metav1.GetOptions{})
		if err != nil || have.Labels[LabelCluster] != claim.Labels[LabelCluster] {
			return nil // if it was made it is listed, as one without a pod
		}
		uid = have.UID
	}
	err := claims.Delete(ctx, claim.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	id, _ := idOf(claim)
	r.mu.Lock()
	r.memoryLocked(id).claim = nil
	r.mu.Unlock()
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return call{"delete", "configmaps", claim.Namespace}.fail(err)
}

// imageVolumes reports whether the harness comes as an image volume.
func (r *Runtime) imageVolumes(ctx context.Context) (bool, error) {
	switch r.c.Settings.Harness.Delivery {
	case DeliveryVolume:
		return true, nil
	case DeliveryInit:
		return false, nil
	}
	r.mu.Lock()
	known := r.images
	r.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	b, err := r.core.version(ctx)
	if err != nil {
		return false, call{"get", "the version of the API server", ""}.fail(err)
	}
	has := hasImageVolumes(b)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images = &has
	return has, nil
}

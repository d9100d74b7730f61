package kube

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nave-dev/nave/api"
)

// pin is by which digest a revision runs an image here. The first pod that says what it runs decides. What it said is kept in a
// ConfigMap, so that it holds over the end of all pods of the revision and of this process; what is kept counts more than any pod.
type pin struct {
	namespace, revision, image, digest string

	kept  *corev1.ConfigMap // as it is shown; nil: it is to be made
	again time.Time         // not before this
	used  time.Time         // when a workload of it was shown last, as far as this process knows
	told  bool              // that a pod runs something else
}

// A pin is dropped when it is old and nothing has used it for long: a revision that begins after that runs what its tag names then.
const (
	pinKept   = 30 * 24 * time.Hour // at least, from when it was made
	pinUnused = 24 * time.Hour      // of this process
	pinAgain  = time.Minute         // after it could not be kept
)

const nameImage = "nave-image"

// digestsOf are by which digests the images of a revision are run here, of the agent and of its tool servers; without those that no pod
// has run.
func (r *Runtime) digestsOf(rev *api.ResolvedRevision) map[string]string {
	images := []string{imageOf(rev.Environment, r.c.Settings)}
	for _, m := range rev.Agent.MCPServers {
		images = append(images, m.Image)
	}
	out := map[string]string{}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, image := range images {
		if p := r.pins[pinKey(revisionOf(rev), image)]; p != nil {
			out[image] = p.digest
		}
	}
	return out
}

func pinKey(revision, image string) string { return revision + " " + image }

// pinLocked takes by which digest a revision runs an image, and returns by which it is to be run.
func (r *Runtime) pinLocked(namespace, revision, image, digest string) *pin {
	if revision == "" || image == "" || digest == "" || strings.Contains(image, "@") {
		return nil
	}
	key := pinKey(revision, image)
	if r.pins[key] == nil {
		r.pins[key] = &pin{namespace: namespace, revision: revision, image: image, digest: digest, used: time.Now()}
	}
	return r.pins[key]
}

// pinPodLocked takes what a pod runs.
func (r *Runtime) pinPodLocked(pod *corev1.Pod) {
	revision := pod.Annotations[annotationRevision]
	r.pinLocked(pod.Namespace, revision, pod.Annotations[annotationImage], pod.Annotations[annotationDigest])
	images := map[string]string{} // by container, as it was started
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if c.Name == containerHarness || strings.HasPrefix(c.Name, sidecarPrefix) {
			images[c.Name] = c.Image
		}
	}
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		digest := pinned(images[c.Name], c.ImageID)
		if p := r.pinLocked(pod.Namespace, revision, images[c.Name], digest); p != nil && p.digest != digest && !p.told {
			p.told = true
			r.c.Log.Warn("a tag was moved while the first pods of a revision began, and they run different images", "revision", revision, "image", p.image,
				"pinned", p.digest, "pod", pod.Name, "runs", digest)
		}
	}
}

// sawClaim takes a claim, or a pin, that is shown.
func (r *Runtime) sawClaim(o any) {
	defer r.nudge()
	c := o.(*corev1.ConfigMap)
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pinLocked(c.Namespace, c.Annotations[annotationRevision], c.Annotations[annotationImage], c.Annotations[annotationDigest])
	if p != nil && c.Labels[LabelName] == nameImage {
		p.kept, p.digest = c, c.Annotations[annotationDigest]
	}
}

// lostClaim takes that a claim, or a pin, is not shown any more. A pin that somebody deleted is made again.
func (r *Runtime) lostClaim(o any) {
	defer r.nudge()
	c := o.(*corev1.ConfigMap)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pins {
		if p.revision == c.Annotations[annotationRevision] {
			p.used = time.Now()
		}
		if p.kept != nil && p.kept.UID == c.UID {
			p.kept, p.again = nil, time.Time{}
		}
	}
	if id, ok := idOf(c); ok {
		r.memoryLocked(id).claim = nil
	}
}

// keep makes the pins that are not kept, and drops those that nothing needs.
func (r *Runtime) keep(ctx context.Context, now time.Time) {
	fresh, stale := r.lookAtPins(now)
	for _, c := range fresh {
		one, cancel := context.WithTimeout(ctx, callLimit)
		_, err := r.core.ConfigMaps(c.Namespace).Create(one, c, metav1.CreateOptions{})
		cancel()
		if err != nil && !apierrors.IsAlreadyExists(err) && ctx.Err() == nil {
			r.c.Log.Warn("digest of an image is not kept", "image", c.Annotations[annotationImage], "error", call{"create", "configmaps", c.Namespace}.fail(err))
		}
	}
	for _, c := range stale {
		one, cancel := context.WithTimeout(ctx, callLimit)
		err := gone(r.core.ConfigMaps(c.Namespace).Delete(one, c.Name, only(c.UID)))
		cancel()
		if err != nil && ctx.Err() == nil {
			r.c.Log.Warn("digest of an image that nothing uses is not dropped", "image", c.Annotations[annotationImage], "error", call{"delete", "configmaps", c.Namespace}.fail(err))
		}
	}
}

// lookAtPins decides what keep does.
func (r *Runtime) lookAtPins(now time.Time) (fresh, stale []*corev1.ConfigMap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pins) == 0 || r.readyLocked() != nil {
		return nil, nil
	}
	var old []*pin
	for _, p := range r.pins {
		switch {
		case p.kept == nil && !now.Before(p.again):
			fresh = append(fresh, pinOf(p, r.cluster))
			p.again = now.Add(pinAgain)
		case p.kept != nil && now.Sub(p.kept.CreationTimestamp.Time) > pinKept && now.Sub(p.used) > pinUnused:
			old = append(old, p)
		}
	}
	if len(old) == 0 {
		return fresh, nil
	}
	busy := map[string]bool{} // revisions
	for _, it := range r.itemsLocked() {
		if it.claim != nil {
			busy[it.claim.Annotations[annotationRevision]] = true
		}
	}
	for _, p := range old {
		if busy[p.revision] {
			p.used = now
			continue
		}
		stale = append(stale, p.kept)
		delete(r.pins, pinKey(p.revision, p.image))
	}
	return fresh, stale
}

// pinOf renders what is kept of a pin.
func pinOf(p *pin, cluster string) *corev1.ConfigMap {
	hash := sha256.Sum256([]byte(strings.ToLower(cluster) + " " + p.revision + " " + p.image))
	immutable := true
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: nameImage + "-" + hex.EncodeToString(hash[:10]), Namespace: p.namespace,
			Labels:      map[string]string{LabelName: nameImage, LabelManager: nameManager, LabelCluster: strings.ToLower(cluster)},
			Annotations: map[string]string{annotationRevision: p.revision, annotationImage: p.image, annotationDigest: p.digest},
		},
		Immutable: &immutable,
	}
}

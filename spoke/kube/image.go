package kube

import (
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/nave-dev/nave/api"
)

// digestOf is by which digest the image of a revision is run here; empty before a pod of it has run.
func (r *Runtime) digestOf(rev *api.ResolvedRevision) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.digests[revisionOf(rev)+" "+imageOf(rev.Environment, r.c.Settings)]
}

// pinLocked keeps the digest of the image that a pod runs: later pods of the same revision run the same, wherever its tag
// points by then. What is known outlives this process as long as one pod or claim of the revision does.
func (r *Runtime) pinLocked(pod *corev1.Pod) {
	revision, image := pod.Annotations[annotationRevision], pod.Annotations[annotationImage]
	if revision == "" || image == "" {
		return
	}
	digest := pod.Annotations[annotationDigest]
	for _, c := range pod.Status.ContainerStatuses {
		if digest == "" && c.Name == containerHarness {
			digest = pinned(image, c.ImageID)
		}
	}
	key := revision + " " + image
	if digest != "" && r.digests[key] == "" {
		r.digests[key] = digest
	}
}

// pinned is an image by its digest, as a node says what it runs; empty when that is not a reference that can be pulled: images
// that were loaded onto a node have none.
func pinned(image, id string) string {
	_, after, ok := strings.Cut(id, "@sha256:")
	if !ok || len(after) != 64 || strings.Trim(after, "0123456789abcdef") != "" {
		return ""
	}
	if strings.Contains(image, "@") {
		return image
	}
	name := image
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name + "@sha256:" + after
}

// hasImageVolumes reads what the API server says of its version: from 1.36 on no cluster is without them.
func hasImageVolumes(version []byte) bool {
	var v struct {
		Major string `json:"major"`
		Minor string `json:"minor"` // some add a +
	}
	var major, minor int
	if err := json.Unmarshal(version, &v); err != nil {
		return false
	}
	if _, err := fmt.Sscan(v.Major+" "+strings.TrimRight(v.Minor, "+"), &major, &minor); err != nil {
		return false
	}
	return major > 1 || major == 1 && minor >= 36
}

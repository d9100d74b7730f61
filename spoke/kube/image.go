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
	return r.counts[revisionOf(rev)+" "+imageOf(rev.Environment, r.c.Settings)]
}

// countLocked keeps the digest of the image that a pod runs: later pods of the same revision run the same, wherever its tag
// points by then. What is known outlives this process as long as one pod or claim of the revision does.
func (r *Runtime) countLocked(pod *corev1.Pod) {
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
	if digest != "" && r.counts[key] == "" {
		r.counts[key] = digest
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

// decodeVersion reads what the API server says of its version.
func decodeVersion(b []byte, major, minor *string) error {
	var v struct {
		Major string `json:"major"`
		Minor string `json:"minor"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("decode the version of the API server: %w", err)
	}
	*major, *minor = v.Major, v.Minor
	return nil
}

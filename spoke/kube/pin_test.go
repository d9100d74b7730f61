package kube

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// TestPinsAreKeptAndDropped goes through the life of what is kept of a digest.
func TestPinsAreKeptAndDropped(t *testing.T) {
	const digest = "registry.example/agent@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	s := settingsOf(t, "")
	claims := &feed{shown: picture{Store: cache.NewStore(cache.MetaNamespaceKeyFunc)}}
	pods := &feed{shown: picture{Store: cache.NewStore(cache.MetaNamespaceKeyFunc)}}
	claims.known, pods.known = true, true
	r := &Runtime{c: Config{Settings: s, Log: slog.New(slog.DiscardHandler)}, cluster: "01cluster", listed: true, wake: make(chan struct{}, 1), pins: map[string]*pin{},
		places: map[string]*place{"n": {namespace: "n", pods: pods, claims: claims}}}
	w := specOf()
	p := makePod(t, podSpec{WorkloadSpec: w}, s)
	r.pinPodLocked(p)
	if fresh, stale := r.lookAtPins(noon); len(r.pins) > 0 || len(fresh)+len(stale) > 0 {
		t.Errorf("a pod that has said nothing is pinned: %v", r.pins)
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: containerHarness, ImageID: digest}}
	r.pinPodLocked(p)
	other := p.DeepCopy()
	other.Status.ContainerStatuses[0].ImageID = digest[:len(digest)-1] + "0"
	r.pinPodLocked(other)
	if got := r.digestsOf(w.Revision)["registry.example/agent:1"]; got != digest {
		t.Fatalf("pinned by %q", got)
	}
	fresh, _ := r.lookAtPins(noon)
	if len(fresh) != 1 || fresh[0].Annotations[annotationDigest] != digest || fresh[0].Labels[LabelCluster] != "01cluster" || !strings.HasPrefix(fresh[0].Name, "nave-image-") {
		t.Fatalf("kept as %+v", fresh)
	}
	if _, ok := idOf(fresh[0]); ok {
		t.Errorf("%s is taken for a workload", fresh[0].Name)
	}
	if again, _ := r.lookAtPins(noon.Add(time.Second)); len(again) > 0 {
		t.Error("it is made twice")
	}
	kept := fresh[0]
	kept.UID, kept.CreationTimestamp = "1", metav1.NewTime(noon)
	kept.Annotations[annotationDigest] = other.Status.ContainerStatuses[0].ImageID // as a former process kept it
	r.sawClaim(kept)
	if got := r.digestsOf(w.Revision)["registry.example/agent:1"]; got != kept.Annotations[annotationDigest] {
		t.Errorf("what a pod says counts more than what is kept: %q", got)
	}
	r.lostClaim(kept)
	if fresh, _ = r.lookAtPins(noon.Add(time.Minute)); len(fresh) != 1 || fresh[0].Name != kept.Name {
		t.Errorf("deleted, and made again as %v", fresh)
	}
	r.sawClaim(kept)

	claim, err := claimOf(w, s, "01CLUSTER", "n", "")
	if err != nil {
		t.Fatal(err)
	}
	the := func() *pin { return r.pins[pinKey(revisionOf(w.Revision), "registry.example/agent:1")] }
	for _, tt := range []struct {
		name       string
		age, since time.Duration
		claimed    bool
		drops      bool
	}{
		{"young", pinKept, pinKept, false, false},
		{"old, and used lately", pinKept + 1, pinUnused, false, false},
		{"old, and in use", pinKept + 1, pinKept, true, false},
		{"old, and not used", pinKept + 1, pinUnused + 1, false, true},
	} {
		now := noon.Add(tt.age)
		the().used = now.Add(-tt.since)
		shown := []any{}
		if tt.claimed {
			shown = append(shown, claim)
		}
		if err := claims.shown.Store.Replace(shown, ""); err != nil {
			t.Fatal(err)
		}
		_, stale := r.lookAtPins(now)
		if got := slices.Contains(stale, kept); got != tt.drops || (the() == nil) != tt.drops {
			t.Errorf("%s: dropped %v, want %v", tt.name, got, tt.drops)
		}
	}
}

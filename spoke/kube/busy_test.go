package kube

import (
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"

	"github.com/nave-dev/nave/spoke/kube/tenant"
)

func TestWhichLabelIsWritten(t *testing.T) {
	now := time.Now()
	yes, no := true, false
	long, short := now.Add(-turnLabelAfter), now.Add(-turnLabelAfter+1)
	for _, tt := range []struct {
		name         string
		m            turnMemory
		shown        bool
		label, write bool
	}{
		{"nobody said anything", turnMemory{}, false, false, false},
		{"nobody said anything of what a former process labelled", turnMemory{}, true, false, false},
		{"no turn", turnMemory{told: true}, false, false, false},
		{"a stale label", turnMemory{told: true}, true, false, true},
		{"a short turn", turnMemory{told: true, since: short}, false, true, false},
		{"a long turn", turnMemory{told: true, since: long}, false, true, true},
		{"a long turn that is labelled", turnMemory{told: true, since: long}, true, true, false},
		{"a turn that a former process labelled", turnMemory{told: true, since: short}, true, true, false},
		{"given, and not shown yet", turnMemory{told: true, since: long, wrote: &yes, writes: now}, false, true, false},
		{"given, and over before it is shown", turnMemory{told: true, wrote: &yes, writes: now}, false, false, true},
		{"taken, and shown still", turnMemory{told: true, wrote: &no, writes: now}, true, false, false},
		{"given, and never shown", turnMemory{told: true, since: long, wrote: &yes, writes: now.Add(-lagLimit - 1)}, false, true, true},
		{"given, shown, and taken by somebody", turnMemory{told: true, since: long}, false, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if label, write := tt.m.wants(tt.shown, now); label != tt.label || write != tt.write {
				t.Errorf("label %v, written %v; want %v, %v", label, write, tt.label, tt.write)
			}
		})
	}
}

// TestTheBudgetSelectsLabelledPods: the namespace's budget selects the pods that this package makes, with the label and not without.
func TestTheBudgetSelectsLabelledPods(t *testing.T) {
	objects, err := tenant.Objects(tenant.Spec{Organization: "default", Namespace: "nave-default", SpokeNamespace: "nave-system", SpokeServiceAccount: "nave-spoke", SpokePort: 1,
		SpokeLabels: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	var budget *policyv1.PodDisruptionBudget
	for _, o := range objects {
		if b, ok := o.(*policyv1.PodDisruptionBudget); ok {
			budget = b
		}
	}
	if budget == nil {
		t.Fatal("there is no budget")
	}
	selects := func(pod *corev1.Pod) bool {
		for key, value := range budget.Spec.Selector.MatchLabels {
			if pod.Labels[key] != value {
				return false
			}
		}
		return len(budget.Spec.Selector.MatchExpressions) == 0
	}
	pod := &corev1.Pod{}
	pod.Labels = map[string]string{LabelName: nameSession}
	if selects(pod) {
		t.Error("it selects a pod without the label")
	}
	pod.Labels = maps.Clone(pod.Labels)
	pod.Labels[LabelTurn] = TurnRuns
	if !selects(pod) {
		t.Errorf("it does not select a pod with %v: %v", pod.Labels, budget.Spec.Selector)
	}
}

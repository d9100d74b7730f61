package charts_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/nave-dev/nave/internal/charts"
	"github.com/nave-dev/nave/spoke/kube/tenant"
)

// TestTheChartAndTheSpokeMakeTheSameNamespace: an organization is held as fast in a namespace that the chart made as in one that the spoke made.
func TestTheChartAndTheSpokeMakeTheSameNamespace(t *testing.T) {
	all := named(t, "nave-spoke", "all")
	limits := tenant.Limits{CPU: "500m", Memory: "512Mi", CPURequest: "10m", MemoryRequest: "64Mi"}
	for _, c := range []struct {
		of   charts.Case
		args []string
		spec tenant.Spec
	}{
		{named(t, "nave-spoke", "defaults"), nil, tenant.Spec{
			Organization: "default", Namespace: "nave-default", SpokeNamespace: "nave-system", SpokeServiceAccount: "nave-spoke", SpokePort: 7443,
			SpokeLabels: map[string]string{"app.kubernetes.io/name": "nave-spoke", "app.kubernetes.io/instance": "nave-spoke"},
			Template:    tenant.Template{Quota: tenant.Quota{Pods: "200"}, Limits: tenant.Limits{Memory: "256Mi", CPURequest: "50m", MemoryRequest: "128Mi"}},
		}},
		{all, nil, tenant.Spec{
			Organization: "01m84k1ymwqaq8qdv2d7t1xrcw", Namespace: "agents-acme", SpokeNamespace: "agents", SpokeServiceAccount: "spoke", SpokePort: 8443,
			SpokeLabels: map[string]string{"app.kubernetes.io/name": "nave-spoke", "app.kubernetes.io/instance": "eu"},
			EgressCIDRs: []string{"0.0.0.0/0", "203.0.113.0/24", "::/0"},
			Template: tenant.Template{
				Quota: tenant.Quota{CPU: "40", Memory: "160Gi", Pods: "100", Storage: "1Ti"}, Limits: limits, PullSecrets: []string{"agents"},
				APIServers: []string{"10.96.0.1/32", "192.0.2.4/32", "fd00:1::1/128"}, ClusterCIDRs: []string{"10.96.0.0/12", "10.244.0.0/16"},
			},
		}},
		{all, []string{"--set-json", "sessions.imagePullSecrets=[]", "--set-json", `sessions.quota={"cpu":"","memory":"","pods":"","storage":""}`,
			"--set-json", `sessions.limits={"cpu":"","memory":"","cpuRequest":"","memoryRequest":""}`, "--set-json", "settings.egress=[]"}, tenant.Spec{
			Organization: "12345", Namespace: "67890", SpokeNamespace: "agents", SpokeServiceAccount: "spoke", SpokePort: 8443,
			SpokeLabels: map[string]string{"app.kubernetes.io/name": "nave-spoke", "app.kubernetes.io/instance": "eu"},
		}},
	} {
		want, err := tenant.Objects(c.spec)
		if err != nil {
			t.Fatal(err)
		}
		var rendered []*unstructured.Unstructured
		for _, o := range objects(t, render(t, c.of, c.args...)) {
			if o.GetNamespace() == c.spec.Namespace || o.GetKind() == "Namespace" && o.GetName() == c.spec.Namespace {
				rendered = append(rendered, o)
			}
		}
		compare(t, want, rendered)
	}
}

// TestTheSpokeIsToldWhatTheChartWouldMake: with namespaces.manage the same values hold for the namespaces of both.
func TestTheSpokeIsToldWhatTheChartWouldMake(t *testing.T) {
	c := named(t, "nave-spoke", "manage")
	all := objects(t, render(t, c))
	s := settings(t, all)
	want, err := tenant.Objects(tenant.Spec{
		Organization: "default", Namespace: "nave-default", SpokeNamespace: c.Namespace, SpokeServiceAccount: "nave-spoke", SpokePort: 7443,
		SpokeLabels: map[string]string{"app.kubernetes.io/name": "nave-spoke", "app.kubernetes.io/instance": c.Release},
		Template:    s.Namespaces.Template, EgressCIDRs: s.Egress,
	})
	if err != nil {
		t.Fatal(err)
	}
	want = slices.DeleteFunc(want, func(o runtime.Object) bool { return o.GetObjectKind().GroupVersionKind().Kind == "Namespace" }) // of the case: one is there already
	var rendered []*unstructured.Unstructured
	for _, o := range all {
		if o.GetNamespace() == "nave-default" {
			rendered = append(rendered, o)
		}
	}
	compare(t, want, rendered)
	if q := s.Namespaces.Template.Quota; q.CPU != "16" || q.Pods != "20" || len(s.Namespaces.Template.PullSecrets) != 1 || len(s.Egress) != 2 {
		t.Errorf("the spoke is told %+v and egress %v: this shows little", s.Namespaces.Template, s.Egress)
	}
}

// TestTheChartGivesAManagingSpokeWhatItNeeds, and no other right.
func TestTheChartGivesAManagingSpokeWhatItNeeds(t *testing.T) {
	c := named(t, "nave-spoke", "manage")
	want, err := tenant.ClusterObjects(tenant.Managing{Name: "nave-spoke-nave-system", SpokeNamespace: c.Namespace, SpokeServiceAccount: "nave-spoke", Prefix: "tenants-"})
	if err != nil {
		t.Fatal(err)
	}
	var rendered []*unstructured.Unstructured
	for _, o := range objects(t, render(t, c)) {
		if o.GetNamespace() == "" && o.GetKind() != "Namespace" {
			rendered = append(rendered, o)
		}
	}
	compare(t, want, rendered)
}

// compare holds what is rendered to what the spoke makes. What helm and the chart say of themselves is left out.
func compare(t *testing.T, want []runtime.Object, rendered []*unstructured.Unstructured) {
	t.Helper()
	wants, gots := map[string]any{}, map[string]any{}
	for _, w := range want {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(w)
		if err != nil {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{Object: content}
		wants[name(u)] = plain(t, u)
	}
	for _, r := range rendered {
		gots[name(r)] = plain(t, r)
	}
	if diff := cmp.Diff(wants, gots); diff != "" {
		t.Errorf("the spoke makes other objects (-spoke +chart):\n%s", diff)
	}
	if len(gots) < 6 {
		t.Errorf("%d objects, at least 6 are known to exist: %v", len(gots), slices.Sorted(maps.Keys(gots)))
	}
}

// plain is an object as JSON means it: quantities in their shortest form, expressions without line breaks, nothing empty.
func plain(t *testing.T, o *unstructured.Unstructured) any {
	t.Helper()
	o = o.DeepCopy()
	unstructured.RemoveNestedField(o.Object, "status")
	unstructured.RemoveNestedField(o.Object, "metadata", "creationTimestamp")
	labels := o.GetLabels()
	for key := range labels {
		if key != "nave.dev/organization" && key != "app.kubernetes.io/part-of" && !strings.HasPrefix(key, "pod-security.kubernetes.io/") {
			delete(labels, key)
		}
	}
	o.SetLabels(labels)
	o.SetAnnotations(nil)
	text, err := json.Marshal(o.Object)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return short(out, "")
}

func short(v any, key string) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, inner := range v {
			if s := short(inner, k); s != nil {
				out[k] = s
			}
		}
		if len(out) == 0 && key != "podSelector" {
			return nil
		}
		return out
	case []any:
		var out []any
		for _, inner := range v {
			out = append(out, short(inner, key))
		}
		return out
	case string:
		if q, err := resource.ParseQuantity(v); err == nil && key != "name" && key != "namespace" {
			return q.String()
		}
		return strings.Join(strings.Fields(v), " ")
	}
	return v
}

package charts_test

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/nave-dev/nave/internal/charts"
	"github.com/nave-dev/nave/spoke/kube"
)

// settings are those of a rendering, as the spoke reads them.
func settings(t *testing.T, all []*unstructured.Unstructured) kube.Settings {
	t.Helper()
	var text string
	for _, o := range all {
		if o.GetKind() == "ConfigMap" {
			text, _, _ = unstructured.NestedString(o.Object, "data", "kubernetes.yaml")
		}
	}
	file := filepath.Join(t.TempDir(), "kubernetes.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := kube.ReadSettings(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return s
}

// TestTheSpokeTakesItsSettings gives what the chart renders to the spoke's own reader, which refuses what it does not know.
func TestTheSpokeTakesItsSettings(t *testing.T) {
	for _, c := range charts.Cases() {
		if c.Chart != "nave-spoke" {
			continue
		}
		s := settings(t, objects(t, render(t, c)))
		if len(s.Flavors) < 2 || s.Pods.ServiceAccount != "nave-session" || len(s.Namespaces.Organizations) == 0 {
			t.Errorf("%s: read as %+v", c, s)
		}
	}
}

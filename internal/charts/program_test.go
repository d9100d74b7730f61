package charts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/nave-dev/nave/internal/charts"
	"github.com/nave-dev/nave/internal/realpart"
)

// TestTheHubTakesItsConfiguration gives what the chart renders to nave-hub itself. The files that it names are made where the test can
// write, by the secrets that the pod mounts: a file that the pod would not have is missing here too.
func TestTheHubTakesItsConfiguration(t *testing.T) {
	program := realpart.Path(t, realpart.NaveHub)
	for _, c := range charts.Cases() {
		if c.Chart != "nave-hub" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			dir := t.TempDir()
			all := objects(t, render(t, c))
			mounted(t, dir, stateful(t, all).Spec.Template.Spec)
			var text string
			for _, o := range all {
				if o.GetKind() == "ConfigMap" {
					text, _, _ = unstructured.NestedString(o.Object, "data", "hub.yaml")
				}
			}
			text = strings.NewReplacer("/etc/nave", filepath.Join(dir, "etc"), "/var/lib/nave-hub", filepath.Join(dir, "data"),
				"/mnt/bucket", filepath.Join(dir, "bucket"), "/opt/nave/nave-overlay", realpart.Path(t, realpart.NaveOverlay)).Replace(text)
			file := filepath.Join(dir, "hub.yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), program, "check-config", file)
			cmd.Env = append(os.Environ(), "PGPASSWORD=x")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("nave-hub refuses it: %v\n%s\n%s", err, out, text)
			}
		})
	}
}

// mounted makes the files of the pod's secrets. Certificates and keys are of an authority of the test's.
func mounted(t *testing.T, dir string, pod corev1.PodSpec) {
	t.Helper()
	certificate, key := pair(t)
	for _, v := range pod.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.Secret == nil {
				continue
			}
			for _, item := range s.Secret.Items {
				content := []byte("password\n")
				switch {
				case filepath.Base(filepath.Dir(item.Path)) == "admin-token":
					content = []byte("nave_" + strings.Repeat("A", 43))
				case filepath.Ext(item.Path) == ".crt" || filepath.Ext(item.Path) == ".pem":
					content = certificate
				case filepath.Ext(item.Path) == ".key":
					content = key
				}
				file := filepath.Join(dir, "etc", item.Path)
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

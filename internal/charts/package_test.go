package charts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/nave-dev/nave/internal/realpart"
)

// packages runs tools/charts.sh.
func packages(t *testing.T, version string) string {
	t.Helper()
	out := t.TempDir()
	cmd := exec.CommandContext(t.Context(), filepath.Join(root, "tools", "charts.sh"))
	cmd.Env = append(os.Environ(), "VERSION="+version, "OUT="+out, "HELM="+realpart.Path(t, realpart.Helm), "HOME="+t.TempDir())
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("package %s: %v\n%s", version, err, said)
	}
	return out
}

// TestPackagesSayTheirVersion, whatever git says of it, and take the images of that version.
func TestPackagesSayTheirVersion(t *testing.T) {
	for _, c := range []struct{ version, semantic, tag string }{
		{"v1.2.3", "1.2.3", "v1.2.3"},
		{"v1.2.3-4-gabcdef0-dirty", "1.2.3-4-gabcdef0-dirty", "v1.2.3-4-gabcdef0-dirty"},
		{"v1.2.3+own", "1.2.3+own", "v1.2.3-own"},
		{"3684c58", "0.0.0-3684c58", "3684c58"},
		{"0123456", "0.0.0-g0123456", "0123456"},
		{"feature/x_y", "0.0.0-feature-x-y", "feature-x_y"},
		{"source", "0.0.0-source", "source"},
	} {
		t.Run(c.version, func(t *testing.T) {
			dir := packages(t, c.version)
			for _, chart := range both {
				file := filepath.Join(dir, chart+"-"+c.semantic+".tgz")
				r, err := helm(t).Render(t.Context(), file, "x", "place")
				if err != nil {
					t.Fatal(err)
				}
				all := objects(t, r)
				image := stateful(t, all).Spec.Template.Spec.Containers[0].Image
				if want := "ghcr.io/nave-dev/" + chart + ":" + c.tag; image != want {
					t.Errorf("the image is %s, want %s", image, want)
				}
				for _, o := range all {
					for key, value := range o.GetLabels() {
						if problems := validation.IsValidLabelValue(value); len(problems) > 0 {
							t.Errorf("%s: label %s: %q: %v", name(o), key, value, problems)
						}
					}
				}
			}
		})
	}
}

// TestPackagesAreReproducible: the same sources make the same bytes, whenever they were checked out.
func TestPackagesAreReproducible(t *testing.T) {
	first, second := packages(t, "v1.2.3"), packages(t, "v1.2.3")
	for _, chart := range both {
		file := chart + "-1.2.3.tgz"
		if read(t, first, file) != read(t, second, file) {
			t.Errorf("%s differs", file)
		}
	}
}

// TestPackagesHoldWhatAnInstallationNeeds and nothing of the tests.
func TestPackagesHoldWhatAnInstallationNeeds(t *testing.T) {
	dir := packages(t, "v1.2.3")
	for _, chart := range both {
		out, err := exec.CommandContext(t.Context(), "tar", "tzf", filepath.Join(dir, chart+"-1.2.3.tgz")).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"Chart.yaml", "README.md", "values.yaml", "values.schema.json", "templates/NOTES.txt", "templates/statefulset.yaml"} {
			if !strings.Contains(string(out), chart+"/"+want+"\n") {
				t.Errorf("%s lacks %s", chart, want)
			}
		}
		if strings.Contains(string(out), "testdata") || strings.Contains(string(out), ".golden") {
			t.Errorf("%s has what belongs to tests:\n%s", chart, out)
		}
	}
}

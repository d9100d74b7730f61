package charts_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nave-dev/nave/internal/charts"
)

var update = flag.Bool("update", false, "write what is rendered instead of comparing it")

// TestRendersAreTheKeptOnes shows a change of a chart as a change of what is installed.
func TestRendersAreTheKeptOnes(t *testing.T) {
	kept := map[string]bool{}
	for _, c := range charts.Cases() {
		kept[c.String()+".golden"] = true
		t.Run(c.String(), func(t *testing.T) {
			r := render(t, c)
			got := r.Manifest + "\n---\n# What a person is told:\n" + r.Notes
			file := filepath.Join("testdata", "golden", c.String()+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(read(t, file), got); diff != "" {
				t.Errorf("the rendering differs from %s; make charts-golden writes it (-kept +rendered):\n%s", file, diff)
			}
		})
	}
	files, err := os.ReadDir(filepath.Join("testdata", "golden"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !kept[f.Name()] {
			t.Errorf("%s is of no case", f.Name())
		}
	}
}

// TestRendersAreEqualTwice would see a time, a random name or the order of a map.
func TestRendersAreEqualTwice(t *testing.T) {
	for _, c := range charts.Cases() {
		if diff := cmp.Diff(render(t, c), render(t, c)); diff != "" {
			t.Errorf("%s (-first +second):\n%s", c, diff)
		}
	}
}

func TestTheChartsAreCleanToLint(t *testing.T) {
	for _, c := range charts.Cases() {
		if out, err := helm(t).Run(t.Context(), "lint", "--strict", "--values", c.Values(root), c.Folder(root)); err != nil {
			t.Errorf("%s: %v\n%s", c, err, out)
		}
	}
}

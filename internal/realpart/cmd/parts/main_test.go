package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestShowMisses(t *testing.T) {
	dir := t.TempDir()
	some := filepath.Join(dir, "some")
	line := "hub/archive\tTestPostgres\tpostgresql\tmake deps\n"
	if err := os.WriteFile(some, []byte(line+line), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, file, ci string
		wants          []string
		fails          bool
	}{
		{name: "nothing", file: filepath.Join(dir, "none"), ci: "true", wants: []string{"NOT RUN: nothing\n"}},
		{name: "one, told twice", file: some, wants: []string{"NOT RUN: 1\n", "hub/archive", "TestPostgres", "needs postgresql", "it comes by: make deps"}},
		{name: "one in CI", file: some, ci: "true", wants: []string{"NOT RUN: 1\n"}, fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("CI", c.ci)
			out := new(strings.Builder)
			if err := show(out, c.file); (err != nil) != c.fails {
				t.Errorf("show = %v, want failure %t", err, c.fails)
			}
			for _, want := range c.wants {
				if !strings.Contains(out.String(), want) {
					t.Errorf("printed, without %q:\n%s", want, out)
				}
			}
		})
	}
}

func TestShowNamesEveryPart(t *testing.T) {
	t.Setenv("NAVE_OVERLAY_BIN", "/nowhere/nave-overlay")
	out := new(strings.Builder)
	if err := show(out, ""); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"nave-overlay  missing  make build\n", "postgresql ", "terraform ", "chromium ", "git "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("printed, without %q:\n%s", want, out)
		}
	}
}

package testcluster

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func TestAConfigIsLookedAt(t *testing.T) {
	good := Config{Clusters: 1, Bin: Bin{Dir: "/bin"}, Log: slog.New(slog.DiscardHandler)}
	for _, test := range []struct {
		change func(*Config)
		field  string // that the error names; empty: no error
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.NodeGrace, c.Toleration, c.Nodes = 4*time.Second, time.Second, 1000 }, ""},
		{func(c *Config) { c.Clusters = 17 }, "Clusters"},
		{func(c *Config) { c.Bin.Dir = "" }, "Bin"},
		{func(c *Config) { c.Log = nil }, "Log"},
		{func(c *Config) { c.Nodes = 1001 }, "Nodes"},
		{func(c *Config) { c.NodeGrace = 3 * time.Second }, "NodeGrace"},
		{func(c *Config) { c.NodeGrace = 4500 * time.Millisecond }, "NodeGrace"},
		{func(c *Config) { c.Toleration = time.Millisecond }, "Toleration"},
		{func(c *Config) { c.Root = "here" }, "Root"},
	} {
		c := good
		test.change(&c)
		err := c.validate()
		if (err == nil) != (test.field == "") || err != nil && !strings.Contains(err.Error(), ": "+test.field+" is ") {
			t.Errorf("want an error of field %q: %v", test.field, err)
		}
	}
}

func TestAFateIsAnnotations(t *testing.T) {
	later := Completed
	later.After = time.Minute
	for _, test := range []struct {
		fate Fate
		want map[string]string
	}{
		{Fate{}, map[string]string{}},
		{Fate{Lingers: 3 * time.Second}, map[string]string{"fate.nave.dev/lingers": "3s"}},
		{later, map[string]string{
			"fate.nave.dev/is": "ended", "fate.nave.dev/phase": "Succeeded", "fate.nave.dev/container-reason": "Completed",
			"fate.nave.dev/exit-code": "0", "fate.nave.dev/after": "1m0s",
		}},
	} {
		if diff := cmp.Diff(test.want, test.fate.Annotations()); diff != "" {
			t.Errorf("%+v: %s", test.fate, diff)
		}
	}
}

// Every stage of a fate goes before those that kwok has ready, which have no weight.
func TestFatesGoFirst(t *testing.T) {
	n := 0
	for text := range strings.SplitSeq(string(fateStages), "\n---\n") {
		var stage struct {
			Metadata struct{ Name string }
			Spec     struct{ Weight int }
		}
		if err := yaml.Unmarshal([]byte(text), &stage); err != nil {
			t.Fatal(err)
		}
		if n++; stage.Spec.Weight < 1 || !strings.HasPrefix(stage.Metadata.Name, "fate-") {
			t.Errorf("stage %q has weight %d", stage.Metadata.Name, stage.Spec.Weight)
		}
	}
	if n != 4 {
		t.Errorf("%d stages of fates, want 4", n)
	}
}

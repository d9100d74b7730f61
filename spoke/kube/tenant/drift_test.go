package tenant

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestChangesAreToldByTheirPaths(t *testing.T) {
	object := func(labels map[string]any, rules ...any) map[string]any {
		return map[string]any{"metadata": map[string]any{"name": "a", "labels": labels}, "spec": map[string]any{"rules": rules}}
	}
	many := map[string]any{}
	for i := range mostChanges + 3 {
		many[fmt.Sprintf("l%02d", i)] = "x"
	}
	for name, c := range map[string]struct {
		before, after map[string]any
		want          []string
	}{
		"nothing":     {object(nil, "a"), object(nil, "a"), nil},
		"a label":     {object(map[string]any{"x": "1", "y": "2"}), object(map[string]any{"x": "3", "y": "2"}), []string{"metadata.labels.x"}},
		"a label new": {object(map[string]any{}), object(map[string]any{"x": "3"}), []string{"metadata.labels.x"}},
		"a list":      {object(nil, "a"), object(nil, "a", "b"), []string{"spec.rules"}},
		"a part gone": {object(nil), map[string]any{"spec": map[string]any{"rules": []any(nil)}}, []string{"metadata"}},
		"many":        {object(map[string]any{}), object(many), []string{"metadata.labels.l00", "metadata.labels.l01", "metadata.labels.l02", "metadata.labels.l03", "metadata.labels.l04", "metadata.labels.l05", "metadata.labels.l06", "metadata.labels.l07", "metadata.labels.l08", "metadata.labels.l09", "3 more"}},
	} {
		if diff := cmp.Diff(c.want, changes(c.before, c.after)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestContentIsWhatSomebodyWants: what the API server changes by itself is no change.
func TestContentIsWhatSomebodyWants(t *testing.T) {
	object := func(status, version, label string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"status": status, "metadata": map[string]any{
			"name": "a", "resourceVersion": version, "generation": version, "managedFields": []any{version}, "labels": map[string]any{"l": label}}}}
	}
	one := object("x", "1", "l")
	if digest(content(one)) != digest(content(object("y", "2", "l"))) {
		t.Error("a status or a version is a change")
	}
	if digest(content(one)) == digest(content(object("x", "1", "m"))) {
		t.Error("a label is no change")
	}
	if one.GetResourceVersion() != "1" || one.Object["status"] != "x" {
		t.Errorf("looking at an object changed it: %v", one.Object)
	}
}

// TestAFailureIsTriedAgainLaterEachTime and said once, until it is another or has passed.
func TestAFailureIsTriedAgainLaterEachTime(t *testing.T) {
	var out bytes.Buffer
	c := &Caretaker{c: CaretakerConfig{Log: slog.New(slog.NewTextHandler(&out, nil)), Every: 5 * time.Minute}}
	away, denied := errors.New("away"), errors.New("denied")
	var k kept
	for i, step := range []struct {
		err   error
		pause time.Duration // until it is looked at again, a tenth more or less
		said  int           // by then
	}{
		{away, 5 * time.Second, 1}, {away, 10 * time.Second, 1}, {away, 20 * time.Second, 1}, {denied, 40 * time.Second, 2}, {denied, 80 * time.Second, 2},
		{denied, 160 * time.Second, 2}, {denied, 5 * time.Minute, 2}, {denied, 5 * time.Minute, 2}, {nil, 5 * time.Minute, 2}, {denied, 5 * time.Second, 3},
	} {
		c.settle(t.Context(), &k, "not as it should be", "nave-acme", step.err)
		if wait := time.Until(k.due); wait < step.pause*8/10 || wait > step.pause*12/10 {
			t.Errorf("step %d: looked at again after %v, want about %v", i, wait, step.pause)
		}
		if said := strings.Count(out.String(), "level=WARN"); said != step.said {
			t.Errorf("step %d: said %d times, want %d", i, said, step.said)
		}
	}
}

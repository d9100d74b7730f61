package api_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/klog/v2"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
)

var (
	someKeys   = []string{"cloud", "region", "nave.dev/tier", "a.b_c-D"}
	someValues = []string{"", "a", "b", "eu-west.1", "X_y"}
)

func drawLabels(t *rapid.T) map[string]string {
	return rapid.MapOfN(rapid.SampledFrom(someKeys), rapid.SampledFrom(someValues), 0, 3).Draw(t, "labels")
}

func TestRequirementsMeanWhatTheyMeanInKubernetes(t *testing.T) {
	operators := map[api.Operator]selection.Operator{
		api.OpIn: selection.In, api.OpNotIn: selection.NotIn, api.OpExists: selection.Exists, api.OpDoesNotExist: selection.DoesNotExist,
	}
	rapid.Check(t, func(t *rapid.T) {
		r := api.Requirement{
			Key:      rapid.SampledFrom(someKeys).Draw(t, "key"),
			Operator: rapid.SampledFrom([]api.Operator{api.OpIn, api.OpNotIn, api.OpExists, api.OpDoesNotExist}).Draw(t, "operator"),
		}
		if r.Operator == api.OpIn || r.Operator == api.OpNotIn {
			r.Values = rapid.SliceOfN(rapid.SampledFrom(someValues), 1, 3).Draw(t, "values")
		}
		theirs, err := labels.NewRequirement(r.Key, operators[r.Operator], r.Values)
		if err != nil {
			t.Fatal(err)
		}
		l := drawLabels(t)
		if got, want := r.Match(l), theirs.Matches(labels.Set(l)); got != want {
			t.Fatalf("%v on %v is %t, want %t", r, l, got, want)
		}
	})
	if (api.Requirement{Key: "a", Operator: "Gt", Values: []string{"1"}}).Match(map[string]string{"a": "1"}) {
		t.Error("an unknown operator matches")
	}
}

func TestTolerationsMeanWhatTheyMeanInKubernetes(t *testing.T) {
	effects := []api.Effect{api.EffectNoSchedule, api.EffectPreferNoSchedule}
	seen := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		keys := someKeys[:2]
		toleration := api.Toleration{
			Key:      rapid.SampledFrom(append([]string{""}, keys...)).Draw(t, "key"),
			Operator: rapid.SampledFrom([]string{"", "Equal", "Exists"}).Draw(t, "operator"),
			Value:    rapid.SampledFrom(someValues[:2]).Draw(t, "value"),
			Effect:   rapid.SampledFrom(append([]api.Effect{""}, effects...)).Draw(t, "effect"),
		}
		if err := (&api.PlacementPolicySpec{Tolerations: []api.Toleration{toleration}}).Validate(); err != nil {
			t.Skip("not a valid toleration: its meaning is nobody's")
		}
		taint := api.Taint{Key: rapid.SampledFrom(keys).Draw(t, "taint key"), Value: rapid.SampledFrom(someValues[:2]).Draw(t, "taint value"), Effect: rapid.SampledFrom(effects).Draw(t, "taint effect")}
		theirs := corev1.Toleration{Key: toleration.Key, Operator: corev1.TolerationOperator(toleration.Operator), Value: toleration.Value, Effect: corev1.TaintEffect(toleration.Effect)}
		want := theirs.ToleratesTaint(klog.Background(), &corev1.Taint{Key: taint.Key, Value: taint.Value, Effect: corev1.TaintEffect(taint.Effect)}, false)
		if got := toleration.Tolerates(taint); got != want {
			t.Fatalf("%+v on %+v is %t, want %t", toleration, taint, got, want)
		}
		seen[want]++
	})
	if seen[true] < 10 || seen[false] < 10 {
		t.Errorf("too few of both answers were compared: %v", seen)
	}
	if (api.Toleration{Key: "a", Operator: "Lt", Value: "1"}).Tolerates(api.Taint{Key: "a", Value: "1", Effect: api.EffectNoSchedule}) {
		t.Error("an unknown operator tolerates")
	}
}

// selectorWords are the pieces of which random selectors are made, most of them malformed.
var selectorWords = []string{"cloud", "region", "nave.dev/tier", "in", "notin", "a", "b", "eu-west.1", "=", "==", "!=", "!", ",", "(", ")", " ", "\t", "<", "Bad Key", "-x", "é", "/"}

func TestSelectorsMeanWhatTheyMeanToKubectl(t *testing.T) {
	compare := func(t *rapid.T, text string) bool {
		ours, err := api.ParseSelector(text)
		theirs, wantErr := labels.Parse(text)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: %v, kubectl says %v", text, err, wantErr)
		}
		if err != nil {
			if api.FieldOf(err) != "selector" || api.CodeOf(err) != api.CodeInvalid {
				t.Fatalf("%q: the error %v does not name the field", text, err)
			}
			return false
		}
		for range 5 {
			l := drawLabels(t)
			if got, want := api.MatchAll(ours, l), theirs.Matches(labels.Set(l)); got != want {
				t.Fatalf("%q on %v is %t, kubectl says %t", text, l, got, want)
			}
		}
		return true
	}
	accepted := 0
	t.Run("any", rapid.MakeCheck(func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.SampledFrom(selectorWords), 0, 9).Draw(t, "words")
		if compare(t, strings.Join(words, "")) {
			accepted++
		}
	}))
	t.Run("mostly good", rapid.MakeCheck(func(t *rapid.T) {
		key, value := rapid.SampledFrom(someKeys), rapid.SampledFrom(someValues)
		var parts []string
		for range rapid.IntRange(1, 3).Draw(t, "requirements") {
			k, values := key.Draw(t, "key"), strings.Join(rapid.SliceOfN(value, 1, 3).Draw(t, "values"), ",")
			parts = append(parts, rapid.SampledFrom([]string{
				k, "!" + k, " ! " + k, k + "=" + value.Draw(t, "v"), k + " == " + value.Draw(t, "v"), k + "!= " + value.Draw(t, "v"),
				k + " in (" + values + ")", k + " notin ( " + values + " ) ", k + " in " + values, k + "()", k + " in ()",
			}).Draw(t, "part"))
		}
		if compare(t, strings.Join(parts, rapid.SampledFrom([]string{",", " , ", ",,", ""}).Draw(t, "separator"))) {
			accepted++
		}
	}))
	if accepted < 30 {
		t.Errorf("only %d selectors were good ones", accepted)
	}
}

func TestSelectorsAreBounded(t *testing.T) {
	for _, text := range []string{strings.Repeat("a", 5000), strings.Join(slices.Repeat([]string{"a"}, 129), ","), "a in (" + strings.Join(slices.Repeat([]string{"a"}, 129), ",") + ")"} {
		if _, err := api.ParseSelector(text); api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("%.20q...: %v", text, err)
		}
	}
	if got, err := api.ParseSelector(" "); got != nil || err != nil {
		t.Errorf("the empty selector is %v, %v", got, err)
	}
}

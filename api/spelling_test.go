package api

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"
)

// Names are what the regular expressions say that stand beside the functions.
func TestSpellings(t *testing.T) {
	kinds := []struct {
		tells func(string) bool
		want  *regexp.Regexp
	}{
		{isName, regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)},
		{isEnvName, regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)},
		{isLabelPart, regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)},
		{isDNSName, regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)},
	}
	said := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.StringMatching(`[a-z0-9]{0,4}[-a-zA-Z0-9_.]{0,4}[a-z0-9.]{0,3}`), rapid.StringMatching(`[a-z]{60,66}|[A-Z_]{125,130}`), rapid.String()).Draw(t, "s")
		for i, k := range kinds {
			got := k.tells(s)
			if said[got]++; got != k.want.MatchString(s) {
				t.Fatalf("kind %d: %q is told %v", i, s, got)
			}
		}
	})
	if said[true] < 20 || said[false] < 20 {
		t.Errorf("told %v: too few of one kind", said)
	}
}

package tenant

import (
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

func TestRulesCoverARightAsAnAPIServerReadsThem(t *testing.T) {
	rule := func(group, resource, verb string, names ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{verb}, ResourceNames: names}
	}
	for _, c := range []struct {
		rule rbacv1.PolicyRule
		of   right
		want bool
	}{
		{rule("", "pods", "get"), right{"", "pods", "get"}, true},
		{rule("", "pods", "get"), right{"", "pods", "list"}, false},
		{rule("", "pods", "get"), right{"apps", "pods", "get"}, false},
		{rule("", "pods", "*"), right{"", "pods", "list"}, true},
		{rule("*", "pods", "get"), right{"apps", "pods", "get"}, true},
		{rule("", "pods", "get"), right{"", "pods/log", "get"}, false},
		{rule("", "pods/log", "get"), right{"", "pods", "get"}, false},
		{rule("", "*", "get"), right{"", "pods/log", "get"}, true},
		{rule("", "*/log", "get"), right{"", "pods/log", "get"}, true},
		{rule("", "*/log", "get"), right{"", "pods/exec", "get"}, false},
		{rule("", "*/log", "get"), right{"", "log", "get"}, false},
		{rule("", "pods/*", "get"), right{"", "pods/log", "get"}, false},
		{rule("", "pods", "get", "one"), right{"", "pods", "get"}, false},
	} {
		if got := covered([]rbacv1.PolicyRule{c.rule}, c.of); got != c.want {
			t.Errorf("%v covers %v: %v, want %v", c.rule, c.of, got, c.want)
		}
	}
}

func TestRightsAreToldByResource(t *testing.T) {
	got := grouped([]right{{"", "pods", "get"}, {"", "pods", "list"}, {"policy", "poddisruptionbudgets", "get"}, {"", "pods", "patch"}})
	if want := []string{"get, list pods", "get poddisruptionbudgets.policy", "patch pods"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := len(needed()); got != 21 {
		t.Errorf("the rules are %d rights, want 21", got)
	}
}

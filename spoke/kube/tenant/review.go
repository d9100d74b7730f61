package tenant

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// right is one verb on one resource.
type right struct {
	group, resource, verb string // resource with its subresource: "pods/log"
}

// grouped renders rights as texts, one for each resource: "get, list pods".
func grouped(rights []right) []string {
	var out []string
	for i := 0; i < len(rights); {
		r, verbs := rights[i], []string(nil)
		for ; i < len(rights) && rights[i].group == r.group && rights[i].resource == r.resource; i++ {
			verbs = append(verbs, rights[i].verb)
		}
		text := strings.Join(verbs, ", ") + " " + r.resource
		if r.group != "" {
			text += "." + r.group
		}
		out = append(out, text)
	}
	return out
}

// needed are the rights of Rules, one by one.
func needed() []right {
	var out []right
	for _, rule := range Rules() {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				out = append(out, right{rule.APIGroups[0], resource, verb})
			}
		}
	}
	return out
}

// excess are rights by which a spoke could reach beyond its sessions. It needs none of them.
var excess = []right{
	{"", "secrets", "get"}, {"", "secrets", "list"}, {"", "pods/exec", "create"}, {"", "pods/attach", "create"}, {"", "pods/portforward", "create"},
	{"", "pods/ephemeralcontainers", "patch"}, {"", "serviceaccounts/token", "create"}, {"rbac.authorization.k8s.io", "roles", "create"},
	{"rbac.authorization.k8s.io", "roles", "patch"},
}

// rights returns which of the needed rights the spoke lacks in a namespace, and which it has too many. It asks once; when the
// API server says that it cannot list everything, it asks once more for each right that is not in the list.
func (k *Keeper) rights(ctx context.Context, namespace string) (lacks, has []right, err error) {
	answer, err := k.review(ctx, "SelfSubjectRulesReview", object{"namespace": namespace})
	if err != nil {
		return nil, nil, err
	}
	var said struct {
		Status struct {
			Rules      []rbacv1.PolicyRule `json:"resourceRules"` // of the same form
			Incomplete bool                `json:"incomplete"`
		} `json:"status"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(answer.Object, &said); err != nil {
		return nil, nil, fmt.Errorf("read the spoke's rights in %s: %w", namespace, err)
	}
	for _, r := range needed() {
		if covered(said.Status.Rules, r) {
			continue
		}
		if said.Status.Incomplete {
			allowed, err := k.allowed(ctx, namespace, "", r)
			if err != nil {
				return nil, nil, err
			}
			if allowed {
				continue
			}
		}
		lacks = append(lacks, r)
	}
	for _, r := range excess {
		if covered(said.Status.Rules, r) {
			has = append(has, r)
		}
	}
	return lacks, has, nil
}

// CheckManaging says which rights the spoke lacks to make namespaces whose names begin with a prefix. An error: the API server did not answer.
func (k *Keeper) CheckManaging(ctx context.Context, prefix string) ([]Finding, error) {
	var lacks []right
	for _, rule := range managingRules() {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, verb := range rule.Verbs {
			r := right{rule.APIGroups[0], rule.Resources[0], verb}
			for _, name := range names {
				allowed, err := k.allowed(ctx, "", name, r)
				if err != nil {
					return nil, err
				}
				if !allowed && !slices.Contains(lacks, r) {
					lacks = append(lacks, r)
				}
			}
		}
	}
	var out []Finding
	for _, text := range grouped(lacks) {
		out = append(out, Finding{Missing, prefix + "...", "the spoke may not " + text, remedies["Namespace"] + ", or leave namespaces.manage out"})
	}
	return out, nil
}

// allowed asks for one right, to an object of a name or to all.
func (k *Keeper) allowed(ctx context.Context, namespace, name string, r right) (bool, error) {
	resource, sub, _ := strings.Cut(r.resource, "/")
	answer, err := k.review(ctx, "SelfSubjectAccessReview", object{"resourceAttributes": object{
		"namespace": namespace, "name": name, "group": r.group, "resource": resource, "subresource": sub, "verb": r.verb,
	}})
	if err != nil {
		return false, err
	}
	is, _, err := unstructured.NestedBool(answer.Object, "status", "allowed")
	return is, err
}

func (k *Keeper) review(ctx context.Context, of string, spec object) (*unstructured.Unstructured, error) {
	answer, err := k.client.create(ctx, &unstructured.Unstructured{Object: object{"apiVersion": "authorization.k8s.io/v1", "kind": of, "spec": spec}}, false)
	if err != nil {
		return nil, failed("ask for the spoke's rights", err, "")
	}
	return answer, nil
}

// covered tells whether rules without names of resources give the right, as an API server reads them.
func covered(rules []rbacv1.PolicyRule, r right) bool {
	return slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool {
		_, sub, isSub := strings.Cut(r.resource, "/")
		return len(rule.ResourceNames) == 0 &&
			(slices.Contains(rule.Verbs, r.verb) || slices.Contains(rule.Verbs, rbacv1.VerbAll)) &&
			(slices.Contains(rule.APIGroups, r.group) || slices.Contains(rule.APIGroups, rbacv1.APIGroupAll)) &&
			(slices.Contains(rule.Resources, r.resource) || slices.Contains(rule.Resources, rbacv1.ResourceAll) || isSub && slices.Contains(rule.Resources, "*/"+sub))
	})
}

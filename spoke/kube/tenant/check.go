package tenant

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Weight says how much a finding matters.
type Weight string

// The weights of findings.
const (
	Missing Weight = "missing" // sessions cannot run here
	Unsafe  Weight = "unsafe"  // they can, and are not kept apart as they should be
	Unknown Weight = "unknown" // nobody can tell from here
)

// Finding is something about a namespace that is not as it should be.
type Finding struct {
	Weight    Weight
	Namespace string
	What      string // one sentence
	Remedy    string // what an operator should do
}

// String renders it for people, in one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s: namespace %s: %s: %s", f.Weight, f.Namespace, f.What, f.Remedy)
}

// Check says what is missing in a namespace, and changes nothing. No finding: sessions can run there and are kept apart, as far as the API
// server can tell and the operator says. An error: the API server did not answer.
func (k *Keeper) Check(ctx context.Context, s Spec) ([]Finding, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	s = s.withDefaults()
	var out []Finding
	add := func(w Weight, remedy, what string, args ...any) {
		out = append(out, Finding{w, s.Namespace, fmt.Sprintf(what, args...), remedy})
	}
	lacks, has, err := k.rights(ctx, s.Namespace)
	if err != nil {
		return nil, err
	}
	role := fmt.Sprintf("the spoke's service account needs the Role %s of the chart in this namespace", RoleSpoke)
	if len(lacks) == len(needed()) {
		add(Missing, "make the namespace by the chart, or let the spoke do it (namespaces.manage); "+role, "the spoke has no right here, or it does not exist")
	} else {
		for _, text := range grouped(lacks) {
			add(Missing, role, "the spoke may not %s", text)
		}
	}
	for _, text := range grouped(has) {
		add(Unsafe, "take the right away: the spoke never uses it", "the spoke may %s", text)
	}
	if !s.PoliciesEnforced {
		add(Unknown, "find out whether the network plugin enforces network policies, and say so by network_policies: enforced",
			"nobody says that network policies are enforced, so sessions may reach more than they should")
	}
	if slices.Contains(lacks, right{"", "pods", "create"}) {
		return out, nil // pods cannot be asked about
	}
	more, err := k.pods(ctx, s)
	return append(out, more...), err
}

// pods asks the API server to make two pods that it does not keep: one that it must take, and one that is within every
// pod security standard but the restricted one.
func (k *Keeper) pods(ctx context.Context, s Spec) ([]Finding, error) {
	f := func(w Weight, remedy, what string, args ...any) []Finding {
		return []Finding{{w, s.Namespace, fmt.Sprintf(what, args...), remedy}}
	}
	err := k.try(ctx, probe(s, true))
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch {
	case err == nil:
	case apierrors.IsNotFound(err):
		return f(Missing, "make it by the chart, or let the spoke do it (namespaces.manage)", "it does not exist"), nil
	case apierrors.IsForbidden(err) && strings.Contains(text, "error looking up service account"):
		return f(Missing, "make it by the chart", "there is no service account %s", s.ServiceAccount), nil
	case apierrors.IsForbidden(err) && strings.Contains(text, "being terminated"):
		return f(Missing, "wait until it is gone, then make it anew", "it is being deleted"), nil
	case apierrors.IsForbidden(err) && strings.Contains(text, "exceeded quota"):
		// Full is not wrong, and what is wrong with the pods that do not fit cannot be asked.
		return f(Unknown, "look again when sessions have ended, or raise the quota", "its quota is used up: %s", text), nil
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return f(Missing, "mend what the API server's answer names: a policy, a webhook or a limit of this namespace", "a restricted pod is refused: %s", text), nil
	default:
		return nil, failed("check namespace "+s.Namespace, err, "")
	}
	switch err := k.try(ctx, probe(s, false)); {
	case err == nil:
		return f(Unsafe, "label the namespace "+labelSecurity+"enforce="+restricted, "pods beyond the restricted standard are taken"), nil
	case apierrors.IsForbidden(err):
		return nil, nil
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return f(Unknown, "label the namespace "+labelSecurity+"enforce="+restricted, "whether the restricted standard is enforced cannot be asked: %s", err), nil
	default:
		return nil, failed("check namespace "+s.Namespace, err, "")
	}
}

// try asks to create a pod and keeps nothing.
func (k *Keeper) try(ctx context.Context, p *corev1.Pod) error {
	u, err := configuration(p)
	if err != nil {
		return err
	}
	_, err = k.client.create(ctx, u, true)
	return err
}

// probe is the smallest pod of a session, or one that does not say that it is not root.
func probe(s Spec, within bool) *corev1.Pod {
	yes, no := true, false
	p := &corev1.Pod{
		TypeMeta: kind("v1", "Pod"), ObjectMeta: metav1.ObjectMeta{Name: "nave-self-test", Namespace: s.Namespace},
		Spec: corev1.PodSpec{
			ServiceAccountName: s.ServiceAccount, AutomountServiceAccountToken: &no, RestartPolicy: corev1.RestartPolicyNever,
			SecurityContext: &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{
				Name: "harness", Image: "nave.invalid/self-test",
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1m"), corev1.ResourceMemory: resource.MustParse("1Mi")},
					Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Mi")},
				},
			}},
		},
	}
	if within {
		p.Spec.SecurityContext.RunAsNonRoot = &yes
	}
	return p
}

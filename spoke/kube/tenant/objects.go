package tenant

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Manager is the field manager under which the spoke applies objects, and the value of the label that says so.
const Manager = "nave-spoke"

// Labels and annotations of a namespace.
const (
	LabelOrganization = "nave.dev/organization"        // whose sessions run in the namespace
	LabelCluster      = "nave.dev/cluster"             // id of the cluster whose spoke keeps the namespace
	LabelManagedBy    = "app.kubernetes.io/managed-by" // Manager where the spoke keeps the namespace
	LabelPartOf       = "app.kubernetes.io/part-of"    // nave
	AnnotationAdopt   = "nave.dev/adopt"               // name of the organization whose spoke may take over the namespace
	labelSecurity     = "pod-security.kubernetes.io/"  // enforce, warn, audit
	restricted        = "restricted"                   // the standard that all pods are held by
)

// BudgetTurns is the disruption budget of pods in which a turn runs.
const BudgetTurns = "nave-session-turns"

// Labels of pods, as the runtime writes them.
const (
	LabelTurn = "nave.dev/turn" // on the pod of a session while a turn runs
	TurnRuns  = "running"
	labelApp  = "app.kubernetes.io/name" // nave-session
)

// Objects are what belongs into the namespace, in the order in which it is to be made. What is empty is left out, but where the
// spoke manages the namespace: there it takes the place of what was before.
func Objects(s Spec) ([]runtime.Object, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	s = s.withDefaults()
	policies, err := s.policies()
	if err != nil {
		return nil, err
	}
	out := []runtime.Object{s.namespace()}
	out = append(out, s.rights()...)
	out = append(out, policies...)
	if q := s.quota(); s.Manage || len(q.Spec.Hard) > 0 {
		out = append(out, q)
	}
	if l := s.limits(); s.Manage || len(l.Spec.Limits) > 0 {
		out = append(out, l)
	}
	return append(out, s.budget(), s.serviceAccount()), nil
}

// labels are those of every object.
func (s Spec) labels() map[string]string {
	l := map[string]string{LabelPartOf: "nave"}
	if s.Manage {
		l[LabelManagedBy] = Manager
	}
	return l
}

func (s Spec) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: s.Namespace, Labels: s.labels()}
}

func (s Spec) namespace() *corev1.Namespace {
	meta := metav1.ObjectMeta{Name: s.Namespace, Labels: s.labels()}
	meta.Labels[LabelOrganization] = string(s.Organization)
	if s.Manage {
		meta.Labels[LabelCluster] = s.Cluster
	}
	for _, mode := range []string{"enforce", "warn", "audit"} {
		meta.Labels[labelSecurity+mode] = restricted
		if s.Manage {
			meta.Labels[labelSecurity+mode+"-version"] = "latest" // as without it, but held against an older one
		}
	}
	return &corev1.Namespace{TypeMeta: kind("v1", "Namespace"), ObjectMeta: meta}
}

func (s Spec) serviceAccount() *corev1.ServiceAccount {
	no := false
	a := &corev1.ServiceAccount{TypeMeta: kind("v1", "ServiceAccount"), ObjectMeta: s.meta(s.ServiceAccount), AutomountServiceAccountToken: &no}
	for _, name := range s.PullSecrets {
		a.ImagePullSecrets = append(a.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	return a
}

// budget forbids to evict a pod while a turn runs in it: the spoke labels it as long. More pods than there can be must stay available; a
// share of them cannot be said, because no controller says how many there should be. What is not ready runs no turn and may go.
func (s Spec) budget() *policyv1.PodDisruptionBudget {
	all, always := intstr.FromInt32(math.MaxInt32), policyv1.AlwaysAllow
	return &policyv1.PodDisruptionBudget{
		TypeMeta: kind("policy/v1", "PodDisruptionBudget"), ObjectMeta: s.meta(BudgetTurns),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: &all, UnhealthyPodEvictionPolicy: &always,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{labelApp: DefaultServiceAccount, LabelTurn: TurnRuns}},
		},
	}
}

func (s Spec) quota() *corev1.ResourceQuota {
	return &corev1.ResourceQuota{
		TypeMeta: kind("v1", "ResourceQuota"), ObjectMeta: s.meta(DefaultServiceAccount),
		Spec: corev1.ResourceQuotaSpec{Hard: resources(map[corev1.ResourceName]Amount{
			corev1.ResourceRequestsCPU: s.Quota.CPU, corev1.ResourcePods: s.Quota.Pods, corev1.ResourceRequestsStorage: s.Quota.Storage,
			corev1.ResourceRequestsMemory: s.Quota.Memory, corev1.ResourceLimitsMemory: s.Quota.Memory,
		})},
	}
}

func (s Spec) limits() *corev1.LimitRange {
	item := corev1.LimitRangeItem{
		Type:           corev1.LimitTypeContainer,
		Default:        resources(map[corev1.ResourceName]Amount{corev1.ResourceCPU: s.Limits.CPU, corev1.ResourceMemory: s.Limits.Memory}),
		DefaultRequest: resources(map[corev1.ResourceName]Amount{corev1.ResourceCPU: s.Limits.CPURequest, corev1.ResourceMemory: s.Limits.MemoryRequest}),
	}
	l := &corev1.LimitRange{TypeMeta: kind("v1", "LimitRange"), ObjectMeta: s.meta(DefaultServiceAccount), Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{}}}
	if len(item.Default)+len(item.DefaultRequest) > 0 {
		l.Spec.Limits = append(l.Spec.Limits, item)
	}
	return l
}

// resources are those of the amounts that are not empty. They were checked.
func resources(amounts map[corev1.ResourceName]Amount) corev1.ResourceList {
	list := make(corev1.ResourceList)
	for name, amount := range amounts {
		if amount != "" {
			list[name] = resource.MustParse(string(amount))
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list
}

func kind(version, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: version, Kind: kind}
}

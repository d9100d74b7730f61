package tenant

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/nave-dev/nave/api"
)

// Names of roles. The cluster roles exist where a spoke manages namespaces, and are bound in those alone.
const (
	RoleSpoke    = "nave-spoke"          // in a namespace: the Role that an operator makes, or the binding that the spoke makes
	RoleSessions = "nave-spoke-sessions" // cluster role of Rules
	RoleTenant   = "nave-spoke-tenant"   // cluster role of what the rest of Objects takes
)

// Rules are the rights that a spoke needs in a namespace of sessions, and nothing beyond.
func Rules() []rbacv1.PolicyRule {
	life := []string{"create", "get", "list", "watch", "patch", "delete"}
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps", "pods", "persistentvolumeclaims"}, Verbs: life},
		{APIGroups: []string{""}, Resources: []string{"pods/log"}, Verbs: []string{"get"}},
		{APIGroups: []string{""}, Resources: []string{"resourcequotas"}, Verbs: []string{"get", "list"}},
	}
}

// keeping are the verbs of server-side apply.
var keeping = []string{"create", "get", "patch"}

// tenantRules are the rights to the rest of what belongs into a namespace.
func tenantRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"serviceaccounts", "resourcequotas", "limitranges"}, Verbs: keeping},
		{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"networkpolicies"}, Verbs: keeping},
		{APIGroups: []string{"policy"}, Resources: []string{"poddisruptionbudgets"}, Verbs: keeping},
	}
}

// managingRules are the rights that a spoke needs in the whole cluster to make namespaces.
func managingRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"create", "get", "list", "patch"}},
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"rolebindings"}, Verbs: keeping},
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterroles"}, ResourceNames: []string{RoleSessions, RoleTenant}, Verbs: []string{"bind"}},
	}
}

// rights are the spoke's in the namespace. The first binding lets it make the rest.
func (s Spec) rights() []runtime.Object {
	if s.Manage {
		return []runtime.Object{s.bind(RoleTenant, "ClusterRole", RoleTenant), s.bind(RoleSpoke, "ClusterRole", RoleSessions)}
	}
	role := &rbacv1.Role{TypeMeta: kind(rbacv1.SchemeGroupVersion.String(), "Role"), ObjectMeta: s.meta(RoleSpoke), Rules: Rules()}
	return []runtime.Object{role, s.bind(RoleSpoke, "Role", RoleSpoke)}
}

func (s Spec) bind(name, of, role string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		TypeMeta: kind(rbacv1.SchemeGroupVersion.String(), "RoleBinding"), ObjectMeta: s.meta(name),
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: of, Name: role},
		Subjects: subjects(s.SpokeNamespace, s.SpokeServiceAccount),
	}
}

func subjects(namespace, account string) []rbacv1.Subject {
	return []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account}}
}

// Managing says which spoke manages namespaces in a cluster.
type Managing struct {
	Name                string // of what is only this spoke's in the whole cluster
	SpokeNamespace      string
	SpokeServiceAccount string
	Prefix              string // of the names of namespaces that it makes
}

// ClusterObjects are what the spoke needs in the whole cluster to manage namespaces. They are for an operator, or a chart, to make.
func ClusterObjects(m Managing) ([]runtime.Object, error) {
	if m.Name == "" || m.SpokeNamespace == "" || m.SpokeServiceAccount == "" || m.Prefix == "" {
		return nil, api.Invalid("managing", "name, spoke_namespace, spoke_service_account and prefix are all required")
	}
	role := func(name string, rules ...rbacv1.PolicyRule) runtime.Object {
		return &rbacv1.ClusterRole{
			TypeMeta: kind(rbacv1.SchemeGroupVersion.String(), "ClusterRole"), Rules: rules,
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{LabelPartOf: "nave"}},
		}
	}
	return append([]runtime.Object{
		role(RoleSessions, Rules()...),
		role(RoleTenant, tenantRules()...),
		role(m.Name, managingRules()...),
		&rbacv1.ClusterRoleBinding{
			TypeMeta:   kind(rbacv1.SchemeGroupVersion.String(), "ClusterRoleBinding"),
			ObjectMeta: metav1.ObjectMeta{Name: m.Name, Labels: map[string]string{LabelPartOf: "nave"}},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: m.Name},
			Subjects:   subjects(m.SpokeNamespace, m.SpokeServiceAccount),
		},
	}, m.guard()...), nil
}

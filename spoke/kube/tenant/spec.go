package tenant

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/nave-dev/nave/api"
)

// Spec says what one organization has in a cluster.
type Spec struct {
	Organization api.OrgID
	Namespace    string // of its sessions
	Cluster      string // id of the cluster, lower case: by it a spoke that starts finds the namespaces that it made. Required with Manage

	SpokeNamespace      string            // where the spoke itself runs
	SpokeServiceAccount string            // that the spoke runs as
	SpokePort           int32             // on which the spoke's pods listen for harnesses
	SpokeLabels         map[string]string // of the spoke's pods

	ServiceAccount string // of sessions; default nave-session
	Template

	EgressCIDRs []string // that sessions may reach

	PoliciesEnforced bool // the operator says that the network plugin does what policies say
	Manage           bool // the spoke makes and keeps the namespace; otherwise an operator does
}

// DefaultServiceAccount is that of sessions.
const DefaultServiceAccount = "nave-session"

// withDefaults fills in what is empty.
func (s Spec) withDefaults() Spec {
	if s.ServiceAccount == "" {
		s.ServiceAccount = DefaultServiceAccount
	}
	return s
}

// Validate checks a spec. The error names the field.
func (s Spec) Validate() error {
	s = s.withDefaults()
	for _, name := range []struct {
		field, value string
		check        func(string) []string
	}{
		{"organization", string(s.Organization), labelValue},
		{"namespace", s.Namespace, validation.IsDNS1123Label},
		{"spoke_namespace", s.SpokeNamespace, validation.IsDNS1123Label},
		{"spoke_service_account", s.SpokeServiceAccount, validation.IsDNS1123Subdomain},
		{"service_account", s.ServiceAccount, validation.IsDNS1123Subdomain},
	} {
		if wrong := name.check(name.value); len(wrong) > 0 {
			return api.Invalid(name.field, "%q: %s", name.value, strings.Join(wrong, "; "))
		}
	}
	switch {
	case s.Namespace == s.SpokeNamespace:
		return api.Invalid("namespace", "%q is the namespace of the spoke itself, which sessions must not share: use another", s.Namespace)
	case foreign(s.Namespace):
		return api.Invalid("namespace", "%q belongs to Kubernetes: use another", s.Namespace)
	case s.SpokePort < 1 || s.SpokePort > 65535:
		return api.Invalid("spoke_port", "%d is no port: use 1 to 65535", s.SpokePort)
	case s.Manage && (s.Cluster == "" || len(validation.IsValidLabelValue(s.Cluster)) > 0 || s.Cluster != strings.ToLower(s.Cluster)):
		return api.Invalid("cluster", "%q: want the id of the cluster in lower case, or a spoke that starts again would not find the namespace", s.Cluster)
	case len(s.SpokeLabels) == 0:
		return api.Invalid("spoke_labels", "are required: without them sessions could reach every pod of %s", s.SpokeNamespace)
	}
	for key, value := range s.SpokeLabels {
		if wrong := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...); len(wrong) > 0 {
			return api.Invalid("spoke_labels", "%s=%s: %s", key, value, strings.Join(wrong, "; "))
		}
	}
	return s.Template.Validate(s.EgressCIDRs)
}

// labelValue checks a value that is not empty.
func labelValue(value string) []string {
	if value == "" {
		return []string{"must not be empty"}
	}
	return validation.IsValidLabelValue(value)
}

// foreign tells whether a namespace belongs to Kubernetes.
func foreign(namespace string) bool {
	return namespace == corev1.NamespaceDefault || strings.HasPrefix(namespace, "kube-")
}

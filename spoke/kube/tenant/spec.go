package tenant

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
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

	ServiceAccount string   // of sessions; default nave-session
	PullSecrets    []string // names of secrets of the namespace with credentials for the images of agents

	Quota  Quota
	Limits Limits

	EgressCIDRs  []string // that sessions may reach
	APIServers   []string // addresses or ranges of the API server, of its service too: never reached. Required with EgressCIDRs
	ClusterCIDRs []string // of pods and services: never reached through EgressCIDRs; may be left out

	PoliciesEnforced bool // the operator says that the network plugin does what policies say
	Manage           bool // the spoke makes and keeps the namespace; otherwise an operator does
}

// Quota is what the sessions may take together. Empty: no limit of that kind.
type Quota struct {
	CPU     string // requested, as "16"
	Memory  string // requested and allowed, as "64Gi"
	Pods    string // as "200"
	Storage string // requested by claims, as "1Ti"
}

// Limits is what a container gets that says nothing of it. Empty: nothing of that kind.
type Limits struct {
	CPU           string // that it may use
	Memory        string
	CPURequest    string // that is set aside for it
	MemoryRequest string
}

// DefaultServiceAccount is that of sessions.
const DefaultServiceAccount = "nave-session"

// Never are the addresses that no session reaches: those where clouds tell a machine its credentials.
var Never = []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fd00:ec2::254/128")}

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
	case len(s.EgressCIDRs) > 0 && len(s.APIServers) == 0:
		return api.Invalid("api_servers", "is empty, and egress lets sessions out: name the API server's addresses, which sessions must never reach")
	}
	for i, name := range s.PullSecrets {
		if wrong := validation.IsDNS1123Subdomain(name); len(wrong) > 0 {
			return api.Invalid(fmt.Sprintf("pull_secrets[%d]", i), "%q: %s", name, strings.Join(wrong, "; "))
		}
	}
	for key, value := range s.SpokeLabels {
		if wrong := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...); len(wrong) > 0 {
			return api.Invalid("spoke_labels", "%s=%s: %s", key, value, strings.Join(wrong, "; "))
		}
	}
	for field, value := range map[string]string{
		"quota.cpu": s.Quota.CPU, "quota.memory": s.Quota.Memory, "quota.pods": s.Quota.Pods, "quota.storage": s.Quota.Storage,
		"limits.cpu": s.Limits.CPU, "limits.memory": s.Limits.Memory, "limits.cpu_request": s.Limits.CPURequest, "limits.memory_request": s.Limits.MemoryRequest,
	} {
		if q, err := resource.ParseQuantity(value); value != "" && (err != nil || q.Sign() < 0) {
			return api.Invalid(field, "%q is no quantity: use one as 500m, 4, 2Gi", value)
		}
	}
	_, err := s.ranges()
	return err
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

// cidr is a range that sessions may reach but for the exceptions within it.
type cidr struct {
	reach  netip.Prefix
	except []string
}

// ranges returns what sessions may reach. An API server takes exceptions only where they lie within the range.
func (s Spec) ranges() ([]cidr, error) {
	var never []netip.Prefix
	for field, list := range map[string][]string{"api_servers": s.APIServers, "cluster_cidrs": s.ClusterCIDRs} {
		for i, text := range list {
			if _, err := prefix(text); err != nil {
				return nil, api.Invalid(fmt.Sprintf("%s[%d]", field, i), "%s", err)
			}
		}
	}
	for _, text := range slices.Concat(s.APIServers, s.ClusterCIDRs) {
		p, _ := prefix(text) // checked above
		never = append(never, p)
	}
	never = append(never, Never...)
	var out []cidr
	for i, text := range s.EgressCIDRs {
		reach, err := prefix(text)
		if err != nil {
			return nil, api.Invalid(fmt.Sprintf("egress[%d]", i), "%s", err)
		}
		c := cidr{reach: reach}
		for _, n := range never {
			switch inside := n.String(); {
			case !n.Overlaps(reach):
			case n.Bits() <= reach.Bits():
				return nil, api.Invalid(fmt.Sprintf("egress[%d]", i), "%s lies in %s, which no session may reach: leave it out", reach, n)
			case !slices.Contains(c.except, inside):
				c.except = append(c.except, inside)
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// prefix reads a range, or an address as a range of one.
func prefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%q is no range of addresses: use one as 10.0.0.0/8", text)
	case p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q is a range of IPv4 in the form of IPv6: use the form of IPv4", text)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits beyond its length: use %s", text, p.Masked())
	}
	return p, nil
}

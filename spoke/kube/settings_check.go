package kube

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/nave-dev/nave/api"
)

func (s *Settings) checkPlaces() error {
	host, port, err := net.SplitHostPort(s.Service)
	if n, perr := strconv.Atoi(port); err != nil || perr != nil || host == "" || strings.ContainsAny(host, " /") || n < 1 || n > 65535 {
		return api.Invalid("service", "%.100q: want the host:port at which pods reach the spoke", s.Service)
	}
	seen := map[string]api.OrgID{}
	for _, org := range slices.Sorted(maps.Keys(s.Namespaces.Organizations)) {
		ns, f := s.Namespaces.Organizations[org], fmt.Sprintf("namespaces.organizations[%.60s]", org)
		if org == "" || len(org) > 63 {
			return api.Invalid("namespaces.organizations", "%.60q is not the id of an organization", org)
		}
		if problems := validation.IsDNS1123Label(ns); len(problems) > 0 {
			return api.Invalid(f, "%.60q is not a namespace: %s", ns, problems[0])
		}
		if other, taken := seen[ns]; taken {
			return api.Invalid(f, "namespace %q is that of organization %q: give each its own", ns, other)
		}
		seen[ns] = org
	}
	if problems := validation.IsDNS1123Label(s.Namespaces.Prefix + "x"); len(problems) > 0 {
		return api.Invalid("namespaces.prefix", "%.60q is not the beginning of a namespace: %s", s.Namespaces.Prefix, problems[0])
	}
	if len(s.Namespaces.Organizations) == 0 && !s.Namespaces.Manage {
		return api.Invalid("namespaces.organizations", "is empty: give the namespace of at least one organization, or set namespaces.manage")
	}
	return nil
}

// checkTemplate checks what the namespaces have that the spoke makes, and whether sessions in them may reach what egress names.
func (s *Settings) checkTemplate() error {
	if !s.Namespaces.Manage {
		if !reflect.ValueOf(s.Namespaces.Template).IsZero() {
			return api.Invalid("namespaces.template", "says what namespaces have that the spoke makes, and it makes none: set namespaces.manage, or leave it out")
		}
		return nil
	}
	err := s.Namespaces.Template.Validate(s.Egress)
	if f := api.FieldOf(err); f != "" && !strings.HasPrefix(f, "egress[") {
		return &api.Error{Code: api.CodeOf(err), Field: "namespaces.template." + f, Err: errors.Unwrap(err)}
	}
	return err
}

func (s *Settings) checkPods() error {
	if !isImage(s.Harness.Image) {
		return api.Invalid("harness.image", "%.100q is not an image reference: give the image that has the program nave-harness", s.Harness.Image)
	}
	switch s.Harness.Delivery {
	case DeliveryAuto, DeliveryVolume, DeliveryInit:
	default:
		return api.Invalid("harness.delivery", "%.60q: want %s, %s or %s", s.Harness.Delivery, DeliveryAuto, DeliveryVolume, DeliveryInit)
	}
	if s.Pods.Image != "" && !isImage(s.Pods.Image) {
		return api.Invalid("pods.image", "%.100q is not an image reference", s.Pods.Image)
	}
	if s.Pods.User < 1 || s.Pods.User > 1<<31-1 {
		return api.Invalid("pods.user", "%d: want the number of a user that is not root", s.Pods.User)
	}
	if problems := validation.IsDNS1123Subdomain(s.Pods.ServiceAccount); len(problems) > 0 {
		return api.Invalid("pods.service_account", "%.60q: %s", s.Pods.ServiceAccount, problems[0])
	}
	switch s.Pods.PullPolicy {
	case corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		return api.Invalid("pods.pull_policy", "%.60q: want Always, IfNotPresent or Never", s.Pods.PullPolicy)
	}
	for field, m := range map[string]map[string]string{"pods.labels": s.Pods.Labels, "pods.node_selector": s.Pods.NodeSelector, "pods.annotations": s.Pods.Annotations} {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if problems := validation.IsQualifiedName(k); len(problems) > 0 {
				return api.Invalid(field, "%.60q: %s", k, problems[0])
			}
			if field == "pods.annotations" {
				continue
			}
			if problems := validation.IsValidLabelValue(m[k]); len(problems) > 0 {
				return api.Invalid(field, "%.60q: %s", k, problems[0])
			}
		}
	}
	for _, m := range []map[string]string{s.Pods.Labels, s.Pods.Annotations} {
		for k := range m {
			if strings.HasPrefix(k, "nave.dev/") || k == LabelName || k == LabelManager {
				return api.Invalid("pods.labels", "%.60q is set by Nave: leave it out", k)
			}
		}
	}
	return nil
}

func (s *Settings) checkSizes() error {
	for _, name := range slices.Sorted(maps.Keys(s.Flavors)) {
		if err := api.ValidateName("flavors", name); err != nil {
			return err
		}
		f := s.Flavors[name]
		if err := f.check("flavors." + name); err != nil {
			return err
		}
		if f.Count < 0 || f.Count > 1_000_000 {
			return api.Invalid("flavors."+name+".count", "%d: want 0 to 1000000", f.Count)
		}
	}
	return s.Sidecar.check("sidecar")
}

func (f Flavor) check(field string) error {
	for _, q := range []struct {
		name     string
		value    *resource.Quantity
		required bool
	}{{"cpu", f.CPU, true}, {"memory", f.Memory, true}, {"cpu_limit", f.CPULimit, false}, {"ephemeral_storage", f.EphemeralStorage, false}} {
		switch {
		case q.value == nil && q.required:
			return api.Invalid(field+"."+q.name, "is missing: give a quantity such as 500m or 512Mi")
		case q.value != nil && q.value.Sign() <= 0:
			return api.Invalid(field+"."+q.name, "%s: want more than nothing", q.value)
		}
	}
	if f.CPULimit != nil && f.CPULimit.Cmp(*f.CPU) < 0 {
		return api.Invalid(field+".cpu_limit", "%s is below the %s that are asked for", f.CPULimit, f.CPU)
	}
	return nil
}

func (s *Settings) checkOffers() error {
	for field, names := range map[string][]string{"runtime_classes": s.RuntimeClasses, "storage_classes": s.StorageClasses} {
		for i, n := range names {
			if problems := validation.IsDNS1123Subdomain(n); len(problems) > 0 {
				return api.Invalid(fmt.Sprintf("%s[%d]", field, i), "%.60q: %s", n, problems[0])
			}
		}
	}
	if d := time.Duration(s.StartLimit); d < 10*time.Second || d > 24*time.Hour {
		return api.Invalid("start_limit", "%v: want 10s to 24h", d)
	}
	if s.NetworkPolicies != PoliciesEnforced && s.NetworkPolicies != PoliciesUnknown {
		return api.Invalid("network_policies", "%.60q: want %s or %s", s.NetworkPolicies, PoliciesEnforced, PoliciesUnknown)
	}
	for i, c := range s.Egress {
		if p, err := netip.ParsePrefix(c); err != nil || p != p.Masked() {
			return api.Invalid(fmt.Sprintf("egress[%d]", i), "%.60q: want a network such as 10.0.0.0/8", c)
		}
	}
	return nil
}

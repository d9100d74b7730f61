package kube

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/nave-dev/nave/api"
)

// Settings are what the operator of a cluster says of sessions in it. [ReadSettings] fills in the defaults.
type Settings struct {
	Service         string            `json:"service"`    // host:port that harnesses dial; required
	Namespaces      Namespaces        `json:"namespaces"` // where sessions live
	Harness         Harness           `json:"harness"`    // how the harness comes into a pod
	Pods            Pods              `json:"pods"`
	Flavors         map[string]Flavor `json:"flavors"`          // compute sizes that are offered; default small, medium and large
	Sidecar         Flavor            `json:"sidecar"`          // size of the container of one tool server; default cpu 50m, memory 256Mi
	RuntimeClasses  []string          `json:"runtime_classes"`  // that environments may name; default none
	StorageClasses  []string          `json:"storage_classes"`  // that volumes may name; default none, which leaves the cluster's default
	StartLimit      Duration          `json:"start_limit"`      // a pod that has not started within it is given up; default 5m, 10s to 24h
	NetworkPolicies string            `json:"network_policies"` // enforced | unknown: what the operator says of the network plugin; default unknown
	Egress          []string          `json:"egress"`           // CIDRs that sessions may reach
}

// Namespaces says where sessions live.
type Namespaces struct {
	Organizations map[api.OrgID]string `json:"organizations"` // organization -> namespace of its sessions
	Manage        bool                 `json:"manage"`        // namespaces of other organizations are made
	Prefix        string               `json:"prefix"`        // of the names of those; default "nave-"
}

// Delivery is how the harness comes into a pod.
type Delivery string

// The ways of delivery.
const (
	DeliveryAuto   Delivery = "auto"           // an image volume where every supported cluster has them, else an init container
	DeliveryVolume Delivery = "image-volume"   // needs Kubernetes 1.36 and a container runtime that can mount images
	DeliveryInit   Delivery = "init-container" // works everywhere; a pod starts up to a second later
)

// Harness says how the harness comes into a pod.
type Harness struct {
	Image    string   `json:"image"`    // has the program at /nave-harness; required
	Delivery Delivery `json:"delivery"` // default auto
}

// Pods is what all pods have in common.
type Pods struct {
	Image          string              `json:"image"`           // of environments that name none; empty refuses those
	User           int64               `json:"user"`            // of all containers, also their group; default 65532, not 0
	ServiceAccount string              `json:"service_account"` // in the namespace of the sessions; default nave-session
	PullPolicy     corev1.PullPolicy   `json:"pull_policy"`     // Always | IfNotPresent | Never; default IfNotPresent
	NodeSelector   map[string]string   `json:"node_selector"`
	Tolerations    []corev1.Toleration `json:"tolerations"`
	Labels         map[string]string   `json:"labels"` // none that begins with nave.dev/
	Annotations    map[string]string   `json:"annotations"`
}

// Flavor is a compute size.
type Flavor struct {
	CPU              *resource.Quantity `json:"cpu"`               // asked for; required
	CPULimit         *resource.Quantity `json:"cpu_limit"`         // default none
	Memory           *resource.Quantity `json:"memory"`            // asked for, and the limit; required
	EphemeralStorage *resource.Quantity `json:"ephemeral_storage"` // asked for, and the limit; default none
	Count            int                `json:"count"`             // how many workloads of it fit at all
}

// Duration is a time.Duration that is written as text.
type Duration time.Duration

// UnmarshalJSON implements [encoding/json.Unmarshaler].
func (d *Duration) UnmarshalJSON(b []byte) error {
	text, err := strconv.Unquote(string(b))
	if err != nil {
		return fmt.Errorf("%s: write a duration as \"5m\"", b)
	}
	v, err := time.ParseDuration(text)
	*d = Duration(v)
	return err
}

// MarshalJSON implements [encoding/json.Marshaler].
func (d Duration) MarshalJSON() ([]byte, error) {
	return strconv.AppendQuote(nil, time.Duration(d).String()), nil
}

// The values of network_policies.
const (
	PoliciesEnforced = "enforced"
	PoliciesUnknown  = "unknown"
)

// ReadSettings reads a file. A field that is not known is refused.
func ReadSettings(path string) (Settings, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Settings{}, fmt.Errorf("read the settings of the Kubernetes runtime: %w", err)
	}
	s, err := parseSettings(b)
	if err != nil {
		return Settings{}, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func parseSettings(b []byte) (Settings, error) {
	var s Settings
	if err := yaml.UnmarshalStrict(b, &s); err != nil {
		return Settings{}, &api.Error{Code: api.CodeInvalid, Err: err}
	}
	return s, s.complete()
}

// complete fills in the defaults and checks everything.
func (s *Settings) complete() error {
	or(&s.Namespaces.Prefix, "nave-")
	or(&s.Harness.Delivery, DeliveryAuto)
	or(&s.Pods.User, 65532)
	or(&s.Pods.ServiceAccount, nameSession)
	or(&s.Pods.PullPolicy, corev1.PullIfNotPresent)
	or(&s.StartLimit, Duration(5*time.Minute))
	or(&s.NetworkPolicies, PoliciesUnknown)
	if len(s.Flavors) == 0 {
		s.Flavors = map[string]Flavor{"small": size("500m", "512Mi", 20), "medium": size("1", "2Gi", 8), "large": size("2", "8Gi", 2)}
	}
	if s.Sidecar.CPU == nil && s.Sidecar.Memory == nil {
		of := size("50m", "256Mi", 0)
		s.Sidecar.CPU, s.Sidecar.Memory = of.CPU, of.Memory
	}
	for _, check := range []func() error{s.checkPlaces, s.checkPods, s.checkSizes, s.checkOffers} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func or[T comparable](at *T, value T) {
	var zero T
	if *at == zero {
		*at = value
	}
}

func size(cpu, memory string, count int) Flavor {
	c, m := resource.MustParse(cpu), resource.MustParse(memory)
	return Flavor{CPU: &c, Memory: &m, Count: count}
}

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

func isImage(s string) bool {
	return s != "" && len(s) <= 512 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// namespace is where sessions of an organization live; false when they have no place here.
func (s *Settings) namespace(org api.OrgID) (string, bool) {
	if ns, ok := s.Namespaces.Organizations[org]; ok {
		return ns, true
	}
	ns := s.Namespaces.Prefix + strings.ToLower(string(org))
	return ns, s.Namespaces.Manage && len(validation.IsDNS1123Label(ns)) == 0
}

package kube

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/kube/tenant"
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
	Template      tenant.Template      `json:"template"`      // what those have alike; default nothing but what every namespace has
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
	for _, check := range []func() error{s.checkPlaces, s.checkTemplate, s.checkPods, s.checkSizes, s.checkOffers} {
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

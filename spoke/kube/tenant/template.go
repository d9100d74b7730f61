package tenant

import (
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/nave-dev/nave/api"
)

// Template is what the namespaces of all organizations of a cluster have alike.
type Template struct {
	PullSecrets  []string `json:"pull_secrets"`  // names of secrets with credentials for the images of agents, which somebody puts into each namespace: the spoke may not
	Quota        Quota    `json:"quota"`         // what the sessions of an organization may take together
	Limits       Limits   `json:"limits"`        // what a container gets that says nothing of it
	APIServers   []string `json:"api_servers"`   // addresses or ranges of the API server, of its service too: never reached. Required with egress
	ClusterCIDRs []string `json:"cluster_cidrs"` // of nodes, pods and services: never reached through egress; may be left out
}

// Quota is what the sessions may take together. Empty: no limit of that kind.
type Quota struct {
	CPU     Amount `json:"cpu"`     // requested, as "16"
	Memory  Amount `json:"memory"`  // requested and allowed, as "64Gi"
	Pods    Amount `json:"pods"`    // as "200"
	Storage Amount `json:"storage"` // requested by claims, as "1Ti"
}

// Limits is what a container gets that says nothing of it. Empty: nothing of that kind.
type Limits struct {
	CPU           Amount `json:"cpu"` // that it may use
	Memory        Amount `json:"memory"`
	CPURequest    Amount `json:"cpu_request"` // that is set aside for it
	MemoryRequest Amount `json:"memory_request"`
}

// Amount is a quantity of Kubernetes, or nothing. In JSON it may be a number too.
type Amount string

// UnmarshalJSON implements [encoding/json.Unmarshaler].
func (a *Amount) UnmarshalJSON(b []byte) error {
	switch text := string(b); {
	case text == "null":
		*a = ""
	case strings.HasPrefix(text, `"`):
		s, err := strconv.Unquote(text)
		if err != nil {
			return fmt.Errorf("%.60s is no quantity: use one as 500m, 4, 2Gi", text)
		}
		*a = Amount(s)
	default:
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			return fmt.Errorf("%.60s is no quantity: use one as 500m, 4, 2Gi", text)
		}
		*a = Amount(text)
	}
	return nil
}

// howToFind is how an operator finds the addresses of the API server.
const howToFind = "`kubectl --namespace default get service/kubernetes endpointslice/kubernetes` shows them"

// Validate checks a template for sessions that may reach these ranges. The error names the field.
func (t Template) Validate(egress []string) error {
	for i, name := range t.PullSecrets {
		if wrong := validation.IsDNS1123Subdomain(name); len(wrong) > 0 {
			return api.Invalid(fmt.Sprintf("pull_secrets[%d]", i), "%.60q: %s", name, strings.Join(wrong, "; "))
		}
	}
	amounts := map[string]resource.Quantity{}
	for _, a := range []struct {
		field string
		value Amount
	}{
		{"quota.cpu", t.Quota.CPU}, {"quota.memory", t.Quota.Memory}, {"quota.pods", t.Quota.Pods}, {"quota.storage", t.Quota.Storage},
		{"limits.cpu", t.Limits.CPU}, {"limits.memory", t.Limits.Memory}, {"limits.cpu_request", t.Limits.CPURequest}, {"limits.memory_request", t.Limits.MemoryRequest},
	} {
		if a.value == "" {
			continue
		}
		q, err := resource.ParseQuantity(string(a.value))
		switch {
		case err != nil || q.Sign() < 0:
			return api.Invalid(a.field, "%.60q is no quantity: use one as 500m, 4, 2Gi", a.value)
		case a.field == "quota.pods" && q.MilliValue()%1000 != 0:
			return api.Invalid(a.field, "%.60q: want a whole number of pods", a.value)
		}
		amounts[a.field] = q
	}
	for _, of := range []string{"cpu", "memory"} {
		asked, has := amounts["limits."+of+"_request"]
		if most, bound := amounts["limits."+of]; has && bound && asked.Cmp(most) > 0 {
			return api.Invalid("limits."+of+"_request", "%s is above the %s that limits.%s lets it use", asked.String(), most.String(), of)
		}
	}
	if len(egress) > 0 && len(t.APIServers) == 0 {
		return api.Invalid("api_servers", "is empty, and egress lets sessions out: name the API server's addresses, which sessions must never reach; "+howToFind)
	}
	_, err := t.ranges(egress)
	return err
}

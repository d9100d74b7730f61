package main

import (
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/kube"
	"github.com/nave-dev/nave/spoke/kube/tenant"
)

// spokeLabels are those by which a spoke's pods are known, in the chart and to network policies.
var spokeLabels = map[string]string{"app.kubernetes.io/name": "nave-spoke"}

// spec is what belongs into the namespace of an organization that an operator made.
func (p *platform) spec(own string, org api.OrgID, namespace string) (tenant.Spec, error) {
	_, port, err := net.SplitHostPort(p.DoorListen)
	n, e := strconv.ParseUint(port, 10, 16)
	if err != nil || e != nil || n == 0 {
		return tenant.Spec{}, api.Invalid("--door-listen", "%q: want host:port with a port that network policies can name", p.DoorListen)
	}
	return tenant.Spec{Organization: org, Namespace: namespace, SpokeNamespace: own, SpokeServiceAccount: p.ServiceAccount, SpokePort: int32(n), SpokeLabels: spokeLabels,
		ServiceAccount: p.Settings.Pods.ServiceAccount, PoliciesEnforced: p.Settings.NetworkPolicies == kube.PoliciesEnforced}, nil
}

// managed is what belongs into the namespace of an organization that the spoke makes. The address at which the spoke itself reaches the
// API server is among those that sessions never reach, whoever forgot it.
func (p *platform) managed(access *rest.Config, own string, cluster api.ClusterID, org api.OrgID, namespace string) (tenant.Spec, error) {
	s, err := p.spec(own, org, namespace)
	if err != nil {
		return tenant.Spec{}, err
	}
	s.Manage, s.Cluster, s.Template, s.EgressCIDRs = true, strings.ToLower(string(cluster)), p.Settings.Namespaces.Template, p.Settings.Egress
	if at, ok := addressOf(access); ok && len(s.APIServers) > 0 {
		s.APIServers = append(slices.Clone(s.APIServers), at)
	}
	return s, nil
}

// addressOf is the address of the API server; false when it has a name.
func addressOf(access *rest.Config) (string, bool) {
	host := access.Host
	if u, err := url.Parse(host); err == nil && u.Host != "" {
		host = u.Hostname()
	} else if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	a, err := netip.ParseAddr(host)
	return host, err == nil && a.Zone() == "" && !a.IsLoopback()
}

// managing returns what makes the namespaces of organizations and looks after them; nil when an operator does.
func (p *platform) managing(access *rest.Config, own string, cluster api.ClusterID, log *slog.Logger) (*tenant.Caretaker, error) {
	if !p.Settings.Namespaces.Manage {
		return nil, nil
	}
	example := p.Settings.Namespaces.Prefix + "x"
	if example == own {
		example += "x"
	}
	s, err := p.managed(access, own, cluster, api.DefaultOrg, example)
	if err == nil {
		err = s.Validate()
	}
	if err != nil {
		return nil, err
	}
	keeper, err := tenant.New(tenant.Config{Rest: access, Log: log})
	if err != nil {
		return nil, err
	}
	return tenant.NewCaretaker(tenant.CaretakerConfig{Keeper: keeper, Cluster: s.Cluster, Log: log,
		Spec: func(org api.OrgID, namespace string) (tenant.Spec, error) {
			for _, operators := range p.Settings.Namespaces.Organizations {
				if operators == namespace {
					return tenant.Spec{}, api.Errorf(api.CodeNotFound, "%s is an operator's: namespaces.organizations names it", namespace)
				}
			}
			return p.managed(access, own, cluster, org, namespace)
		}})
}

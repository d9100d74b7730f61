package main

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/kube"
	"github.com/nave-dev/nave/spoke/kube/tenant"
)

// spokeLabels are those by which a spoke's pods are known, in the chart and to network policies.
var spokeLabels = map[string]string{"app.kubernetes.io/name": "nave-spoke"}

// spec is what belongs into the namespace of an organization in a cluster of this id; empty where it is not known, and the namespace an
// operator's.
func (p *platform) spec(own string, cluster api.ClusterID, org api.OrgID, namespace string) (tenant.Spec, error) {
	_, port, err := net.SplitHostPort(p.DoorListen)
	n, e := strconv.ParseUint(port, 10, 16)
	if err != nil || e != nil || n == 0 {
		return tenant.Spec{}, api.Invalid("--door-listen", "%q: want host:port with a port that network policies can name", p.DoorListen)
	}
	return tenant.Spec{Organization: org, Namespace: namespace, Cluster: strings.ToLower(string(cluster)), SpokeNamespace: own, SpokeServiceAccount: p.ServiceAccount, SpokePort: int32(n), SpokeLabels: spokeLabels,
		ServiceAccount: p.Settings.Pods.ServiceAccount, PoliciesEnforced: p.Settings.NetworkPolicies == kube.PoliciesEnforced, Manage: cluster != ""}, nil
}

// managing returns what makes the namespaces of organizations; nil when an operator makes them.
func (p *platform) managing(access *rest.Config, own string, cluster api.ClusterID, log *slog.Logger) (func(context.Context, api.OrgID, string) error, error) {
	if !p.Settings.Namespaces.Manage {
		return nil, nil
	}
	if len(p.Settings.Egress) > 0 {
		return nil, api.Invalid("egress", "is not possible together with namespaces.manage yet: nobody has said here which addresses the API server has, and sessions must not reach them; "+
			"make the namespaces by the chart, or leave egress out")
	}
	if _, err := p.spec(own, cluster, api.DefaultOrg, p.Settings.Namespaces.Prefix+"x"); err != nil {
		return nil, err
	}
	keeper, err := tenant.New(tenant.Config{Rest: access, Log: log})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, org api.OrgID, namespace string) error {
		s, err := p.spec(own, cluster, org, namespace)
		if err != nil {
			return err
		}
		return keeper.Apply(ctx, s)
	}, nil
}

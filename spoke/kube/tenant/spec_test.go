package tenant_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/spoke/kube/tenant"
)

func spec() tenant.Spec {
	return tenant.Spec{
		Organization: "acme", Namespace: "nave-acme", Cluster: "01j9z3t8k5m0n1p2q3r4s5t6v7",
		SpokeNamespace: "nave-system", SpokeServiceAccount: "nave-spoke", SpokePort: 7443,
		SpokeLabels: map[string]string{"app.kubernetes.io/name": "nave-spoke", "app.kubernetes.io/instance": "east"},
		EgressCIDRs: []string{"0.0.0.0/0", "::/0", "192.0.2.0/24"},
		Template: tenant.Template{
			PullSecrets: []string{"registry"},
			Quota:       tenant.Quota{CPU: "16", Memory: "64Gi", Pods: "200", Storage: "1Ti"},
			Limits:      tenant.Limits{CPU: "1", Memory: "256Mi", CPURequest: "50m", MemoryRequest: "128Mi"},
			APIServers:  []string{"10.96.0.1", "192.0.2.4/32"}, ClusterCIDRs: []string{"10.0.0.0/8"},
		},
	}
}

func TestWhatIsWrongWithASpec(t *testing.T) {
	if err := spec().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		field  string
		change func(*tenant.Spec)
		say    string
	}{
		{"organization", func(s *tenant.Spec) { s.Organization = "" }, "must not be empty"},
		{"organization", func(s *tenant.Spec) { s.Organization = "a b" }, "a b"},
		{"namespace", func(s *tenant.Spec) { s.Namespace = "Nave" }, "lower case"},
		{"namespace", func(s *tenant.Spec) { s.Namespace = "nave-system" }, "the spoke itself"},
		{"namespace", func(s *tenant.Spec) { s.Namespace = "default" }, "belongs to Kubernetes"},
		{"namespace", func(s *tenant.Spec) { s.Namespace = "kube-system" }, "belongs to Kubernetes"},
		{"spoke_namespace", func(s *tenant.Spec) { s.SpokeNamespace = "" }, ""},
		{"spoke_service_account", func(s *tenant.Spec) { s.SpokeServiceAccount = "" }, ""},
		{"service_account", func(s *tenant.Spec) { s.ServiceAccount = "A" }, ""},
		{"pull_secrets[0]", func(s *tenant.Spec) { s.PullSecrets = []string{"A"} }, "lower case"},
		{"cluster", func(s *tenant.Spec) { s.Manage, s.Cluster = true, "" }, "would not find the namespace"},
		{"cluster", func(s *tenant.Spec) { s.Manage, s.Cluster = true, "01J9" }, "lower case"},
		{"spoke_port", func(s *tenant.Spec) { s.SpokePort = 0 }, "1 to 65535"},
		{"spoke_labels", func(s *tenant.Spec) { s.SpokeLabels = nil }, "every pod of nave-system"},
		{"spoke_labels", func(s *tenant.Spec) { s.SpokeLabels = map[string]string{"a": "b c"} }, "b c"},
		{"quota.pods", func(s *tenant.Spec) { s.Quota.Pods = "many" }, "500m"},
		{"quota.cpu", func(s *tenant.Spec) { s.Quota.CPU = "-1" }, "500m"},
		{"quota.pods", func(s *tenant.Spec) { s.Quota.Pods = "1.5" }, "whole number"},
		{"limits.memory", func(s *tenant.Spec) { s.Limits.Memory = "1 GB" }, "2Gi"},
		{"limits.memory_request", func(s *tenant.Spec) { s.Limits.MemoryRequest = "257Mi" }, "above the 256Mi that limits.memory lets it use"},
		{"limits.cpu_request", func(s *tenant.Spec) { s.Limits.CPURequest = "1001m" }, "above the 1 that"},
		{"api_servers", func(s *tenant.Spec) { s.APIServers = []string{} }, "kubectl --namespace default get service/kubernetes endpointslice/kubernetes"},
		{"api_servers", func(s *tenant.Spec) { s.APIServers = nil }, "must never reach"},
		{"api_servers[1]", func(s *tenant.Spec) { s.APIServers[1] = "api.example.com" }, "no range of addresses"},
		{"cluster_cidrs[0]", func(s *tenant.Spec) { s.ClusterCIDRs = []string{"10.0.0.0/40"} }, "no range of addresses"},
		{"egress[2]", func(s *tenant.Spec) { s.EgressCIDRs[2] = "example.com" }, "10.0.0.0/8"},
		{"egress[2]", func(s *tenant.Spec) { s.EgressCIDRs[2] = "192.0.2.1/24" }, "use 192.0.2.0/24"},
		{"egress[2]", func(s *tenant.Spec) { s.EgressCIDRs[2] = "::ffff:192.0.2.0/120" }, "use the form of IPv4"},
		{"egress[2]", func(s *tenant.Spec) { s.EgressCIDRs[2] = "169.254.169.254/32" }, "169.254.0.0/16, which no session may reach"},
		{"egress[2]", func(s *tenant.Spec) { s.EgressCIDRs[2] = "fd00:ec2::254" }, "which no session may reach"},
		{"egress[2]", func(s *tenant.Spec) { s.EgressCIDRs[2] = "168.63.129.16" }, "168.63.129.16/32, which no session may reach"},
		{"egress[2]", func(s *tenant.Spec) { s.EgressCIDRs[2] = "10.96.0.1" }, "which no session may reach"},
		{"egress[2]", func(s *tenant.Spec) { s.EgressCIDRs[2] = "10.1.0.0/16" }, "10.0.0.0/8, which no session may reach"},
	} {
		s := spec()
		c.change(&s)
		err := s.Validate()
		if api.CodeOf(err) != api.CodeInvalid || api.FieldOf(err) != c.field || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%v, want %s of %s with %q", err, api.CodeInvalid, c.field, c.say)
		}
		if _, err := tenant.Objects(s); api.FieldOf(err) != c.field {
			t.Errorf("objects of a spec with a wrong %s: %v", c.field, err)
		}
	}
}

// TestNoSessionReachesWhatItMustNot judges the policies as a network plugin does, by addresses.
func TestNoSessionReachesWhatItMustNot(t *testing.T) {
	addresses := []netip.Addr{netip.MustParseAddr("169.254.169.254")}
	for _, v6 := range []string{"fd00:ec2::254", "fd00:ec2::253", "2001:db8::1", "2001:db8:1::1"} {
		addresses = append(addresses, netip.MustParseAddr(v6))
	}
	for _, a := range []byte{10, 169, 192} { // few bits, so that ranges and addresses meet
		for _, b := range []byte{0, 96, 254} {
			for d := range byte(4) {
				addresses = append(addresses, netip.AddrFrom4([4]byte{a, b, 0, d}))
			}
		}
	}
	within := func(least int) *rapid.Generator[netip.Prefix] {
		return rapid.Custom(func(t *rapid.T) netip.Prefix {
			a := rapid.SampledFrom(addresses).Draw(t, "address")
			p, _ := a.Prefix(rapid.IntRange(least, a.BitLen()).Draw(t, "bits")) // always valid
			return p
		})
	}
	reached, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		s := spec()
		text := func(name string, least, bits int) (texts []string, ranges []netip.Prefix) {
			ranges = rapid.SliceOfN(within(bits), least, 3).Draw(t, name)
			for _, p := range ranges {
				texts = append(texts, p.String())
			}
			return texts, ranges
		}
		var allow, api, cluster []netip.Prefix
		s.EgressCIDRs, allow = text("egress", 1, 0)
		s.APIServers, api = text("api servers", 1, 20)
		s.ClusterCIDRs, cluster = text("cluster", 0, 8)
		objects, err := tenant.Objects(s)
		if err != nil {
			refused++
			return
		}
		rules := egressOf(objects)
		for _, at := range addresses {
			in := func(ranges []netip.Prefix) bool {
				return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(at) })
			}
			want := in(allow) && !in(api) && !in(cluster) && !in(tenant.Never)
			if want {
				reached++
			}
			if got := reaches(t, rules, at); got != want {
				t.Fatalf("%v is reached: %v, want %v\nallowed %v\nAPI servers %v\ncluster %v", at, got, want, allow, api, cluster)
			}
		}
	})
	if reached < 100 || refused < 3 {
		t.Errorf("%d addresses were to be reached and %d specs refused: this shows little", reached, refused)
	}
}

// TestNoSessionReachesAMetadataAddress: those that clouds document are cut out of the widest ranges, and refused by themselves.
func TestNoSessionReachesAMetadataAddress(t *testing.T) {
	s := spec()
	s.EgressCIDRs, s.ClusterCIDRs = []string{"0.0.0.0/0", "::/0"}, nil
	objects, err := tenant.Objects(s)
	if err != nil {
		t.Fatal(err)
	}
	rules := egressOf(objects)
	for _, known := range []string{
		"169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.42.42", "169.254.0.23", "168.63.129.16", "100.100.100.200", "192.0.0.192",
		"fe80::a9fe:a9fe", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42", "fd00:a9fe:a9fe::1", "fd00:100::100:200",
	} {
		at := netip.MustParseAddr(known)
		if reaches(t, rules, at) {
			t.Errorf("%s is reached", known)
		}
		for _, near := range []netip.Addr{at.Prev(), at.Next()} {
			if !at.IsLinkLocalUnicast() && !reaches(t, rules, near) {
				t.Errorf("%s is not reached: more is cut out than %s", near, known)
			}
		}
		alone := s
		alone.EgressCIDRs = []string{known}
		if err := alone.Validate(); api.FieldOf(err) != "egress[0]" {
			t.Errorf("egress to %s: %v", known, err)
		}
	}
}

// egressOf are the rules of the policy of egress.
func egressOf(objects []runtime.Object) []networkingv1.NetworkPolicyEgressRule {
	for _, o := range objects {
		if p, ok := o.(*networkingv1.NetworkPolicy); ok && p.Name == "allow-egress" {
			return p.Spec.Egress
		}
	}
	return nil
}

// reaches judges by the rules, which must be what an API server takes.
func reaches(t rapid.TB, rules []networkingv1.NetworkPolicyEgressRule, at netip.Addr) bool {
	for _, r := range rules {
		b := r.To[0].IPBlock
		cidr := netip.MustParsePrefix(b.CIDR)
		free := cidr.Contains(at)
		for _, e := range b.Except {
			p := netip.MustParsePrefix(e)
			if p.Bits() <= cidr.Bits() || !cidr.Contains(p.Addr()) {
				t.Fatalf("exception %v does not lie within %v", p, cidr)
			}
			free = free && !p.Contains(at)
		}
		if free {
			return true
		}
	}
	return false
}

func ExampleFinding_String() {
	fmt.Println(tenant.Finding{Weight: tenant.Missing, Namespace: "nave-acme", What: "it does not exist", Remedy: "make it by the chart"})
	// Output: missing: namespace nave-acme: it does not exist: make it by the chart
}

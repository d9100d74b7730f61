package tenant

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/nave-dev/nave/api"
)

// Never are the addresses that no session reaches: those at which clouds tell a machine its credentials, or serve their own agents on
// it. The chart has the same list.
var Never = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),         // link-local: 169.254.169.254 nearly everywhere, 169.254.170.2 and .23 (AWS, containers), 169.254.42.42 (Scaleway), 169.254.0.23 (Tencent)
	netip.MustParsePrefix("168.63.129.16/32"),       // Azure's wire server, which serves the agents of machines: learn.microsoft.com, "What is IP address 168.63.129.16"
	netip.MustParsePrefix("100.100.100.200/32"),     // Alibaba Cloud: "Instance metadata" of ECS
	netip.MustParsePrefix("192.0.0.192/32"),         // Oracle Cloud Infrastructure Classic: "Retrieving Instance Metadata"
	netip.MustParsePrefix("fe80::/10"),              // link-local: fe80::a9fe:a9fe of OpenStack
	netip.MustParsePrefix("fd00:ec2::254/128"),      // AWS: "Access instance metadata", for IPv6
	netip.MustParsePrefix("fd00:ec2::23/128"),       // AWS: "Set up the Amazon EKS Pod Identity Agent", for IPv6
	netip.MustParsePrefix("fd20:ce::254/128"),       // Google Cloud: "About VM metadata", of machines with IPv6 alone
	netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), // Oracle Cloud Infrastructure: "Instance Metadata Service", for IPv6; its SDKs have it
	netip.MustParsePrefix("fd00:42::42/128"),        // Scaleway, as cloud-init's documentation has it
	netip.MustParsePrefix("fd00:a9fe:a9fe::1/128"),  // Akamai (Linode): "Metadata service API"
	netip.MustParsePrefix("fd00:100::100:200/128"),  // Alibaba Cloud, for IPv6
}

// cidr is a range that sessions may reach but for the exceptions within it.
type cidr struct {
	reach  netip.Prefix
	except []string
}

// ranges returns what sessions may reach. An API server takes exceptions only where they lie within the range.
func (t Template) ranges(egress []string) ([]cidr, error) {
	var never []netip.Prefix
	for _, list := range []struct {
		field string
		texts []string
	}{{"api_servers", t.APIServers}, {"cluster_cidrs", t.ClusterCIDRs}} {
		for i, text := range list.texts {
			p, err := prefix(text)
			if err != nil {
				return nil, api.Invalid(fmt.Sprintf("%s[%d]", list.field, i), "%s", err)
			}
			never = append(never, p)
		}
	}
	never = append(never, Never...)
	var out []cidr
	for i, text := range egress {
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
		return netip.Prefix{}, fmt.Errorf("%.100q is no range of addresses: use one as 10.0.0.0/8", text)
	case p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q is a range of IPv4 in the form of IPv6: use the form of IPv4", text)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits beyond its length: use %s", text, p.Masked())
	}
	return p, nil
}

package testcluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/nave-dev/nave/internal/testcluster/keeper"
)

// Networks inside a cluster. Every cloud has the same ones: nothing routes between clouds.
const (
	podNet        = "10.244.0.0/16"
	podRange      = "10.244.0.0/24" // of the one node
	serviceNet    = "10.96.0.0/16"
	serviceOfAPI  = "10.96.0.1"
	commandLimit  = 20 * time.Second // of one call of ip
	subnetsToTry  = 250
	hubNetFirst   = 210 // 10.210.N.0/24 joins hub and clouds of a bed
	adminNetFirst = 211 // 10.211.N.4i/30 joins the test and cloud i
)

// network is the bed's addresses. N is free on this machine and the same in both.
type network struct {
	names
	n byte
}

func (w network) hub() netip.Addr { return netip.AddrFrom4([4]byte{10, hubNetFirst, w.n, 1}) }
func (w network) node(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, hubNetFirst, w.n, byte(11 + i)})
}
func (w network) tester(i int) netip.Addr { return w.adminAddr(i, 1) }
func (w network) admin(i int) netip.Addr  { return w.adminAddr(i, 2) }
func (w network) adminAddr(i, host int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, adminNetFirst, w.n, byte(4*i + host)})
}

// pickNetwork finds subnets that no interface of this machine has. The caller holds the lock of the root until the interfaces
// of the bed exist, so that two beds do not find the same ones.
func pickNetwork(n names) (network, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return network{}, err
	}
	var used []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			used = append(used, p.Masked())
		}
	}
	for i := range byte(subnetsToTry) {
		free := true
		for _, second := range []byte{hubNetFirst, adminNetFirst} {
			want := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, second, i, 0}), 24)
			for _, p := range used {
				free = free && !p.Overlaps(want)
			}
		}
		if free {
			return network{n, i}, nil
		}
	}
	return network{}, fmt.Errorf("no subnet of 10.%d.0.0/16 is free; look at: ip addr", hubNetFirst)
}

// up makes the bridge and, for each cloud, a namespace with two links: one to the bridge, one for the test.
func (w network) up(ctx context.Context, clouds int) error {
	commands := []string{
		fmt.Sprintf("link add %s type bridge", w.bridge()),
		fmt.Sprintf("addr add %s/24 dev %s", w.hub(), w.bridge()),
		fmt.Sprintf("link set %s up", w.bridge()),
	}
	for i := range clouds {
		in := "-n " + w.netns(i)
		commands = append(commands,
			"netns add "+w.netns(i),
			in+" link set lo up",
			fmt.Sprintf("link add %s type veth peer name eth0 netns %s", w.hubLink(i), w.netns(i)),
			fmt.Sprintf("link set %s master %s up", w.hubLink(i), w.bridge()),
			fmt.Sprintf("%s addr add %s/24 dev eth0", in, w.node(i)),
			in+" link set eth0 up",
			fmt.Sprintf("%s route add default via %s", in, w.hub()),
			fmt.Sprintf("link add %s type veth peer name admin0 netns %s", w.adminLink(i), w.netns(i)),
			fmt.Sprintf("addr add %s/30 dev %s", w.tester(i), w.adminLink(i)),
			fmt.Sprintf("link set %s up", w.adminLink(i)),
			fmt.Sprintf("%s addr add %s/30 dev admin0", in, w.admin(i)),
			in+" link set admin0 up",
		)
	}
	for _, c := range commands {
		if err := ip(ctx, c); err != nil {
			return err
		}
	}
	for i := range clouds {
		if err := keeper.Within(w.netnsPath(i), forward); err != nil {
			return fmt.Errorf("let %s forward packets: %w", w.netns(i), err)
		}
	}
	return nil
}

// forward lets the namespace of this thread route between pods and the world.
func forward() error {
	// Answers between two pods of a node must pass the rules that changed their addresses. Where the kernel's module is not
	// loaded there is no such file, and only a pod that calls its own node's pods by a service address notices.
	_ = os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("1"), 0)
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
}

// cut takes the host's end of the cloud's link down: packets in both directions vanish.
func (w network) cut(ctx context.Context, i int) error {
	return ip(ctx, "link set "+w.hubLink(i)+" down")
}

func (w network) heal(ctx context.Context, i int) error {
	return ip(ctx, "link set "+w.hubLink(i)+" up")
}

// removeNetwork removes namespaces and links that carry the id. Stale namespaces of pods would go on answering for addresses
// that are used again: they end when their mounts do, which the caller has removed before.
func removeNetwork(ctx context.Context, n names) error {
	var errs []error
	for _, name := range netnsOf(n) {
		errs = append(errs, ip(ctx, "netns del "+name))
	}
	for _, name := range linksOf(n) {
		err := ip(ctx, "link del "+name)
		if err != nil && !hasLink(name) {
			err = nil // its other end was in a namespace, and both are gone
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// netnsOf lists the bed's named network namespaces.
func netnsOf(n names) []string {
	entries, err := os.ReadDir(netnsDir)
	if err != nil {
		return nil // no namespace was ever named
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), n.netnsPrefix()) {
			out = append(out, e.Name())
		}
	}
	return out
}

// linksOf lists the bed's interfaces on the host.
func linksOf(n names) []string {
	links, _ := net.Interfaces()
	var out []string
	for _, l := range links {
		if strings.HasPrefix(l.Name, n.linkPrefix()) {
			out = append(out, l.Name)
		}
	}
	return out
}

func hasLink(name string) bool {
	_, err := net.InterfaceByName(name)
	return err == nil
}

// ip calls the program of that name.
func ip(ctx context.Context, args string) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", args, err, strings.TrimSpace(string(out)))
	}
	return nil
}

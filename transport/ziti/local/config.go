package local

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

// program is the name of the executable that holds controller and router.
const program = "nave-overlay"

// Config is what an Overlay needs.
type Config struct {
	// Dir is the directory of the overlay. Made if missing. Required.
	Dir string
	// Binary is the path of nave-overlay, see [FindBinary]. Required.
	Binary string
	// Listen is the one address that controller and routers listen on, and advertise unless Advertise says otherwise. Default
	// 127.0.0.1. It is fixed at the first start in Dir, unless Advertise is given.
	Listen netip.Addr
	// Advertise is the IP address or DNS name at which others reach controller and routers, where that is not the address
	// that they listen on: behind a load balancer, a service of Kubernetes, address translation. Listen must be 0.0.0.0, ::,
	// 127.0.0.1 or ::1 then, and this machine must reach Advertise too. It is fixed at the first start in Dir. Default: Listen.
	Advertise string
	// Port is the controller's port; the next ones are those of the routers for others and of the routers for each other,
	// [Ports] in all. Fixed at the first start. Default: free ones are chosen.
	Port int
	// Grace is how long the processes go on while no hub holds the lease. Default 30 s, at least 1 s.
	Grace time.Duration
	// LogBytes bounds each process's log file; one older file of that size is kept. Default 4 MiB, at least 64 KiB.
	LogBytes int64
	// StartTimeout is how long a process may take from its start until it serves before it is started anew.
	// Default 60 s.
	StartTimeout time.Duration
	// Log gets what happens. Default: nothing is logged.
	Log *slog.Logger
	// Progress gets one short line for each step of the start, for a person who waits. Default: nobody.
	Progress func(line string)
}

func (c *Config) complete() error {
	if c.Dir == "" {
		return errors.New("overlay: Dir is missing")
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return fmt.Errorf("overlay: Dir: %w", err)
	}
	c.Dir = dir
	if c.Binary == "" {
		return errors.New("overlay: Binary is missing, see FindBinary")
	}
	if !c.Listen.IsValid() {
		c.Listen = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if c.Listen.IsUnspecified() && c.Advertise == "" {
		return fmt.Errorf("overlay: Listen %s is advertised to others, so it must be one address, such as 127.0.0.1; or give what others use as Advertise", c.Listen)
	}
	if c.Advertise != "" && !Near(c.Listen) {
		return fmt.Errorf("overlay: Listen is %s: with Advertise it must be 0.0.0.0, ::, 127.0.0.1 or ::1, because the overlay's processes reach each other by loopback", c.Listen)
	}
	if c.Advertise != "" && !IsHost(c.Advertise) {
		return fmt.Errorf("overlay: Advertise %.100q is neither an IP address nor a DNS name", c.Advertise)
	}
	if c.Port < 0 || c.Port+Ports > 65536 {
		return fmt.Errorf("overlay: Port %d: it and the %d behind it must be from 1 to 65535", c.Port, Ports-1)
	}
	if c.Grace == 0 {
		c.Grace = 30 * time.Second
	}
	if c.Grace < time.Second {
		return fmt.Errorf("overlay: Grace %s is below 1s", c.Grace)
	}
	if c.LogBytes == 0 {
		c.LogBytes = 4 << 20
	}
	if c.LogBytes < 64<<10 {
		return fmt.Errorf("overlay: LogBytes %d is below %d", c.LogBytes, 64<<10)
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = time.Minute
	}
	if c.StartTimeout < 0 {
		return fmt.Errorf("overlay: StartTimeout %s is negative", c.StartTimeout)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	return nil
}

// dnsName is what a certificate and a URL may name, in lower case.
var dnsName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

// Near reports whether what listens on an address is reached at 127.0.0.1 or ::1.
func Near(ip netip.Addr) bool {
	return ip.IsUnspecified() || ip == netip.IPv6Loopback() || ip == netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// IsHost reports whether a text may be advertised: an IP address, or a DNS name in lower case.
func IsHost(s string) bool {
	if ip, err := netip.ParseAddr(s); err == nil {
		return !ip.IsUnspecified() && ip.Zone() == ""
	}
	return len(s) <= 253 && dnsName.MatchString(s)
}

// ErrNoBinary says that nave-overlay was not found.
var ErrNoBinary = errors.New("the program nave-overlay was not found: run `make build`, or name it with --overlay-bin")

// FindBinary returns the path of nave-overlay: explicit if it is given, else the one beside the running executable, else
// the one on PATH.
func FindBinary(explicit string) (string, error) {
	if explicit != "" {
		if p, err := exec.LookPath(explicit); err == nil {
			return filepath.Abs(p)
		}
		return "", fmt.Errorf("%s is not an executable file: %w", explicit, ErrNoBinary)
	}
	if self, err := os.Executable(); err == nil {
		if p, err := exec.LookPath(filepath.Join(filepath.Dir(self), program)); err == nil {
			return p, nil
		}
	}
	if p, err := exec.LookPath(program); err == nil {
		return filepath.Abs(p)
	}
	return "", ErrNoBinary
}

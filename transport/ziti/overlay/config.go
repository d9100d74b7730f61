package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Config is what the parent writes for one process. The parent has the same shape in transport/ziti/local.
type Config struct {
	Name    string `json:"name"`    // of the router at the controller, or "controller"
	Home    string `json:"home"`    // absolute directory that belongs to this process alone
	Lease   string `json:"lease"`   // absolute path of the file that a living parent holds a flock on
	GraceMS int64  `json:"graceMs"` // how long to go on while nobody holds the lease, in milliseconds

	Address   string `json:"address"`   // IP address to listen on
	Advertise string `json:"advertise"` // IP address or DNS name that others use; empty: Address
	Port      int    `json:"port"`      // the controller's API and control channel, or the router's edge listener

	// Of a router only.
	LinkPort       int    `json:"linkPort,omitempty"`       // where other routers reach this one
	ControllerPort int    `json:"controllerPort,omitempty"` // of the controller, on the same address
	ControllerHome string `json:"controllerHome,omitempty"` // home of the controller: authority and administrator

	LogBytes int64  `json:"logBytes"` // bound of the log file; one older file of the same size is kept
	LogLevel string `json:"logLevel"` // of logrus, "warn" if empty
}

func loadConfig(file string) (Config, error) {
	var c Config
	b, err := os.ReadFile(file)
	if err != nil {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("parse configuration %s: %w", file, err)
	}
	if c.LogLevel == "" {
		c.LogLevel = "warn"
	}
	switch {
	case c.Name == "":
		return c, fmt.Errorf("configuration %s: name is missing", file)
	case !filepath.IsAbs(c.Home) || !filepath.IsAbs(c.Lease):
		return c, fmt.Errorf("configuration %s: home and lease must be absolute paths", file)
	case net.ParseIP(c.Address) == nil:
		return c, fmt.Errorf("configuration %s: address %q must be an IP address", file, c.Address)
	case net.ParseIP(c.Address).IsUnspecified() && c.Advertise == "":
		return c, fmt.Errorf("configuration %s: address %q must be one IP address, because it is also advertised", file, c.Address)
	case c.Port <= 0 || c.GraceMS <= 0 || c.LogBytes <= 0:
		return c, fmt.Errorf("configuration %s: port, graceMs and logBytes must be positive", file)
	case max(c.Port, c.LinkPort, c.ControllerPort) > 65535 || min(c.LinkPort, c.ControllerPort) < 0:
		return c, fmt.Errorf("configuration %s: a port is from 1 to 65535", file)
	case c.GraceMS > (24 * time.Hour).Milliseconds():
		return c, fmt.Errorf("configuration %s: graceMs is at most a day", file)
	}
	return c, nil
}

func (c Config) grace() time.Duration    { return time.Duration(c.GraceMS) * time.Millisecond }
func (c Config) path(name string) string { return filepath.Join(c.Home, name) }

// bind is where to listen on a port.
func (c Config) bind(port int) string { return net.JoinHostPort(c.Address, strconv.Itoa(port)) }

// advertised is how others reach a port.
func (c Config) advertised(port int) string {
	return net.JoinHostPort(c.host(), strconv.Itoa(port))
}

// host is the IP address or DNS name that others use.
func (c Config) host() string { return cmp.Or(c.Advertise, c.Address) }

// near is how processes of this machine reach a port.
func (c Config) near(port int) string {
	if ip := net.ParseIP(c.Address); !ip.IsUnspecified() {
		return c.bind(port)
	} else if ip.To4() == nil {
		return net.JoinHostPort(net.IPv6loopback.String(), strconv.Itoa(port))
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// writeFile makes path appear with its content at once or not at all, readable by its owner only.
func writeFile(path string, b []byte) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

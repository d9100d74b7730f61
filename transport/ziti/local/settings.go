package local

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
)

// settings are chosen at the first start and kept, because certificates and enrolled identities name them.
type settings struct {
	Address    netip.Addr      `json:"address"`
	Advertise  string          `json:"advertise,omitempty"` // empty: Address
	Controller int             `json:"controllerPort"`
	Routers    []routerSetting `json:"routers"`
}

type routerSetting struct {
	Name string `json:"name"`
	Edge int    `json:"edgePort"`
	Link int    `json:"linkPort"`
}

const settingsFile = "settings.json"

// routers is how many there are: a peer rides out the loss of one of two at once, the loss of a single one in half a
// minute.
const routers = 2

// Ports is how many ports an overlay listens on. Others need the first [PublicPorts] of them.
const (
	Ports       = 1 + 2*routers
	PublicPorts = 1 + routers
)

// loadSettings reads the settings of the overlay's directory, or chooses them.
func loadSettings(c Config) (settings, error) {
	s, err := readSettings(c.Dir)
	const fixed = "overlay: %s is %v, but the overlay in %s was made for %v, which certificates and identities name: use that one, or another directory"
	switch {
	case errors.Is(err, os.ErrNotExist):
		return makeSettings(filepath.Join(c.Dir, settingsFile), c)
	case err != nil:
		return s, err
	case s.Advertise != c.Advertise:
		return s, fmt.Errorf(fixed, "Advertise", orListen(c.Advertise), c.Dir, orListen(s.Advertise))
	case s.Advertise == "" && s.Address != c.Listen:
		return s, fmt.Errorf(fixed, "Listen", c.Listen, c.Dir, s.Address)
	case c.Port != 0 && s.Controller != c.Port:
		return s, fmt.Errorf(fixed, "Port", c.Port, c.Dir, s.Controller)
	}
	s.Address = c.Listen
	return s, nil
}

func orListen(advertise string) string { return cmp.Or(advertise, "the address that it listens on") }

// advertised is how others reach a port.
func (s settings) advertised(port int) string {
	return net.JoinHostPort(cmp.Or(s.Advertise, s.Address.String()), strconv.Itoa(port))
}

func readSettings(dir string) (settings, error) {
	var s settings
	path := filepath.Join(dir, settingsFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return s, fmt.Errorf("read overlay settings: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("parse %s: %w", path, err)
	}
	if len(s.Routers) != routers {
		return s, fmt.Errorf("%s names %d routers, want %d", path, len(s.Routers), routers)
	}
	ports := []int{s.Controller}
	for _, r := range s.Routers {
		if ports = append(ports, r.Edge, r.Link); !fs.ValidPath(r.Name) || r.Name == "." || strings.Contains(r.Name, "/") {
			return s, fmt.Errorf("%s names a router %q, which is no name of a directory", path, r.Name)
		}
	}
	if i := slices.IndexFunc(ports, func(p int) bool { return p < 1 || p > 65535 }); i >= 0 || !s.Address.IsValid() {
		return s, fmt.Errorf("%s names no address, or a port that is none", path)
	}
	return s, nil
}

// makeSettings chooses ports: free ones, or the given one and those behind it, in the order controller, routers for others,
// routers for each other.
func makeSettings(path string, c Config) (settings, error) {
	var ports []int
	for i := range Ports {
		ports = append(ports, c.Port+i)
	}
	if c.Port == 0 {
		var err error
		if ports, err = freePorts(c.Listen, Ports); err != nil {
			return settings{}, err
		}
	}
	s := settings{Address: c.Listen, Advertise: c.Advertise, Controller: ports[0]}
	for i := range routers {
		s.Routers = append(s.Routers, routerSetting{Name: fmt.Sprintf("r%d", i+1), Edge: ports[1+i], Link: ports[1+routers+i]})
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return s, err
	}
	return s, writeFile(path, b)
}

// freePorts returns n ports that are free now. They lie below the range from which systems give ports to outgoing
// connections, or such a connection could take one between two starts.
func freePorts(ip netip.Addr, n int) ([]int, error) {
	const low, high, tries = 20000, 32000, 1000
	var ports []int
	var err error
	for range tries {
		var l net.Listener
		l, err = net.Listen("tcp", netip.AddrPortFrom(ip, uint16(low+rand.IntN(high-low))).String())
		if err != nil {
			continue
		}
		defer l.Close() // kept open until all are found, so that none is found twice
		if ports = append(ports, l.Addr().(*net.TCPAddr).Port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("overlay: find %d free ports on %s: %w", n, ip, err)
}

// PortError says that another program listens on a port of the overlay.
type PortError struct {
	Process string         // controller, r1, r2
	Addr    netip.AddrPort // where it is to listen
	Err     error          // from the system
}

// Error implements error.
func (e *PortError) Error() string {
	return fmt.Sprintf("the overlay's %s is to listen on %s, but port %d is taken: end the program that listens there (%v)",
		e.Process, e.Addr, e.Addr.Port(), e.Err)
}

// Unwrap returns the system's error.
func (e *PortError) Unwrap() error { return e.Err }

func checkPort(process string, addr netip.AddrPort) error {
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		return &PortError{Process: process, Addr: addr, Err: err}
	}
	return l.Close()
}

// writeFile makes path appear with its content at once or not at all, on disk, readable by its owner only.
func writeFile(path string, b []byte) error {
	return renameio.WriteFile(path, b, 0o600, renameio.WithTempDir(filepath.Dir(path)))
}

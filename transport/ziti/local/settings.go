package local

import (
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
	"strings"

	"github.com/google/renameio/v2"
)

// settings are chosen at the first start and kept, because certificates and enrolled identities name them.
type settings struct {
	Address    netip.Addr      `json:"address"`
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

// loadSettings reads the settings of dir, or chooses them.
func loadSettings(dir string, listen netip.Addr) (settings, error) {
	s, err := readSettings(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return makeSettings(filepath.Join(dir, settingsFile), listen)
	case err != nil:
		return s, err
	case s.Address != listen:
		return s, fmt.Errorf("overlay: Listen is %s, but the overlay in %s was made for %s, which its certificates name: "+
			"use that address, or another directory", listen, dir, s.Address)
	}
	return s, nil
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

func makeSettings(path string, listen netip.Addr) (settings, error) {
	ports, err := freePorts(listen, 1+2*routers)
	if err != nil {
		return settings{}, err
	}
	s := settings{Address: listen, Controller: ports[0]}
	for i := range routers {
		s.Routers = append(s.Routers, routerSetting{Name: fmt.Sprintf("r%d", i+1), Edge: ports[1+2*i], Link: ports[2+2*i]})
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

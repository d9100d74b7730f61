package dev

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub"
)

// Format is the version of the directory that this program writes.
const Format = 1

const kind = "nave-hub-dev"

// Directory is a data directory that this process holds.
type Directory struct {
	Path  string
	Fresh bool // this start made it
	lock  *os.File
}

type marker struct {
	Kind   string `json:"kind"`
	Format int    `json:"format"`
}

// DefaultPath is the directory in the user's state directory: $XDG_STATE_HOME/nave/hub, or ~/.local/state/nave/hub.
func DefaultPath() (string, error) {
	if s := os.Getenv("XDG_STATE_HOME"); s != "" {
		return filepath.Join(s, "nave", "hub"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no home directory for the data: name one with --data-dir: %w", err)
	}
	return filepath.Join(home, ".local", "state", "nave", "hub"), nil
}

// Open makes or recognizes a data directory and takes its lock. Errors are *api.Error with what to do.
func Open(path string) (*Directory, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	fresh, err := recognize(path)
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, "hub.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, api.Errorf(api.CodeFailed, "a hub runs on %s: stop it first, or name another directory with --data-dir (data_dir of a configuration)", path)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	d := &Directory{Path: path, Fresh: fresh, lock: lock}
	if fresh {
		if err := d.writeJSON("nave.json", marker{kind, Format}); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	return d, nil
}

// recognize reports whether the directory is new, or refuses it.
func recognize(path string) (fresh bool, err error) {
	b, err := os.ReadFile(filepath.Join(path, "nave.json"))
	if errors.Is(err, fs.ErrNotExist) {
		entries, err := os.ReadDir(path)
		if err != nil {
			return false, fmt.Errorf("read data directory: %w", err)
		}
		for _, e := range entries {
			// A first start that died may have left its lock and half a marker.
			if e.Name() != "hub.lock" && !strings.HasPrefix(e.Name(), ".nave.json") {
				return false, api.Errorf(api.CodeFailed, "%s is not empty and not a data directory of nave-hub (it has %s): name an empty one with --data-dir (data_dir of a configuration)", path, e.Name())
			}
		}
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read data directory: %w", err)
	}
	var m marker
	if err := json.Unmarshal(b, &m); err != nil || m.Kind != kind {
		return false, api.Errorf(api.CodeFailed, "%s belongs to something else than nave-hub: name another with --data-dir (data_dir of a configuration)", path)
	}
	if m.Format > Format {
		return false, api.Errorf(api.CodeUnsupported, "%s has format %d, this nave-hub knows up to %d: run the newer version that wrote it", path, m.Format, Format)
	}
	return false, nil
}

// Close lets the directory go.
func (d *Directory) Close() error { return d.lock.Close() }

// Join returns the path of something in the directory.
func (d *Directory) Join(name ...string) string {
	return filepath.Join(append([]string{d.Path}, name...)...)
}

// AdminToken returns the bearer token of the first administrator, which the first call makes unless one was saved.
func (d *Directory) AdminToken() (string, error) {
	token, err := Kept(d.Path).AdminToken()
	if !errors.Is(err, fs.ErrNotExist) {
		return token, err
	}
	if token, _, err = hub.NewToken(rand.Reader); err != nil {
		return "", err
	}
	return token, d.SaveAdminToken(token)
}

// SaveAdminToken makes a token that of the first administrator.
func (d *Directory) SaveAdminToken(token string) error {
	return d.write("admin-token", []byte(token+"\n"))
}

// Ports are the addresses that the API listens on: host:port.
type Ports struct {
	HTTP string `json:"http"` // connect, gRPC-Web, gRPC, health, metrics
	GRPC string `json:"grpc"` // grpc-go, for programs in a hurry
}

// Ports returns what was chosen at the first start, or the zero value.
func (d *Directory) Ports() (Ports, error) { return Kept(d.Path).Ports() }

// SavePorts keeps the chosen addresses.
func (d *Directory) SavePorts(p Ports) error { return d.writeJSON("ports.json", p) }

func (d *Directory) writeJSON(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return d.write(name, append(b, '\n'))
}

// write replaces a file: complete or not at all, readable by its owner only.
func (d *Directory) write(name string, b []byte) error {
	if err := renameio.WriteFile(d.Join(name), b, 0o600, renameio.WithTempDir(d.Path), renameio.WithStaticPermissions(0o600)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// Identity returns the hub's overlay identity, or nil when there is none yet.
func (d *Directory) Identity() ([]byte, error) {
	b, err := os.ReadFile(d.Join("hub.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// SaveIdentity keeps the hub's overlay identity.
func (d *Directory) SaveIdentity(b []byte) error { return d.write("hub.json", b) }

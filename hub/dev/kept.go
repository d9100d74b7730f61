package dev

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Kept is the path of a data directory that another process may hold. It reads what is there, makes nothing and takes no lock: files are replaced as a
// whole. What the hub has not made yet is fs.ErrNotExist.
type Kept string

// AdminToken returns the bearer token of the first administrator.
func (k Kept) AdminToken() (string, error) {
	b, err := k.read("admin-token")
	return strings.TrimSpace(string(b)), err
}

// Authority returns the local authority as PEM.
func (k Kept) Authority() ([]byte, error) { return k.read("ca.pem") }

// Ports returns what was chosen at the first start, or the zero value.
func (k Kept) Ports() (Ports, error) {
	var p Ports
	b, err := k.read("ports.json")
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("%s: %w", filepath.Join(string(k), "ports.json"), err)
	}
	return p, nil
}

func (k Kept) read(name string) ([]byte, error) { return os.ReadFile(filepath.Join(string(k), name)) }

// IsToken reports whether a text has the form of a bearer token, see [hub.NewToken].
func IsToken(text string) bool {
	secret, ok := strings.CutPrefix(text, "nave_")
	b, err := base64.RawURLEncoding.Strict().DecodeString(secret)
	return ok && err == nil && len(b) == 32 && len(secret) == 43 // the decoder leaves out line breaks
}

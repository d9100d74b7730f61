package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/hub/client"
	"github.com/nave-dev/nave/transport/ziti"
)

// membership is what a spoke knows of its hub, kept since enrollment.
type membership struct {
	Cluster       api.ClusterID `json:"cluster"`
	Name          string        `json:"name"`
	Organization  api.OrgID     `json:"organization"`
	HubIdentities []string      `json:"hub_identities"` // the only peers to trust
	Service       string        `json:"service"`        // of the overlay
	Token         string        `json:"token"`          // SHA-256 of the join token that was used, hexadecimal
	identity      []byte        // overlay identity: secret
}

// Files of the enrollment in the data directory, readable by their owner only.
const (
	keyFile      = "spoke.key"       // made first, so that a repeat after a crash presents the same key
	identityFile = "identity.json"   // from the overlay
	memberFile   = "membership.json" // written last: its presence means enrolled
)

// join returns the membership in dir, or enrolls with the token and keeps what comes back. With anew a member enrolls again
// with a token that is not the one it used: its former key and identity are moved aside, its journal stays.
func join(ctx context.Context, dir, token string, anew bool, say func(string, ...any)) (*membership, error) {
	m, err := readMembership(dir)
	if err != nil {
		return nil, err
	}
	if m != nil {
		jt, err := m.another(dir, token, anew)
		if err != nil || jt == nil {
			return m, err
		}
		if err := setAside(dir, say); err != nil {
			return nil, err
		}
	}
	if token == "" {
		return nil, api.Invalid("join_token", "%s is not enrolled and there is no join token, nor the file that is to hold it: run `nave clusters register NAME` and give its token by --join-token, --join-token-file or NAVE_JOIN_TOKEN", dir)
	}
	jt, err := client.ParseJoinToken(token)
	if err != nil {
		return nil, err
	}
	return enroll(ctx, dir, jt, say)
}

// another returns the token if it is another one than the member has used, which is refused unless anew says so. The token
// that was used may stay where it is: every start finds it there.
func (m *membership) another(dir, token string, anew bool) (*client.JoinToken, error) {
	if token == "" || m.Token == hashOf(token) {
		return nil, nil
	}
	jt, err := client.ParseJoinToken(token)
	if err != nil {
		return nil, err
	}
	if jt.ClusterID == m.Cluster && m.Token == "" {
		return nil, nil // enrolled by a version that did not keep which token it was
	}
	if jt.ClusterID != m.Cluster {
		return nil, api.Invalid("join_token", "is of another cluster than %s (%s), whose journal is in %s: name an empty directory with --data-dir, or move that one away", m.Name, m.Cluster, dir)
	}
	if !anew {
		return nil, api.Invalid("join_token", "is a new one, and %s is enrolled as cluster %s: leave the token out to go on as it is, give --force-enroll to enroll anew and keep the journal, or move %s away to begin with nothing", dir, m.Name, dir)
	}
	return &jt, nil
}

// hashOf tells whether two tokens are the same without keeping one.
func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// setAside moves what proves a former membership into a directory of its own. The membership goes first: without it the next
// start enrolls, whatever else is still there.
func setAside(dir string, say func(string, ...any)) error {
	to, err := os.MkdirTemp(dir, "former-*")
	if err != nil {
		return fmt.Errorf("set the former identity aside: %w", err)
	}
	for _, name := range []string{memberFile, identityFile, keyFile} {
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(to, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set the former identity aside: %w", err)
		}
	}
	say("the former key and identity are in %s: remove it when nobody needs it", to)
	return nil
}

// enroll presents the token and keeps what comes back. A repeat after a crash presents the same key.
func enroll(ctx context.Context, dir string, jt client.JoinToken, say func(string, ...any)) (*membership, error) {
	keyPEM, key, err := ensureKey(dir)
	if err != nil {
		return nil, err
	}
	say("enrolling cluster %s at %s", jt.ClusterID, jt.Address)
	e, err := client.Enroll(ctx, jt, key)
	if err != nil {
		return nil, err
	}
	identity, err := ziti.Enroll(ctx, ziti.Enrollment{Token: e.GetOverlayToken(), Key: keyPEM, CA: e.GetOverlayAuthority(), Controllers: e.GetOverlayControllers()})
	if err != nil {
		return nil, err
	}
	m := &membership{Cluster: jt.ClusterID, Name: e.GetClusterName(), Organization: api.OrgID(e.GetOrganization()), HubIdentities: e.GetHubIdentities(),
		Service: e.GetService(), Token: hashOf(jt.String()), identity: identity}
	if err := write(dir, identityFile, identity); err != nil {
		return nil, err
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	say("enrolled as %s", m.Name)
	return m, write(dir, memberFile, b)
}

// readMembership returns nil when dir is not enrolled.
func readMembership(dir string) (*membership, error) {
	b, err := os.ReadFile(filepath.Join(dir, memberFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m membership
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, memberFile), err)
	}
	if m.Cluster == "" || m.Service == "" || len(m.HubIdentities) == 0 || slices.Contains(m.HubIdentities, "") {
		return nil, fmt.Errorf("%s names no cluster, no service or no hub to trust: bring the file back, or remove it and enroll anew", filepath.Join(dir, memberFile))
	}
	m.identity, err = os.ReadFile(filepath.Join(dir, identityFile))
	return &m, err
}

// ensureKey returns the spoke's key, which the first call makes and stores.
func ensureKey(dir string) ([]byte, *ecdsa.PrivateKey, error) {
	b, err := os.ReadFile(filepath.Join(dir, keyFile))
	if errors.Is(err, fs.ErrNotExist) {
		if b, err = ziti.NewKey(); err == nil {
			err = write(dir, keyFile, b)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, nil, fmt.Errorf("%s holds no key: remove it to enroll anew", filepath.Join(dir, keyFile))
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return b, key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, nil, fmt.Errorf("%s holds no ECDSA key: remove it to enroll anew", filepath.Join(dir, keyFile))
	}
	return b, key, nil
}

// write replaces a file: complete or not at all, readable by its owner only.
func write(dir, name string, b []byte) error {
	if err := renameio.WriteFile(filepath.Join(dir, name), b, 0o600, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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
	identity      []byte        // overlay identity: secret
}

// Files of the enrollment in the data directory, readable by their owner only.
const (
	keyFile      = "spoke.key"       // made first, so that a repeat after a crash presents the same key
	identityFile = "identity.json"   // from the overlay
	memberFile   = "membership.json" // written last: its presence means enrolled
)

// join returns the membership in dir, or enrolls with the token and keeps what comes back.
func join(ctx context.Context, dir, token string, say func(string, ...any)) (*membership, error) {
	m, err := readMembership(dir)
	if err != nil || m != nil {
		return m, err
	}
	if token == "" {
		return nil, api.Errorf(api.CodeInvalid, "%s is not enrolled and there is no join token: run `nave clusters register NAME` and give its token by --join-token, --join-token-file or NAVE_JOIN_TOKEN", dir)
	}
	jt, err := client.ParseJoinToken(strings.TrimSpace(token))
	if err != nil {
		return nil, err
	}
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
	m = &membership{Cluster: jt.ClusterID, Name: e.GetClusterName(), Organization: api.OrgID(e.GetOrganization()), HubIdentities: e.GetHubIdentities(),
		Service: e.GetService(), identity: identity}
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

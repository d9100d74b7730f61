package ziti

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	edgeapis "github.com/openziti/sdk-golang/edge-apis"
	"github.com/openziti/sdk-golang/ziti/enroll"

	"github.com/nave-dev/nave/internal/run"
)

const enrollBound = 30 * time.Second

// Enrollment is what an identity is enrolled with.
type Enrollment struct {
	Token string // one-time token, from Manager.CreateIdentity
	Key   []byte // PEM of the private key, which the caller made and stored before
	CA    []byte // PEM of the authority to believe, and no other

	// Controllers are base URLs of further controllers of the network, for starts while the token's own is away. The
	// token does not say them: it lists control channels.
	Controllers []string
}

// NewKey returns a new private key for [Enroll] as PEM.
func NewKey() ([]byte, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	b, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: b}), nil
}

// Enroll has the key certified by the controller that the token names and returns the identity as JSON: secret, to be
// stored, and what [OpenNode] takes. The token is used up by it. Enroll ends within 30 s.
func Enroll(ctx context.Context, e Enrollment) ([]byte, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(e.CA) {
		return nil, errors.New("enroll overlay identity: CA holds no certificate in PEM")
	}
	if b, _ := pem.Decode(e.Key); b == nil || !strings.HasSuffix(b.Type, "PRIVATE KEY") {
		return nil, errors.New("enroll overlay identity: Key is no private key in PEM")
	}
	ctx, cancel := context.WithTimeout(ctx, enrollBound)
	defer cancel()
	id, err := run.Bounded(ctx, func() ([]byte, error) { return enrollNow(e, pool) }, nil)
	if err != nil {
		return nil, fmt.Errorf("enroll overlay identity: %w", err)
	}
	return id, nil
}

func enrollNow(e Enrollment, pool *x509.CertPool) ([]byte, error) {
	// The token is signed with the key of the controller's server certificate, which is fetched and checked against the
	// token here. That certificate must be of the pinned authority before anything is sent.
	claims, tok, err := enroll.ParseToken(e.Token)
	if err != nil {
		return nil, fmt.Errorf("check token: %w", err)
	}
	if claims.EnrollmentMethod != "ott" {
		return nil, fmt.Errorf("the token is for enrollment by %q, want ott", claims.EnrollmentMethod)
	}
	if _, err := claims.SignatureCert.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
		return nil, fmt.Errorf("the controller that signed the token is not of the given authority: %w", err)
	}
	cfg, err := enroll.Enroll(enroll.EnrollmentFlags{
		Token: claims, JwtToken: tok, JwtString: e.Token,
		KeyFile: "pem:" + string(e.Key), // not a file: the SDK keeps such a value as the key's address
	})
	if err != nil {
		return nil, err
	}
	cfg.ID.CA = "pem:" + string(e.CA)
	// The SDK leaves ZtAPIs empty, and then a start in front of a dead controller tries no other.
	cfg.ZtAPIs = []string{cfg.ZtAPI}
	for _, c := range e.Controllers {
		if api := edgeapis.ClientUrl(c); !slices.Contains(cfg.ZtAPIs, api) {
			cfg.ZtAPIs = append(cfg.ZtAPIs, api)
		}
	}
	if _, err := parseIdentity(cfg); err != nil {
		return nil, err
	}
	return json.Marshal(cfg)
}

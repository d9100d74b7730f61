package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/nave-dev/nave/api"
	"github.com/nave-dev/nave/api/navev1"
)

// enrollTimeout bounds an enrollment when the caller's context has no deadline.
const enrollTimeout = 30 * time.Second

// Enroll presents a join token and the spoke's key (ECDSA P-256) to the hub that the token names. The token is bound to
// the first key that presents it, so the same call may be repeated, after a crash too. CodeDenied means that the token is
// unknown, expired, or was used with another key; CodeFailed, that the peer does not prove to be the hub.
func Enroll(ctx context.Context, token JoinToken, key *ecdsa.PrivateKey) (*navev1.EnrollResponse, error) {
	if err := token.Validate(); err != nil {
		return nil, err
	}
	if key == nil || key.Curve != elliptic.P256() {
		return nil, api.Invalid("key", "is not an ECDSA key on P-256: make one")
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, api.Invalid("key", "cannot be encoded: %w", err)
	}
	digest := EnrollDigest(token.Secret)
	proof, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		return nil, &api.Error{Code: api.CodeInternal, Op: "sign enrollment", Err: err}
	}
	c := &Client{transport: pinnedTransport(token)}
	defer c.Close()
	c.connect(Config{Address: token.Address, Timeout: enrollTimeout, Log: slog.New(slog.DiscardHandler)}, c.transport)
	res, err := c.Enrollment.Enroll(ctx, &navev1.EnrollRequest{
		Secret: token.Secret, ClusterId: string(token.ClusterID), PublicKey: public, Proof: proof,
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// EnrollDigest is what a spoke signs to prove that the key it presents is its own.
func EnrollDigest(secret string) [32]byte { return sha256.Sum256([]byte("nave-enroll:" + secret)) }

// pinnedTransport trusts one authority, known by its hash. The ordinary verification is switched off because the authority
// itself arrives with the handshake; verifyPinned does all of it.
func pinnedTransport(token JoinToken) *http.Transport {
	u, _ := parseAddress(token.Address) // checked by Validate
	host := u.Hostname()
	return newTransport(&tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         host,
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			return verifyPinned(s.PeerCertificates, token.AuthorityHash, host)
		},
	})
}

// verifyPinned checks that the chain holds the authority with this hash, and that the leaf is a server certificate for the
// host that leads to it.
func verifyPinned(chain []*x509.Certificate, pin [32]byte, host string) error {
	opts := x509.VerifyOptions{DNSName: host, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for i, cert := range chain {
		switch {
		case sha256.Sum256(cert.Raw) == pin && cert.IsCA && cert.BasicConstraintsValid:
			opts.Roots = x509.NewCertPool()
			opts.Roots.AddCert(cert)
		case i > 0:
			opts.Intermediates.AddCert(cert)
		}
	}
	if opts.Roots == nil {
		return untrusted("it does not present the authority that the token pins: check that the token is of this hub and that nothing stands between")
	}
	if _, err := chain[0].Verify(opts); err != nil {
		return untrusted("%w", err)
	}
	return nil
}

func untrusted(format string, args ...any) error {
	return api.Errorf(api.CodeFailed, "the peer does not prove to be the hub: %w", fmt.Errorf(format, args...))
}
